"""Who a request is from: the address at the other end of its connection, or what a trusted proxy says of it.

`X-Forwarded-For`, `-Host` and `-Proto` are text that anybody may send. They are believed from the addresses in
`server.trusted_proxies` alone, and taken away from all other requests, so that nobody further in believes them.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

FORWARDED = ("FOR", "HOST", "PROTO", "PORT", "PREFIX", "SERVER")
PROXIED = "emotion.proxied"  # in the environment: somebody has said that the request was passed on
MOST_PROXIES = 20  # of a chain of them that is followed


def peer(environ: Mapping[str, Any]) -> str:
    """The address that a request came from, behind trusted proxies the client's; "unknown" where there is none."""
    return str(environ.get("REMOTE_ADDR") or "unknown")


def on_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether the client is a program on this machine: over loopback, by no proxy that told of itself, no page.

    A proxy on this machine that says nothing of itself is taken for such a program.
    """
    address = address_of(peer(environ))
    local = address is not None and address.is_loopback and not environ.get(PROXIED)
    return local and "HTTP_ORIGIN" not in environ


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `text`, with or without a port; None when there is none. IPv4 in IPv6 is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


class Proxies:
    """The proxies whose word is taken: `listed` holds addresses and networks, with commas between.

    Raises ValueError that names what is neither.
    """

    def __init__(self, listed: str) -> None:
        self._networks = [ip_network(part.strip()) for part in listed.split(",") if part.strip()]

    def trust(self, address: str) -> bool:
        """Whether `address`, of a connection's other end, is that of a proxy in the list."""
        found = address_of(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, address: str, forwarded_for: str) -> str:
        """The client behind the connection from `address`: the last one in the chain that is no proxy of ours."""
        for said in forwarded_for.rsplit(",", MOST_PROXIES)[::-1]:
            if not self.trust(address) or (before := address_of(said)) is None:
                break
            address = str(before)
        return address

    def resolve(self, environ: MutableMapping[str, Any]) -> None:
        """Put the client's address, scheme and host where WSGI has those of the connection."""
        at = str(environ.get("REMOTE_ADDR") or "")
        said = {name: environ.pop(f"HTTP_X_FORWARDED_{name}", "") for name in FORWARDED}
        standard = environ.pop("HTTP_FORWARDED", "")
        environ[PROXIED] = (
            any(said.values()) or bool(standard) or bool(environ.keys() & {"HTTP_VIA", "HTTP_X_REAL_IP"})
        )
        if self.trust(at):
            at = self.client(at, said["FOR"])
            if host := said["HOST"].rpartition(",")[2].strip():
                environ["HTTP_HOST"] = host
            if (scheme := said["PROTO"].rpartition(",")[2].strip().lower()) in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        found = address_of(at)
        environ["REMOTE_ADDR"] = at if found is None else str(found)
