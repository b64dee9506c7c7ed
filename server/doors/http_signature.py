"""HTTP Message Signatures (RFC 9421) by HMAC-SHA256, as far as a door needs them: one, of known fields."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

MAX_AGE_S, SKEW_S = 10, 5
MIN_NONCE = 22  # characters
NONCES = 50_000  # remembered at most; of an attacker without the key none is
_INPUT = re.compile(r'([a-z*][a-z0-9_.*-]{0,40})=(\(("[^"]{1,80}"(?: "[^"]{1,80}"){0,20})\)((?:;[^,]*)?))')
_PARAMETER = re.compile(r';([a-z][a-z0-9_-]*)=(?:"([^"\\]*)"|([0-9]{1,15}))')


class SignatureCheck:
    """Of one key. May be used from any thread."""

    def __init__(self, key_id: str, secret: bytes) -> None:
        self._key_id, self._secret = key_id, secret
        self._seen: OrderedDict[str, float] = OrderedDict()  # nonce → when it may be forgotten
        self._lock = threading.Lock()

    def why_not(self, values: Mapping[str, str], given: str, signature: str, now_s: float) -> str:
        """Why a request was not signed with the key, now and once; empty: it was.

        `values`: of all that has to be signed, by component (RFC 9421, 2). `given`: its Signature-Input.
        """
        found = _INPUT.fullmatch(given.strip())
        if found is None:
            return "no Signature-Input as is read here"
        label, signed, listed, spelled = found.groups()
        components = [name.strip('"') for name in listed.split(" ")]
        if set(components) != set(values) or len(components) != len(values):
            return "other fields are signed than have to be"
        told = {name: text or number for name, text, number in _PARAMETER.findall(spelled)}
        if _PARAMETER.sub("", spelled) or told.get("alg", "hmac-sha256") != "hmac-sha256":
            return "parameters that are not read"
        nonce, created = told.get("nonce", ""), told.get("created", "")
        if len(nonce) < MIN_NONCE or told.get("keyid") != self._key_id or not created.isdigit():
            return "no nonce, another keyid, or no time"
        expires = told.get("expires", "")
        if not -SKEW_S <= now_s - int(created) <= MAX_AGE_S or (
            expires and not int(expires) > now_s - SKEW_S
        ):
            return "too old, or of the future"
        mine = hmac.new(self._secret, base(components, values, signed).encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(mine, _bytes(label, signature)):
            return "not signed with this secret"
        return "" if self._is_new(nonce, now_s) else "signed before"

    def _is_new(self, nonce: str, now_s: float) -> bool:
        with self._lock:
            while self._seen and (len(self._seen) >= NONCES or next(iter(self._seen.values())) < now_s):
                self._seen.popitem(last=False)
            known = nonce in self._seen
            self._seen.setdefault(nonce, now_s + MAX_AGE_S + SKEW_S)
            return not known


def base(components: Sequence[str], values: Mapping[str, str], parameters: str) -> str:
    """The signature base (RFC 9421, 2.5)."""
    lines = [f'"{name}": {values[name]}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def _bytes(label: str, signature: str) -> bytes:
    """Of the signature of this label; none where there is no such."""
    found = re.fullmatch(rf"{re.escape(label)}=:([A-Za-z0-9+/]+={{0,2}}):", signature.strip())
    try:
        return base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        return b""
