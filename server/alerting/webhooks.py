"""Webhooks: alerts and results on their way to receivers over HTTP, each with a queue and a thread of its own.

Nothing here is waited for: a message is put into a bounded queue, or counted as dropped. A receiver that is down
or answers with an error is tried again, with growing pauses, a bounded number of times; what is too old is given
up. Order is kept, so that nobody reads that an alert is over before it was raised. URLs and secrets are never
logged. Nothing that a receiver answers ends its thread: a fault of ours is logged and counted, and the next has
its turn.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

import orjson
import urllib3

from server import __version__, wire
from server.alerting import wecom
from server.alerting.deadline import TimedHttp
from server.alerting.subject import Subject
from server.config.alerts import Webhook
from server.observers import LEVELS, AlertEvent
from stream.types import LABELS, LABELS_ZH

log = logging.getLogger("webhooks")

QUEUE = 1000  # messages waiting for one receiver
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
ANSWER_BYTES = 16_384  # as much of an answer as is read
RESULTS = ("sent", "retried", "refused", "gave_up", "dropped", "failed")
RETRYABLE = (408, 425, 429)  # of the 4xx statuses; every 5xx is, too


class _Failed(Exception):
    """A try that did not succeed; `again`: another one may. `after_s`: as the receiver wishes."""

    def __init__(self, why: str, again: bool, after_s: float = 0) -> None:
        super().__init__(why)
        self.again, self.after_s = again, after_s


@dataclass
class _Delivery:
    body: bytes
    offered_s: float
    ident: str = field(default_factory=lambda: secrets.token_hex(12))
    tries: int = 0


class Receiver:
    """One webhook. `count` is told the result of each delivery, one of RESULTS."""

    def __init__(
        self, hook: Webhook, count: Callable[[str], None], labels_zh: Sequence[str] = LABELS_ZH
    ) -> None:
        """`labels_zh`: what the nine labels are called in Chinese."""
        self._hook, self._count = hook, count
        self._names = LABELS if hook.language == "en" else labels_zh
        self._queue: deque[_Delivery] = deque()
        self._wake = threading.Condition()
        self._http = TimedHttp()
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # below: paths of URLs, which may be keys
        self._complained = False
        self._delivering = False

    @property
    def name(self) -> str:
        return self._hook.name

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"webhook-{self.name}", daemon=True).start()

    def offer(self, alert: AlertEvent, channel: str | None, subject: Subject) -> None:
        """Send an alert if this receiver wants it; returns at once."""
        hook = self._hook
        if not (self.takes("alert") and self.serves(subject.tenant)):
            return
        if hook.rules and alert.rule not in hook.rules:
            return
        if LEVELS.index(alert.level) < LEVELS.index(hook.min_level):
            return
        if alert.state == "cleared" and not hook.cleared:
            return
        if hook.kind == "json":
            body = json_body(alert, channel, subject)
        else:
            render = wecom.card if hook.format == "card" else wecom.markdown
            body = render(alert, channel, subject, hook.language, self._names)
        self.put(body)

    def serves(self, tenant: str) -> bool:
        """Whether it is told of what this tenant does."""
        return self._hook.tenant in ("*", tenant)

    def takes(self, event: str) -> bool:
        """Whether it wants to be told of such, one of `config.alerts.WebhookEvent`."""
        return event in self._hook.events

    def put(self, body: bytes) -> None:
        """Send this; returns at once."""
        with self._wake:
            if len(self._queue) >= QUEUE:
                self._queue.popleft()
                self._count("dropped")
            self._queue.append(_Delivery(body, time.monotonic()))
            self._wake.notify_all()

    def settle(self, timeout_s: float) -> None:
        """Wait until nothing waits any more, or the time is over."""
        with self._wake:
            self._wake.wait_for(lambda: not self._queue and not self._delivering, timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._delivering = False
                self._wake.notify_all()
                while not self._queue:
                    self._wake.wait()
                delivery = self._queue.popleft()
                self._delivering = True
            try:
                self._deliver(delivery)
            except Exception:  # a thread that ended would take all that follows with it, in silence
                log.exception("a message was not delivered", extra={"webhook": self.name})
                self._count("failed")

    def _deliver(self, delivery: _Delivery) -> None:
        hook = self._hook
        while True:
            age_s = time.monotonic() - delivery.offered_s
            if age_s > hook.max_age_s:
                self._give_up(f"older than {hook.max_age_s:g} s", "gave_up")
                return
            delivery.tries += 1
            try:
                self._post(delivery)
            except _Failed as failed:
                if not failed.again:
                    self._give_up(str(failed), "refused")
                    return
                if delivery.tries >= hook.attempts:
                    self._give_up(f"{failed}, {delivery.tries} times", "gave_up")
                    return
                self._count("retried")
                time.sleep(_pause_s(delivery.tries, failed.after_s))
            else:
                self._count("sent")
                if self._complained:
                    log.info("the receiver takes messages again", extra={"webhook": hook.name})
                self._complained = False
                return

    def _give_up(self, why: str, result: str) -> None:
        self._count(result)
        if not self._complained:  # once until it works again: a receiver may be away for days
            log.warning("a message was not delivered: %s", why, extra={"webhook": self._hook.name})
        self._complained = True

    def _post(self, delivery: _Delivery) -> None:
        """One try. Raises _Failed."""
        hook = self._hook
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": f"emotion-stream/{__version__}",
        }
        if hook.kind == "json":
            headers["X-Emotion-Delivery"] = delivery.ident
            headers.update(signature(hook.secret.get_secret_value(), delivery.body, int(time.time())))
        url = hook.url.get_secret_value()
        try:
            with self._http.post(url, delivery.body, headers, hook.timeout_s) as answer:
                said = answer.read(ANSWER_BYTES, decode_content=False) if hook.kind == "wecom" else b""
        except urllib3.exceptions.HTTPError as broken:
            # Not its text: that holds the URL.
            why = f"within {hook.timeout_s:g} s" if self._http.expired else f"({type(broken).__name__})"
            raise _Failed(f"no answer {why}", again=True) from None
        if not 200 <= answer.status < 300:
            again = answer.status >= 500 or answer.status in RETRYABLE
            wished_s = retry_after_s(answer.headers.get("Retry-After"), time.time())
            raise _Failed(f"it answered {answer.status}", again, wished_s)
        if hook.kind == "wecom":
            _check_wecom(said)


def signature(secret: str, body: bytes, now_s: int) -> dict[str, str]:
    """The headers that prove who sent `body`, and when; of the time alone when there is no secret."""
    stamp = str(now_s)
    if not secret:
        return {"X-Emotion-Timestamp": stamp}
    digest = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Emotion-Timestamp": stamp, "X-Emotion-Signature": f"sha256={digest}"}


def json_body(alert: AlertEvent, channel: str | None, subject: Subject) -> bytes:
    """The alert's fields, whom it is about, and the scores that it was measured in."""
    scores = {} if alert.probs is None else {"scores": wire.scores(alert.probs)["scores"]}
    where = {} if channel is None else {"channel": channel}
    about = {"source": subject.source, **subject.fields}
    return orjson.dumps({"event": "alert", **wire.alert(alert), **where, **scores, **about})


def _check_wecom(said: bytes) -> None:
    """A robot answers 200 whatever happened. Raises _Failed."""
    try:
        code = orjson.loads(said)["errcode"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise _Failed("its answer is not a robot's", again=False) from None
    if code != 0:
        raise _Failed(f"errcode {code}", again=code in wecom.BUSY, after_s=20 if code == 45009 else 0)


def _pause_s(tries: int, wished_s: float) -> float:
    """Before the next try: twice as long each time, not all receivers at once."""
    pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (tries - 1))
    jittered: float = pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    return max(wished_s, jittered)


def retry_after_s(text: str | None, now_s: float) -> float:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3), from 0 to LONGEST_PAUSE_S.

    It holds seconds or a date; one that is neither is passed over. `now_s`: seconds since 1970.
    """
    text = (text or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        wished_s = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            wished_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
        except (ValueError, OverflowError):  # what it raises for text that is no date
            return 0.0
    return min(max(wished_s, 0.0), LONGEST_PAUSE_S)
