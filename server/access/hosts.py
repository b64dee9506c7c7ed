"""What is refused before anything else looks at a request, because of where it says that it comes from.

A browser can be led here by any page that somebody opens: under a name of the page's own that suddenly means this
machine (DNS rebinding), or by a form that posts to it. So a request has to call this server by a name that it goes
by, and one that changes something must not come from another site's page. The first holds for all programs, the
second for browsers: others do not say where they come from.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import orjson

from server.access.origins import Origins
from server.access.refusals import Refusals
from server.config import Config, ServerSection
from server.errors import CODES, ClientError
from server.language import Language, of_request
from server.logs import PEER
from server.metrics import Metrics
from server.peer import Proxies, address_of, peer

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
# Probes and scrapes call a machine by whatever address it has at the moment; these pages tell nobody's secrets.
PROBES = ("/healthz", "/readyz", "/metrics")
_HOST = re.compile(r"(\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]+))(:\d*)?")
DOORS = "/v1/"  # WebSockets: a page that opens one may then ask for anything
CHANGING = ("POST", "DELETE", "PUT", "PATCH")

log = logging.getLogger("http")


def exposed(config: Config) -> str | None:
    """Why these settings would let anybody on the network in; None when they do not, or say that they should."""
    server = config.server
    local = server.host == "localhost" or ((at := address_of(server.host)) is not None and at.is_loopback)
    if local or server.token or server.open or config.access.keys_file:
        return None
    return (
        f"server.host: {server.host} can be reached from the network, and anybody there could use this server: "
        "set server.token (EMOTION_SERVER__TOKEN=…), or server.open: true if everybody may"
    )


class Hosts:
    """The names that this server goes by."""

    def __init__(self, server: ServerSection) -> None:
        listed = {name.strip().lower() for name in server.hosts.split(",") if name.strip()}
        self._any = "*" in listed
        self._names = LOOPBACK | ({server.host.lower()} - EVERYWHERE) | listed
        # Who listens on all addresses goes by each of them: rebinding needs a name.
        self._addresses = server.host in EVERYWHERE

    def know(self, host: str) -> bool:
        """Whether `host`, of a Host header, is one of them, whatever the port."""
        if self._any:
            return True
        written = _HOST.fullmatch(host)
        name = (written["address"] or written["name"]).lower().removesuffix(".") if written else ""
        return name in self._names or (self._addresses and address_of(name) is not None)


def guard(wsgi: Wsgi, server: ServerSection, origins: Origins, metrics: Metrics, refusals: Refusals) -> Wsgi:
    """`wsgi` behind these checks; log lines written meanwhile carry the address that the request came from."""
    hosts, proxies = Hosts(server), Proxies(server.trusted_proxies)

    def check(environ: dict[str, Any]) -> None:
        called = environ.get("HTTP_HOST")
        proxies.resolve(environ)
        path = environ.get("PATH_INFO", "")
        if path not in PROBES:
            for host in (called, environ.get("HTTP_HOST")):  # the second: as a proxy was called
                if host is not None and not hosts.know(host):  # every browser names one
                    raise ClientError(
                        "UNKNOWN_HOST",
                        f"{host[:100]!r} is no host name of this server; its operator can add it to server.hosts",
                    )
        if environ.get("REQUEST_METHOD") in CHANGING or path.startswith(DOORS):
            origin = environ.get("HTTP_ORIGIN")
            foreign = environ.get("HTTP_SEC_FETCH_SITE") == "cross-site" if origin is None else True
            if foreign and not origins.allow(origin, environ):
                raise ClientError(
                    "CROSS_SITE",
                    "cross-site request; the server's operator can add the page's origin to server.cors_origins",
                )
        if path.startswith("/socket.io") and "j" in parse_qs(environ.get("QUERY_STRING", ""), True):
            raise ClientError("BAD_REQUEST", "JSONP is not served")

    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        PEER.set("")  # on a connection that is kept, that of the request before
        try:
            check(environ)
        except ClientError as no:
            metrics.error(no.code)
            refusals.tell(log, "request refused", peer(environ), code=no.code, why=no.message)
            return _refuse(no, of_request(environ, server.language), start_response)
        PEER.set(peer(environ))
        return wsgi(environ, start_response)

    return guarded


def _refuse(no: ClientError, language: Language, start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = orjson.dumps({"success": False, "error": no.to_wire(language)})
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(f"{CODES[no.code]} Refused", headers)
    return [body]
