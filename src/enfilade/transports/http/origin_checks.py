"""Validation of Host and Origin against DNS rebinding, and CORS headers for allowed origins.

A page on the web can point its own name at 127.0.0.1 and drive a local server through the user's browser; its
requests then carry a foreign Host or Origin (R-205, R-701). Loopback names are allowed unless a setting says
otherwise; every other name must be configured. Both headers are checked, and each is matched as a whole, so that
no name is read out of a text that is no host.
"""

import ipaddress
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from enfilade.transports.exchange import Headers

_EXPOSED: Final = b"Mcp-Session-Id, WWW-Authenticate, DPoP-Nonce, Retry-After, X-Request-ID"
#: The HTTP methods of the endpoint.
ENDPOINT_METHODS: Final = ("GET", "POST", "DELETE")

#: `uri-host [ ":" port ]` in lower case (RFC 9110 §7.2). Of what RFC 3986 §3.2.2 allows: names of letters,
#: digits, `-` and `_`, since DNS has no others, IPv4 addresses, and IPv6 addresses in brackets without a zone.
_AUTHORITY: Final = (
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?))(?::(?P<port>[0-9]{0,5}))?"
)
_HOST: Final = re.compile(_AUTHORITY)
#: An origin as browsers write it (RFC 6454 §6.2), of the two schemes that pages of HTTP have.
_ORIGIN: Final = re.compile(rf"https?://(?P<authority>{_AUTHORITY})")
_LAST_PORT: Final = 65535


#: The same of other schemes, such as those of browser extensions.
_OTHER_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@\\,*]+")
_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}
#: The origin of what has no host, such as a sandboxed frame.
_OPAQUE: Final = "null"


class HostOriginPolicy:
    """Allows requests by their Host and Origin.

    Args:
        hosts: names allowed besides loopback: `api.example.com`, `*.example.com`, or `*` for any.
        origins: origins allowed besides loopback and the server's own: `https://app.example.com`, or `*`.
        localhost: allow loopback hosts and origins that are not listed.
    """

    def __init__(self, hosts: Iterable[str] = (), origins: Iterable[str] = (), *, localhost: bool = True) -> None:
        patterns = [host.lower() for host in hosts]
        self._any_host = "*" in patterns
        self._hosts = frozenset(_allowed_name(host) or host for host in patterns)
        self._domains = tuple(host[1:] for host in self._hosts if host.startswith("*."))
        self._origins = frozenset(_canonical(origin.lower()) for origin in origins)
        self._localhost = localhost

    def verdict(self, host: bytes | None, origin: bytes | None) -> tuple[int, str] | None:
        """Return the HTTP status of a refusal and its reason, or None if the request is allowed (E-34, E-35)."""
        if host is not None and not self._host_allowed(host.decode("latin-1").lower()):
            return 421, _refusal("Host", host, "allowed_hosts", check_host)
        if origin is not None and not self._origin_allowed(origin, host):
            return 403, _refusal("Origin", origin, "allowed_origins", check_origin)
        return None

    def _host_allowed(self, host: str) -> bool:
        if self._any_host:
            return True
        name = _name(_HOST.fullmatch(host))
        if name is None:
            return False
        if self._localhost and is_loopback(name):
            return True
        return name in self._hosts or name.endswith(self._domains)

    def _origin_allowed(self, origin: bytes, host: bytes | None) -> bool:
        text = origin.decode("latin-1").lower().removesuffix("/")
        if "*" in self._origins or text in self._origins:
            return True
        match = _ORIGIN.fullmatch(text)
        name = _name(match)
        if match is None or name is None:
            return False
        same = host is not None and match["authority"] == host.decode("latin-1").lower()
        return same or (self._localhost and is_loopback(name))

    def readable_by(self, fields: Mapping[bytes, bytes]) -> bytes | None:
        """Return the Origin of a request if a page of it may read the response, else None."""
        origin = fields.get(b"origin")
        return None if origin is None or self.verdict(fields.get(b"host"), origin) is not None else origin


def _refusal(header: str, value: bytes, setting: str, check: Callable[[str], str]) -> str:
    """Return the text of a refusal, with the ways to set the setting if the value is one that it can have.

    The value comes from whoever called and may be pasted into a shell, so it is quoted.
    """
    printable = "".join(c if c.isprintable() else "?" for c in value.decode("latin-1"))[:100]
    refusal = f"{header} {printable!r} is not allowed."
    try:
        check(printable)
    except ValueError:
        return f"{refusal} It is malformed."
    quoted = shlex.quote(printable)
    option = setting.replace("_", "-")
    return (
        f"{refusal} If it belongs to this server, add it to {setting}: in the environment as "
        f"ENFILADE_{setting.upper()}={quoted}, in the code as "
        f"settings=Settings({setting}=[{printable!r}]), or with `enfilade run --{option} {quoted}`"
    )


# -- what may be allowed ---------------------------------------------------------------------------------------


def check_host(text: str) -> str:
    """Return an entry of `allowed_hosts` if some `Host` can match it.

    Raises:
        ValueError: none can; the text says how to write it.
    """
    host = text.lower()
    if host == "*" or _allowed_name(host) is not None:
        return text
    suggestion = _in_ascii(re.split(r"[/?#]", host.split("://", 1)[-1].rsplit("@", 1)[-1])[0].strip())
    if suggestion != host and _allowed_name(suggestion) is not None:
        raise ValueError(f"{text!r} is not a host name; write {suggestion!r}")
    raise ValueError(
        f"{text!r} is not a host name; write one such as 'mcp.example.com', an IP address, '*.example.com' for "
        "all names below example.com, or '*' for any"
    )


def check_origin(text: str) -> str:
    """Return an entry of `allowed_origins` if some `Origin` can match it.

    Raises:
        ValueError: none can; the text says how to write it.
    """
    origin = text.lower().removesuffix("/")
    if origin in ("*", _OPAQUE) or _is_origin(origin):
        return text
    scheme, separator, authority_and_path = origin.rpartition("://")
    authority = _in_ascii(re.split(r"[/?#]", authority_and_path.rsplit("@", 1)[-1])[0].strip())
    suggestion = f"{scheme if separator else 'https'}://{authority}"
    if "*" not in suggestion and _is_origin(suggestion):
        raise ValueError(f"{text!r} is not an origin; write {suggestion!r}")
    raise ValueError(
        f"{text!r} is not an origin; write scheme and host, such as 'https://app.example.com', or '*' for any"
    )


def check_each(entries: Iterable[str], check: Callable[[str], str]) -> tuple[str, ...]:
    """Return entries that were set in code.

    Args:
        check: one of the two functions above.

    Raises:
        ValueError: one of them can match nothing, or it is a string instead of a list.
    """
    if isinstance(entries, str):
        raise ValueError(f"{entries!r} is a string; give a list: [{entries!r}]")
    return tuple(check(entry) for entry in entries)


def _in_ascii(name: str) -> str:
    """Return a name as clients send it: in its ASCII form (IDNA)."""
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _is_origin(text: str) -> bool:
    if text.startswith(("http://", "https://")):
        return _name(_ORIGIN.fullmatch(text)) is not None
    return _OTHER_ORIGIN.fullmatch(text) is not None


def _canonical(origin: str) -> str:
    """Return an allowed origin as browsers send it: without a slash at the end and without the default port."""
    origin = origin.removesuffix("/")
    return origin.removesuffix(_DEFAULT_PORT.get(origin.partition(":")[0], "/"))


def _allowed_name(host: str) -> str | None:
    """Return the name in an entry of `allowed_hosts`, also one with a port, or a bare IPv6 address."""
    if host.startswith("*."):
        match = _HOST.fullmatch(host[2:])
        return f"*.{_name(match)}" if match is not None and match["name"] and _name(match) else None
    authority = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    return _name(_HOST.fullmatch(authority))


def _name(match: re.Match[str] | None) -> str | None:
    """Return the name or the address in a match; None if it is none.

    An address is without brackets and in its short form. `example.com.` is the name `example.com`: the dot at the
    end is the root of DNS (RFC 1034 §3.1).
    """
    if match is None or int(match["port"] or 0) > _LAST_PORT:
        return None
    address: str | None = match["v6"]
    if address is None:
        return str(match["name"]).removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(address))
    except ValueError:
        return None


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


def is_address(host: bytes) -> bool:
    """Whether a `Host` is an IP address, with a port or without."""
    name = _name(_HOST.fullmatch(host.decode("latin-1").lower()))
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


def cors(origin: bytes) -> Headers:
    """Return the headers by which a browser lets an allowed origin read a response (R-720)."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight(origin: bytes, fields: Mapping[bytes, bytes], methods: Sequence[str] = ENDPOINT_METHODS) -> Headers:
    """Return the headers that answer a browser's preflight from an allowed origin (R-720).

    A page on a public address needs the private-network header to reach a server on a private one (Private
    Network Access, WICG).
    """
    headers = [
        *cors(origin),
        (b"access-control-allow-methods", ", ".join([*methods, "OPTIONS"]).encode()),
        (b"access-control-allow-headers", fields.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"600"),
    ]
    if fields.get(b"access-control-request-private-network", b"").strip().lower() == b"true":
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers
