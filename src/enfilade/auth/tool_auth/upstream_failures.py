"""What an exception of an HTTP library says: the status, the headers, and the request that it is about.

A library is recognised by the names of its classes and is not imported: a tool that raises its exception has
imported it.

Easy to get wrong: an exception is data of a stranger. An attribute may be missing, be of another type or raise
when it is read; then the exception is not recognised, or has no such header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

Kind = Literal["response", "timeout", "connection"]

#: By package and class: what such an exception is about. Subclasses are looked up after their own names.
_KINDS: Final[Mapping[tuple[str, str], Kind]] = {
    ("httpx", "HTTPStatusError"): "response",
    ("httpx", "TimeoutException"): "timeout",
    ("httpx", "NetworkError"): "connection",
    ("httpx", "RemoteProtocolError"): "connection",
    ("httpx2", "HTTPStatusError"): "response",
    ("httpx2", "TimeoutException"): "timeout",
    ("httpx2", "NetworkError"): "connection",
    ("httpx2", "RemoteProtocolError"): "connection",
    ("requests", "HTTPError"): "response",
    ("requests", "Timeout"): "timeout",
    ("requests", "ConnectionError"): "connection",
    ("aiohttp", "ClientResponseError"): "response",
    ("aiohttp", "ServerTimeoutError"): "timeout",
    ("aiohttp", "ClientConnectionError"): "connection",
    ("urllib", "HTTPError"): "response",
}
#: Where such an exception, or its response, has the status.
_STATUSES: Final = ("status_code", "status", "code")
_LONGEST_HEADER: Final = 4096
_MOST_HEADERS: Final = 200


class UpstreamFailure(msgspec.Struct, frozen=True):
    """What is known of a request to a provider's API that has failed.

    Attributes:
        kind: whether there was a response, or why not.
        status: that of the response, 400 to 599; None if there was none.
        headers: those of the response, by names in lower case.
        method: that of the request, in upper case; empty if it is not known.
        sent: header values and the URL of the request; None if they are not known. They hold secrets.
    """

    kind: Kind
    status: int | None = None
    headers: Mapping[str, str] = {}
    method: str = ""
    sent: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"UpstreamFailure({self.kind!r}, {self.status!r})"

    def carried(self, token: str) -> bool:
        """Whether the request is known to have had a token."""
        return self.sent is not None and any(token in text for text in self.sent)


def failure_of(error: BaseException) -> UpstreamFailure | None:
    """Return what an exception says of a request; None if it is not that of a known library."""
    kind = _kind_of(error)
    if kind is None:
        return None
    response = _attribute(error, "response")
    request = _first(
        *(_attribute(error, "request"), _attribute(response, "request"), _attribute(error, "request_info"))
    )
    method = _attribute(request, "method")
    failure = UpstreamFailure(kind, method=method.upper() if isinstance(method, str) else "", sent=_sent(request))
    if kind != "response":
        return failure
    status = next(filter(None, (_status(response), _status(error))), None)
    if status is None:
        return None
    headers = _first(_attribute(response, "headers"), _attribute(error, "headers"))
    return msgspec.structs.replace(failure, status=status, headers=_headers(headers))


def _kind_of(error: BaseException) -> Kind | None:
    for cls in type(error).__mro__:
        kind = _KINDS.get((str(cls.__module__).partition(".")[0], cls.__qualname__))
        if kind is not None:
            return kind
    return None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _attribute(source: object, name: str) -> Any:
    """Return an attribute; None if it is missing or raises, as `request` of an httpx error may."""
    try:
        return getattr(source, name, None)
    except Exception:
        return None


def _status(source: object) -> int | None:
    for name in _STATUSES:
        value = _attribute(source, name)
        if isinstance(value, int) and 400 <= value <= 599:
            return int(value)
    return None


def _headers(source: object) -> dict[str, str]:
    """Return headers by names in lower case; the values of one name are joined."""
    headers: dict[str, str] = {}
    for name, value in _items(source):
        known = headers.get(name.lower())
        headers[name.lower()] = (value if known is None else f"{known}, {value}")[:_LONGEST_HEADER]
    return headers


def _items(source: object) -> Iterator[tuple[str, str]]:
    items: Callable[[], Any] | None = _attribute(source, "multi_items") or _attribute(source, "items")
    try:
        listed = list(items()) if callable(items) else []
    except Exception:
        return
    for pair in listed[:_MOST_HEADERS]:
        if isinstance(pair, tuple) and len(pair) == 2:
            name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in pair)
            if isinstance(name, str) and isinstance(value, str):
                yield name, value


def _sent(request: object) -> tuple[str, ...] | None:
    """Return the header values and the URL of a request; None if there are no headers to be read."""
    values = tuple(value for _, value in _items(_attribute(request, "headers")))
    if not values:
        return None
    return (*values, str(_attribute(request, "url")))
