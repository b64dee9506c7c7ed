"""Who is being served: opening, finding, resuming, closing. Admission and the reaping of what is idle."""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
import time
from dataclasses import replace
from math import inf

from server.access.identity import EVERYBODY, Identity
from server.access.usage import Usage
from server.config import Config
from server.counts import SharedCounts
from server.decoding.pool import Decoders
from server.engine import Engine
from server.errors import ClientError
from server.live.elsewhere import Elsewhere, Moved, hashed
from server.live.metering import Metering
from server.live.outbox import POLL_S, Client
from server.live.policy import select_channels
from server.live.requests import MAX_ID, StartRequest, parse_start
from server.live.session import LiveSession, SessionContext
from server.live.trail import Entry
from server.live.watch import LoadWatch
from server.metrics import Metrics
from server.observers import AudioObserver, Observer, SessionSummary
from server.tenants import DEFAULT, qualified
from stream.codec import Format
from stream.custom_labels import CustomLabels
from stream.types import HOP, SAMPLE_RATE, JsonDict, ModelSpec

log = logging.getLogger("sessions")

RELEASE_S = 1.5  # for the last scores of a session that goes to another worker, which waits for it


def not_yours() -> ClientError:
    """One answer for a stranger's session and for none at all: nobody can probe for ids."""
    return ClientError("NOT_YOUR_SESSION", "no session of this id belongs to this connection; send start")


def seconds(n_frames: int) -> float:
    return n_frames * HOP / SAMPLE_RATE


def _taken() -> ClientError:
    return ClientError(
        "NOT_YOUR_SESSION", "a session of this id is open; choose another id, or give its resume_token"
    )


def _resume_key(request: StartRequest) -> str | None:
    """The token of a request, as of `LiveSession.resume_key`."""
    token = request.resume_token
    return None if token is None else f"{request.identity.tenant}:{token}"


def _as_opened(opening: JsonDict, request: StartRequest) -> tuple[StartRequest, str]:
    """How a session was opened that another worker had, and its id; token and count are those of `request`."""
    label, session_id = opening["label"], opening["session_id"]
    told = {name: opening[name] for name in ("frame_results", "load_events", "name", "tags")}
    return replace(request, session_id=label, format=Format(**opening["format"]), **told), session_id


class Sessions:
    """All open sessions. A session belongs to one connection, named by its `sid`, or waits for its return."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        metrics: Metrics,
        observers: tuple[Observer, ...] = (),
        audio: AudioObserver | None = None,
        labels: CustomLabels | None = None,
        load: LoadWatch | None = None,
        counts: SharedCounts | None = None,
        elsewhere: Elsewhere | None = None,
        usage: Usage | None = None,
    ) -> None:
        """`load`: what admits sessions by how busy the server is; None: nothing does. `counts`: of all workers,
        `elsewhere`: sessions of the others, where there are any.
        """
        self._config, self._engine, self._metrics = config, engine, metrics
        self._observers, self._audio, self._labels = observers, audio, labels
        self._load, self._counts = load, counts or SharedCounts.alone()
        self._elsewhere = elsewhere
        self._metering = Metering(usage or Usage(None))
        self._decoders = Decoders(config.limits.decoders, metrics, self._counts)
        self._lock = threading.RLock()
        self._open: dict[str, LiveSession] = {}
        self._owner: dict[str, str | None] = {}  # session id → sid; None: its connection broke
        self._names: dict[tuple[str, str], str] = {}  # sid, and what it calls a session of its own → its id
        self._current: dict[str, str] = {}  # sid → the session meant when none is named
        self._deprived: set[str] = set()  # sids whose session ended, or went to another, without their doing
        self._reaped: set[str] = set()  # sessions that are being closed by `reap`
        self.draining = False
        metrics.sessions.set_function(lambda: float(len(self._open)))
        metrics.channels.set_function(lambda: float(sum(s.n_channels for s in list(self._open.values()))))

    def __len__(self) -> int:
        return len(self._open)

    def start(self, sid: str, client: Client, request: StartRequest) -> tuple[LiveSession, bool, ModelSpec]:
        """Open a session for connection `sid`, or take up the one that the request's token is for.

        The flag says whether it was taken up. Raises ClientError.
        """
        spec = self._ready()
        moved = self._moved(request)
        with self._lock:
            if moved is not None:
                request, session_id = _as_opened(moved.past.opening, request)
                taken_up = self._opened(sid, client, request, session_id, spec, moved=moved)
                self._metrics.resumes.inc()
                return taken_up, True, spec
            if request.resume_token is not None and (session := self._resumable(request)):
                old = self._owner[session.session_id]
                if old is not None and old != sid:
                    self._disown(old, session, deprived=True)
                    session.tell_taken_up()
                self._own(sid, session, client, request.received)
                self._metrics.resumes.inc()
                log.info("session resumed", extra={"session": session.session_id, "connection": sid})
                return session, True, spec
            name = request.session_id
            session_id = qualified(request.identity.tenant, name or secrets.token_hex(8))
            if session_id in self._open or (name and (sid, name) in self._names):
                raise _taken()
            if name and self._elsewhere and not self._elsewhere.reserve(session_id):
                raise _taken()
            session = self._opened(sid, client, request, session_id, spec)
        return session, False, spec

    def release(self, token: str, received: int | None, far: bool = False) -> list[Entry] | None:
        """Let another worker have the session of this `resume_key`, or another server (`far`): what its client is
        to be told yet. None: it cannot move, and has ended.

        Raises KeyError where there is no such session.
        """
        with self._lock:
            leaving = self._of_token(token)
            if leaving is None:
                raise KeyError(token)
            if leaving.can_move:
                self._forget(leaving, deprived=True)
                leaving.tell_taken_up()
        if not leaving.can_move:  # its client has turned up elsewhere, and begins anew there
            self.stop(leaving, "disconnect", RELEASE_S)
            return None
        log.info("session goes to another worker", extra={"session": leaving.session_id})
        events = leaving.hand_over(received, RELEASE_S)
        self.settle()
        if far and self._elsewhere is not None:
            self._elsewhere.left(token, leaving.session_id)
        return events

    def settle(self) -> None:
        """Wait until others would know what was told of all sessions so far, where there are others."""
        if self._elsewhere is not None:
            self._elsewhere.settle()

    def taken_over(self, name: str) -> None:
        """Another server goes on with the session whose token has this hash, while this one was not heard of."""
        with self._lock:
            taken = [s for s in self._open.values() if hashed(s.resume_key) == name]
        for session in taken:
            self.stop(session, "disconnect", 0.0)

    def _moved(self, request: StartRequest) -> Moved | None:
        """The session that the request is about, where another worker had it. Raises ClientError."""
        key = _resume_key(request)
        if self._elsewhere is None or key is None or self._of_token(key):
            return None
        return self._elsewhere.fetch(key, request.received)

    def start_unasked(
        self,
        sid: str,
        client: Client,
        name: str | None,
        never_started: bool,
        identity: Identity = EVERYBODY,
    ) -> LiveSession:
        """Open a session with the defaults for audio of a connection that has no session of this name.

        A client that `never_started` one calls it what it likes: the name is its own label, and where it is taken
        the session has another id. Raises NOT_YOUR_SESSION for others that name one, or had one that is gone: it
        may have declared another encoding.
        """
        if not never_started and name is not None:
            raise not_yours()
        if not never_started and sid in self._deprived:
            raise ClientError(
                "NOT_YOUR_SESSION",
                "this connection's session has ended or was taken up by another; send start to open one",
            )
        spec = self._ready()
        request = replace(parse_start(None), session_id=name, name=name or "", identity=identity)
        with self._lock:
            session_id = qualified(identity.tenant, name or secrets.token_hex(8))
            elsewhere = name and self._elsewhere and not self._elsewhere.reserve(session_id)
            if session_id in self._open or elsewhere:
                short = f"{(name or '')[: MAX_ID - 9]}-{secrets.token_hex(4)}"
                session_id = qualified(identity.tenant, short)
            return self._opened(sid, client, request, session_id, spec, never_started)

    def find(self, sid: str, name: str | None) -> LiveSession | None:
        """The session that `sid` calls so, or its latest where it names none; None when it has no such.

        Without the lock, which each chunk would have to take: one that is being closed is as good as closed.
        """
        session_id = self._current.get(sid) if name is None else self._names.get((sid, name))
        return None if session_id is None else self._open.get(session_id)

    def require(self, sid: str, name: str | None) -> LiveSession:
        """As `find`. Raises ClientError BAD_REQUEST, or NOT_YOUR_SESSION where it names another's or none."""
        session = self.find(sid, name)
        if session is None and name is None:
            raise ClientError("BAD_REQUEST", "there is no session; send start or audio_stream first")
        if session is None:
            raise not_yours()
        return session

    def get(self, tenant: str, session_id: str) -> LiveSession | None:
        """For who may see all of a tenant's."""
        found = self._open.get(qualified(tenant, session_id))
        return found if found is not None and found.tenant == tenant else None

    def stop(self, session: LiveSession, reason: str, timeout_s: float | None = None) -> SessionSummary:
        """Score what is left, tell the summary, forget the session."""
        complete = session.finish(timeout_s)
        with self._lock:
            self._reaped.discard(session.session_id)
            if self._open.get(session.session_id) is not session:
                return session.summary(reason)
            self._forget(session, deprived=reason != "stop")
            if self._elsewhere is not None:
                self._elsewhere.free(session.session_id)
        summary = session.close(reason)
        fields = {
            "session": session.session_id,
            "reason": reason,
            "audio_s": round(summary.audio_s, 3),
            "speech_s": seconds(summary.total.speech),
            "lost_s": seconds(summary.total.lost),
            "complete": complete,  # all was scored in time
        }
        log.info("session closed", extra=fields)
        return summary

    def disconnected(self, sid: str) -> None:
        """Keep what `sid` owned for a while: connections break, and people come back."""
        with self._lock:
            self._deprived.discard(sid)
            for session_id in [s for s, owner in self._owner.items() if owner == sid]:
                self._owner[session_id] = None
                self._disown(sid, self._open[session_id], deprived=False)
                self._open[session_id].detach()
                log.info("session disconnected", extra={"session": session_id, "connection": sid})

    def reap(self) -> None:
        """Close what nobody uses any more, and end decoders that hang. To be called about once a second."""
        self._decoders.reap()
        now = time.monotonic()
        limits = self._config.limits
        with self._lock:
            sessions = [(s, self._owner[s.session_id] is None) for s in self._open.values()]
        for session, disconnected in sessions:
            self._metering.count(session)
            due = now - session.last_activity_s > (limits.resume_s if disconnected else limits.idle_timeout_s)
            if due and session.session_id not in self._reaped:
                # In a thread, so that one slow flush does not delay the others.
                self._reaped.add(session.session_id)
                reason = "disconnect" if disconnected else "idle"
                threading.Thread(target=self.stop, args=(session, reason), daemon=True).start()

    def drain(self, timeout_s: float) -> None:
        """Take no new sessions; finish those that are open, all at once, within `timeout_s`."""
        with self._lock:
            self.draining = True
            sessions = list(self._open.values())
        summaries_s = 0.2 * timeout_s  # of the time is kept for sending the summaries
        threads = [
            threading.Thread(target=self.stop, args=(s, "shutdown", timeout_s - summaries_s), daemon=True)
            for s in sessions
        ]
        for thread in threads:
            thread.start()
        end = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        while any(s.outbox.pending for s in sessions) and time.monotonic() < end:
            time.sleep(POLL_S)
        self._decoders.close()

    def lags(self, now: float) -> list[float]:
        """For each channel, how long its oldest unscored speech has been due, in seconds."""
        return [lag for session in list(self._open.values()) for lag in session.lags(now)]

    def shed(self, now: float, max_lag_s: float) -> None:
        """Tell as lost what has been due for longer."""
        for session in list(self._open.values()):
            session.shed(now, max_lag_s)

    def slow_down(self, factor: int, level: str) -> None:
        """Windows of at least `factor` hops, for all sessions that are open; tell those who want to know."""
        for session in list(self._open.values()):
            session.slow_down(factor, level)

    def _ready(self) -> ModelSpec:
        spec = self._engine.spec
        if self.draining:
            raise ClientError("NOT_READY", "the server is shutting down; try again in a minute")
        if spec is None:
            raise ClientError("NOT_READY", "the model is still loading; try again in a few seconds")
        return spec

    def _opened(
        self,
        sid: str,
        client: Client,
        request: StartRequest,
        session_id: str,
        spec: ModelSpec,
        never_started: bool = False,
        moved: Moved | None = None,
    ) -> LiveSession:
        """A new session of `sid`, or one that was another worker's, with the lock held. Raises ClientError."""
        config = self._config
        try:
            selection = select_channels(config.policy, config.channels, request.format.channels)
            self._metering.admit(request.identity, moved is not None)
            if moved is None:  # it was admitted before
                self._admit_metered(sid, len(selection.names), request.identity)
        except ClientError:
            if self._elsewhere is not None:
                self._elsewhere.free(session_id)  # where it was reserved
            raise
        legacy = {"on": True, "off": False}.get(config.stream.legacy_events, never_started)
        context = SessionContext(
            engine=self._engine,
            metrics=self._metrics,
            limits=config.limits,
            decoders=self._decoders,
            stream=config.stream_config(spec),
            model=spec.name,
            rules=config.alerts.rules,
            labels_zh=config.server.names_zh,
            observers=self._observers,
            audio=self._audio,
            labels=self._labels if request.identity.tenant == DEFAULT else None,
            flush_timeout_s=config.engine.deadline_ms / 1000 + 1,
        )
        session = self._open[session_id] = LiveSession(session_id, request, selection, context, legacy, moved)
        self._metering.opened(session)
        if self._elsewhere is not None and not never_started:
            session.leave_trail(
                moved.trail if moved else self._elsewhere.trail(session.resume_key, session.opening)
            )
        self._publish()
        if self._load is not None and self._load.slowdown > 1:
            session.slow_down(self._load.slowdown, self._load.level)
        self._own(sid, session, client, request.received if moved else None)
        how = "session resumed, which another worker had" if moved else "session opened"
        log.info(how, extra={"session": session_id, "connection": sid})
        return session

    def _resumable(self, request: StartRequest) -> LiveSession | None:
        if session := self._of_token(_resume_key(request) or ""):
            return session
        if request.session_id and qualified(request.identity.tenant, request.session_id) in self._open:
            raise ClientError("NOT_YOUR_SESSION", "this resume_token is not that session's")
        return None  # it is gone: the client gets a new one

    def _of_token(self, resume_key: str) -> LiveSession | None:
        given = resume_key.encode()
        sessions = list(self._open.values())
        return next((s for s in sessions if hmac.compare_digest(s.resume_key.encode(), given)), None)

    def _forget(self, session: LiveSession, deprived: bool) -> None:
        """It is open here no more; `deprived`: without the doing of its owner."""
        del self._open[session.session_id]
        self._metering.closed(session)
        self._publish()
        owner = self._owner.pop(session.session_id)
        if owner is not None:
            self._disown(owner, session, deprived)

    def _admit_metered(self, sid: str, n_channels: int, identity: Identity) -> None:
        try:
            self._admit(sid, n_channels)
        except ClientError:
            self._metering.refused(identity)
            raise

    def _admit(self, sid: str, n_channels: int) -> None:
        """A session takes as much room as it has channels to score."""
        limits = self._config.limits
        taken = {session_id: session.n_channels for session_id, session in self._open.items()}
        own = sum(taken[session_id] for session_id, owner in self._owner.items() if owner == sid)
        if own + n_channels > limits.max_sessions_per_connection:
            raise ClientError(
                "TOO_MANY_SESSIONS",
                f"one connection may hold {limits.max_sessions_per_connection} sessions (one of two channels"
                " counts twice); stop one first",
            )
        if self._load is not None:
            self._load.admit(n_channels)
        most = inf if limits.max_sessions == "auto" else limits.max_sessions
        if not self._counts.take("channels", sum(taken.values()), n_channels, most):
            raise ClientError(
                "TOO_MANY_SESSIONS", f"all {limits.max_sessions} sessions are taken; try again later"
            )

    def _publish(self) -> None:
        """How many are open, for all workers."""
        self._counts.publish("sessions", len(self._open))
        self._counts.publish("channels", sum(session.n_channels for session in self._open.values()))

    def _own(self, sid: str, session: LiveSession, client: Client, last_received: int | None = None) -> None:
        self._owner[session.session_id] = sid
        self._names[sid, session.label] = self._current[sid] = session.session_id
        self._deprived.discard(sid)
        session.attach(client, last_received)

    def _disown(self, sid: str, session: LiveSession, deprived: bool) -> None:
        """The session is no longer that of `sid`; `deprived`: without its doing."""
        self._names.pop((sid, session.label), None)
        if self._current.get(sid) == session.session_id:
            del self._current[sid]
            if deprived:
                self._deprived.add(sid)
