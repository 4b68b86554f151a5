"""`ctx.http`: what a handler may know of the HTTP request that brought its call.

Credentials are left out, of headers as of the query: a handler that logs or hands on what is here gives no
token away (MCP authorization, token passthrough). Easy to get wrong: the host of the URL. The endpoint has
refused a `Host` that `allowed_hosts` does not have before anybody reads it here, unless that setting allows
any; one that is malformed is replaced by the address of the server.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote_plus

from enfilade.serving.channel import HttpHead

#: Headers that hold credentials. The session id is one where sessions belong to nobody; see `ctx.session_id`.
CREDENTIALS: Final = frozenset(
    ("authorization", "proxy-authorization", "cookie", "dpop", "x-api-key", "mcp-session-id")
)
#: Keys that only say what belongs together.
_OPEN_KEYS: Final = (
    *("idempotency", "websocket", "surrogate", "cache", "partition"),
    *("routing", "shard", "sort", "correlation"),
)
_NO_OPEN_KEY: Final = "".join(f"(?<!{word})(?<!{word}-)" for word in _OPEN_KEYS)
#: Names of others that do, such as those that proxies and clouds add (`X-Forwarded-Access-Token`), with `-` for
#: `_`: by a word between dashes, wherever it is (`X-Api-Key-V2`), by how a word ends, or by a word itself.
_SECRET_HEADERS: Final = re.compile(
    r"(?:authorization|authentication|cookie|token|secret|passw(?:or)?d|jwt|assertion|hmac|sess(?:ion)?id"
    r"|(?:api|access|secret|auth|private|master)key)[0-9]*(?=-|\Z)"
    rf"|{_NO_OPEN_KEY}(?:key[0-9]*\Z|(?<![a-z0-9])key[0-9]*-)"
    r"|(?:\A|-)(?:bearer|credentials?|otp|passcode|signature|session|ticket|sid)(?=-|\Z)"
    r"|(?:\A|-)(?:auth(?=-(?:code|data|value|header)(?:-|\Z)|\Z)|oidc-data)"
)
#: Headers in which proxies and browsers hand on a URL, whose query may hold credentials.
_URL_HEADERS: Final = frozenset(
    ("referer", "x-original-url", "x-original-uri", "x-forwarded-uri", "x-rewrite-url", "x-envoy-original-path")
)
#: Member of the state of an ASGI scope: further headers with credentials, names in lower case.
CREDENTIALS_KEY: Final = "enfilade.credentials"

#: Parameters of a query that hold credentials, as OAuth and others name them, in lower case.
_SECRET_PARAMETERS: Final = re.compile(
    r"(?:.*[-_.])?(?:token|secret|password|passwd|assertion|signature|sig|credential|jwt|code|(?:api[-_]?)?key)"
)
_AUTHORITY: Final = re.compile(r"(?:\[[0-9a-f:.]{2,45}\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(?::[0-9]{1,5})?")
_IN_PATHS: Final = "/:@!$&'()*+,;=~"


class HttpHeaders(Mapping[str, str]):
    """Headers of a request by their names in any case, without those that hold credentials.

    A header that came several times has its values joined by `, `, as RFC 9110 §5.2 has it; `getlist` has each.
    """

    __slots__ = ("_values",)

    def __init__(self, headers: Sequence[tuple[bytes, bytes]], hidden: frozenset[str] = CREDENTIALS) -> None:
        self._values: dict[str, list[str]] = {}
        for raw_name, value in headers:
            name = raw_name.decode("latin-1").lower()
            if name not in hidden and _SECRET_HEADERS.search(name.replace("_", "-")) is None:
                text = value.decode("latin-1")
                self._values.setdefault(name, []).append(_cleaned(text) if name in _URL_HEADERS else text)

    def __getitem__(self, name: str) -> str:
        values = self._values.get(name.lower())
        if values is None:
            raise KeyError(name)
        return ", ".join(values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        """Yield the names, in lower case."""
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def getlist(self, name: str) -> list[str]:
        """Return each value of a header, in the order in which they came; none if it did not come."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        """Return the names alone: values may be private."""
        return f"<headers {', '.join(self._values)}>"


class HttpRequest:
    """The HTTP request that brought a call.

    Attributes:
        headers: its headers, without those that hold credentials.
        client: the address of the client, behind proxies that are trusted; None if it is not known.
        url: its URL as far as the server knows it: scheme and host are those that it was called by, or behind a
            proxy those that the proxy passes on. Parameters of the query that hold credentials are left out.
    """

    __slots__ = ("client", "headers", "url")

    headers: HttpHeaders
    client: str | None
    url: str

    def __init__(self, head: HttpHead) -> None:
        scope = head.scope
        address = head.client
        further = (scope.get("state") or {}).get(CREDENTIALS_KEY, ())
        self.headers = HttpHeaders(head.headers, CREDENTIALS.union(further))
        self.client = address[0] if address else None
        self.url = _url(scope, self.headers.getlist("host"))

    def __repr__(self) -> str:
        return f"<HttpRequest from {self.client}>"


def _url(scope: Mapping[str, Any], hosts: Sequence[str]) -> str:
    """Return the URL of a request; the path of ASGI begins with `root_path`, except in some frameworks."""
    authority = hosts[0].lower() if len(hosts) == 1 else ""
    if _AUTHORITY.fullmatch(authority) is None:
        authority = _own_authority(scope.get("server"))
    path, root = str(scope.get("path", "/")), str(scope.get("root_path", "")).rstrip("/")
    if root and path != root and not path.startswith(f"{root}/"):
        path = root + path
    query = _without_secrets(bytes(scope.get("query_string", b"")).decode("latin-1"))
    return f"{scope.get('scheme', 'http')}://{authority}{quote(path, safe=_IN_PATHS)}{query and '?'}{query}"


def _own_authority(server: Any) -> str:
    """Return the address of the server as ASGI has it: host and port, or None."""
    if not server or server[1] is None:  # of a Unix socket there is the path alone
        return "localhost"
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _cleaned(url: str) -> str:
    """Return a URL without its fragment and without parameters that hold credentials."""
    address, _, query = url.partition("#")[0].partition("?")
    query = _without_secrets(query)
    return f"{address}{query and '?'}{query}"


def _without_secrets(query: str) -> str:
    parameters = [part for part in query.split("&") if part]
    return "&".join(
        part
        for part in parameters
        if not _SECRET_PARAMETERS.fullmatch(unquote_plus(part.partition("=")[0]).strip().lower())
    )
