"""Validation of Host and Origin against DNS rebinding, and CORS headers for allowed origins.

A page on the web can point its own name at 127.0.0.1 and drive a local server through the user's browser; its
requests then carry a foreign Host or Origin (R-205, R-701). Loopback names are allowed unless the server says
otherwise, everything else must be named. The easy thing to get wrong is to look at one of the two headers only.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]

_EXPOSED: Final = b"Mcp-Session-Id, WWW-Authenticate, Retry-After"
_ALLOWED_METHODS: Final = b"GET, POST, DELETE, OPTIONS"


class Guard:
    """Lets requests in by their Host and Origin.

    Args:
        hosts: names allowed besides loopback: `api.example.com`, `*.example.com`, or `*` for any.
        origins: origins allowed besides loopback and the server's own: `https://app.example.com`, or `*`.
        localhost: allow loopback hosts and origins that are not named.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = (), *, localhost: bool = True) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._origins = tuple(origin.lower().rstrip("/") for origin in origins)
        self._localhost = localhost

    def verdict(self, host: bytes | None, origin: bytes | None) -> tuple[int, str] | None:
        """Return the HTTP status of a refusal and its reason, or None for who may pass (E-34, E-35)."""
        if host is not None and not self._host_allowed(_name(host.decode("latin-1"))):
            return 421, _refusal("Host", host, "allowed_hosts", "ENFILADE_ALLOWED_HOSTS")
        if origin is not None and not self._origin_allowed(origin, host):
            return 403, _refusal("Origin", origin, "allowed_origins", "ENFILADE_ALLOWED_ORIGINS")
        return None

    def _host_allowed(self, name: str) -> bool:
        if "*" in self._hosts or (self._localhost and is_loopback(name)):
            return True
        return any(
            name == host or _name(host) == name or (host.startswith("*.") and name.endswith(host[1:]))
            for host in self._hosts
        )

    def _origin_allowed(self, origin: bytes, host: bytes | None) -> bool:
        text = origin.decode("latin-1").lower().rstrip("/")
        if "*" in self._origins or text in self._origins:
            return True
        try:
            parts = urlsplit(text)
            name = parts.hostname or ""
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        same = host is not None and parts.netloc == host.decode("latin-1").lower()
        return same or (self._localhost and is_loopback(name))

    def readable_by(self, fields: Mapping[bytes, bytes]) -> bytes | None:
        """Return the Origin of a request if a page of it may read the response, else None."""
        origin = fields.get(b"origin")
        return None if origin is None or self.verdict(fields.get(b"host"), origin) is not None else origin


def _refusal(header: str, value: bytes, argument: str, variable: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in value.decode("latin-1"))[:100]
    return (
        f"{header} {shown!r} is not allowed. If it belongs to this server, start it with "
        f"{argument}=[{shown!r}] or the environment variable {variable}={shown}"
    )


def _name(host: str) -> str:
    """Return the lower-case name of `name`, `name:port` or `[v6]:port`."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0] if host.count(":") == 1 else host


def is_loopback(name: str) -> bool:
    """Whether a host name, or an address, is one of this machine alone (RFC 6761 §6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def cors(origin: bytes) -> Headers:
    """Return the headers by which a browser lets an allowed origin read a response (R-720)."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(origin: bytes, fields: Mapping[bytes, bytes]) -> Headers:
    """Return the headers that answer a browser's preflight from an allowed origin (R-720).

    A page on a public address needs the private-network header to reach a server on a private one (Private
    Network Access, WICG).
    """
    headers = [
        *cors(origin),
        (b"access-control-allow-methods", _ALLOWED_METHODS),
        (b"access-control-allow-headers", fields.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"600"),
    ]
    if fields.get(b"access-control-request-private-network", b"").strip().lower() == b"true":
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers
