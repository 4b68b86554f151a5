"""Validation of Host and Origin against DNS rebinding, and CORS headers for allowed origins.

A page on the web can point its own name at 127.0.0.1 and drive a local server through the user's browser; its
requests then carry a foreign Host or Origin (R-205, R-701). Loopback names are allowed unless the server says
otherwise, everything else must be named. The easy thing to get wrong is to look at one of the two headers only,
or to read a name out of a text that is no host: each header is matched as a whole.
"""

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

Headers = list[tuple[bytes, bytes]]

_EXPOSED: Final = b"Mcp-Session-Id, WWW-Authenticate, Retry-After"
_ALLOWED_METHODS: Final = b"GET, POST, DELETE, OPTIONS"

#: `uri-host [ ":" port ]` in lower case (RFC 9110 §7.2). Of what RFC 3986 §3.2.2 allows: names of letters,
#: digits, `-` and `_`, since DNS has no others, IPv4 addresses, and IPv6 addresses in brackets without a zone.
_AUTHORITY: Final = (
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?))(?::(?P<port>[0-9]{0,5}))?"
)
_HOST: Final = re.compile(_AUTHORITY)
#: An origin as browsers write it (RFC 6454 §6.2), of the two schemes that pages of HTTP have.
_ORIGIN: Final = re.compile(rf"https?://(?P<authority>{_AUTHORITY})")
_LAST_PORT: Final = 65535


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
        if host is not None and not self._host_allowed(host.decode("latin-1").lower()):
            return 421, _refusal("Host", host, "allowed_hosts")
        if origin is not None and not self._origin_allowed(origin, host):
            return 403, _refusal("Origin", origin, "allowed_origins")
        return None

    def _host_allowed(self, host: str) -> bool:
        if "*" in self._hosts:
            return True
        name = _name(_HOST.fullmatch(host))
        if name is None:
            return False
        if self._localhost and is_loopback(name):
            return True
        return any(
            name in (each, _bare(each)) or (each.startswith("*.") and name.endswith(each[1:]))
            for each in self._hosts
        )

    def _origin_allowed(self, origin: bytes, host: bytes | None) -> bool:
        text = origin.decode("latin-1").lower().removesuffix("/")
        if "*" in self._origins or text in self._origins:
            return True
        matched = _ORIGIN.fullmatch(text)
        name = _name(matched)
        if matched is None or name is None:
            return False
        same = host is not None and matched["authority"] == host.decode("latin-1").lower()
        return same or (self._localhost and is_loopback(name))

    def readable_by(self, fields: Mapping[bytes, bytes]) -> bytes | None:
        """Return the Origin of a request if a page of it may read the response, else None."""
        origin = fields.get(b"origin")
        return None if origin is None or self.verdict(fields.get(b"host"), origin) is not None else origin


def _refusal(header: str, value: bytes, setting: str) -> str:
    """Return the text of a refusal, with the three ways to set the setting.

    The value comes from whoever called and may be pasted into a shell, so it is quoted.
    """
    shown = "".join(c if c.isprintable() else "?" for c in value.decode("latin-1"))[:100]
    typed = shlex.quote(shown)
    return (
        f"{header} {shown!r} is not allowed. If it belongs to this server, add it: with "
        f"--{setting.replace('_', '-')} {typed}, with ENFILADE_{setting.upper()}={typed}, or in the code with "
        f"settings=Settings({setting}=[{shown!r}])"
    )


def _name(matched: re.Match[str] | None) -> str | None:
    """Return the name or the address in what was matched, without brackets; None if it is none."""
    if matched is None or int(matched["port"] or 0) > _LAST_PORT:
        return None
    address: str | None = matched["v6"]
    if address is None:
        return str(matched["name"])
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return None
    return address


def _bare(host: str) -> str | None:
    """Return the name in an allowed host that was given as `name:port` or `[v6]`."""
    return _name(_HOST.fullmatch(host))


def own_name(host: str) -> tuple[str, ...]:
    """Return the name a server may be called by because it is bound to it; a wildcard address is no name."""
    return () if host in ("", "0.0.0.0", "::", "*") else (host,)


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
