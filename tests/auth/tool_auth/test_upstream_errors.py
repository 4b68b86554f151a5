"""What becomes of the exceptions of HTTP libraries: a text without URL, headers, body or token (A15, A18)."""

import asyncio
import time
import urllib.request
from collections.abc import Mapping
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from enfilade.auth.tool_auth import upstream_errors
from enfilade.auth.tool_auth.upstream_errors import UpstreamError
from enfilade.primitives.errors import ToolError
from support.servers.scripted_http_server import Answer, ScriptedHttpServer

CANARY = "canary-5up3r"


class Rejected(ToolError):
    """What the tokens of a call return for one that is refused."""


class Tokens(dict[str, Any]):
    """The tokens of a call, by provider."""

    def rejected(self, provider: str) -> Rejected:
        return Rejected(provider)


def tokens(**by_provider: str) -> Tokens:
    titles = {"github": "GitHub", "slack": "Slack"}
    return Tokens({id: SimpleNamespace(title=titles[id], token=token) for id, token in by_provider.items()})


def adapted(error: BaseException, auth: Tokens = tokens(github=CANARY)) -> ToolError | None:
    return upstream_errors.adapted(error, auth)


def named(module: str, name: str, base: type[Exception] = Exception) -> type[Exception]:
    """Return a class with the name of one of a library that need not be installed."""
    return type(name, (base,), {"__module__": module, "__qualname__": name})


REQUESTS_ERROR = named("requests.exceptions", "HTTPError", OSError)
AIOHTTP_ERROR = named("aiohttp.client_exceptions", "ClientResponseError")
AIOHTTP_CHILD = named("aiohttp.client_exceptions", "ContentTypeError", AIOHTTP_ERROR)


def of_httpx(status: int, headers: Mapping[str, str] = {}, method: str = "GET") -> Exception:
    request = httpx.Request(
        method, f"https://api.test/x?key={CANARY}", headers={"Authorization": f"Bearer {CANARY}"}
    )
    response = httpx.Response(status, headers=headers, content=CANARY.encode(), request=request)
    try:
        response.raise_for_status()
    except httpx.HTTPStatusError as error:
        return error
    raise AssertionError(f"httpx raises nothing for {status}")


def of_requests(status: int, headers: Mapping[str, str] = {}, method: str = "GET") -> Exception:
    error: Any = REQUESTS_ERROR(f"{status} for url https://api.test/x?key={CANARY}")
    sent = SimpleNamespace(method=method, url="https://api.test", headers={"Authorization": f"Bearer {CANARY}"})
    error.request = sent
    error.response = SimpleNamespace(status_code=status, headers=headers, text=CANARY, request=sent)
    return error  # type: ignore[no-any-return]


def of_aiohttp(status: int, headers: Mapping[str, str] = {}, method: str = "GET") -> Exception:
    error: Any = AIOHTTP_CHILD(f"{status}, message={CANARY!r}")
    sent = {"Authorization": f"Bearer {CANARY}"}
    error.status, error.headers, error.message = status, headers, CANARY
    error.request_info = SimpleNamespace(method=method, url="https://api.test", headers=sent)
    return error  # type: ignore[no-any-return]


LIBRARIES = [of_httpx, of_requests, of_aiohttp]
#: Status, headers, the text without the provider's name, `can_retry`, and seconds.
TABLE: list[tuple[int, dict[str, str], str, bool, float | None]] = [
    (429, {"Retry-After": "7"}, "limits the number of requests (429); retry after 7 seconds", True, 7),
    (429, {"retry-after": "0.4"}, "limits the number of requests (429); retry after 1 second", True, 0.4),
    (429, {"Retry-After": "soon"}, "limits the number of requests (429); retry after 60 seconds", True, 60),
    (429, {}, "limits the number of requests (429); retry after 60 seconds", True, 60),
    (429, {"X-RateLimit-Reset": "20"}, "limits the number of requests (429); retry after 20 seconds", True, 20),
    (429, {"Retry-After": "9" * 400}, "limits the number of requests (429); retry after 60 seconds", True, 60),
    (429, {"Retry-After": "-5"}, "limits the number of requests (429); retry after 60 seconds", True, 60),
    (
        429,
        {"Retry-After": "99999999"},
        "limits the number of requests (429); retry after 604800 seconds",
        True,
        604800,
    ),
    (403, {"Retry-After": "30"}, "limits the number of requests (403); retry after 30 seconds", True, 30),
    (
        403,
        {"X-RateLimit-Remaining": "0"},
        "limits the number of requests (403); retry after 60 seconds",
        True,
        60,
    ),
    (403, {"X-RateLimit-Remaining": "41"}, "answered 403 Forbidden", False, None),
    (
        403,
        {"WWW-Authenticate": 'Bearer realm="x", error="insufficient_scope", scope="files.read mail"'},
        "refused the request (403 Forbidden): it takes the scopes files.read, mail",
        False,
        None,
    ),
    (
        403,
        {"WWW-Authenticate": "Bearer error=insufficient_scope"},
        "refused the request (403 Forbidden): the token lacks a scope",
        False,
        None,
    ),
    (
        401,
        {"WWW-Authenticate": 'Bearer error="insufficient_scope", scope="mail"'},
        "refused the request (401 Unauthorized): it takes the scopes mail",
        False,
        None,
    ),
    (
        403,
        {"X-Accepted-OAuth-Scopes": "repo, public_repo", "X-OAuth-Scopes": "gist, user"},
        "refused the request (403 Forbidden): "
        "it takes one of the scopes repo, public_repo, and the token has gist, user",
        False,
        None,
    ),
    (
        404,
        {"X-Accepted-OAuth-Scopes": "repo", "X-OAuth-Scopes": ""},
        "refused the request (404 Not Found): it takes the scope repo, and the token has none",
        False,
        None,
    ),
    (404, {"X-Accepted-OAuth-Scopes": "repo", "X-OAuth-Scopes": "repo"}, "answered 404 Not Found", False, None),
    (403, {"X-Accepted-OAuth-Scopes": "repo"}, "answered 403 Forbidden", False, None),
    (422, {}, "answered 422 ", False, None),
    (499, {}, "answered 499", False, None),
    (500, {}, "failed (500); try again later", True, None),
    (503, {"Retry-After": "12"}, "failed (503); retry after 12 seconds", True, 12),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("row", TABLE)
def test_a_status_becomes_a_text(library: Any, row: tuple[int, dict[str, str], str, bool, float | None]) -> None:
    """The same for each library; programs read `_meta` (A16, A18)."""
    status, headers, text, can_retry, seconds = row
    error = adapted(library(status, headers))
    assert isinstance(error, UpstreamError)
    assert str(error).startswith(f"GitHub {text}") if text.endswith(" ") else str(error) == f"GitHub {text}"
    facts = {"status": status, "can_retry": can_retry}
    if seconds is not None:
        facts["retry_after_ms"] = round(seconds * 1000)
    assert error.meta == {"enfilade/upstream": facts}
    assert CANARY not in f"{error!r} {error.meta}"


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_refused_token_is_rejected(library: Any) -> None:
    """A15."""
    assert isinstance(adapted(library(401)), Rejected)


def test_points_in_time_become_seconds() -> None:
    """Whether as a date, in seconds or in milliseconds; what has passed is now."""
    now = time.time()
    for headers in (
        {"Retry-After": formatdate(now + 100, usegmt=True)},
        {"X-RateLimit-Reset": str(int(now + 100))},
        {"X-RateLimit-Requests-Reset": str(int((now + 100) * 1000))},
    ):
        error = adapted(of_httpx(429, headers))
        assert isinstance(error, UpstreamError)
        assert error.retry_after == pytest.approx(100, abs=30)
    for passed in ({"Retry-After": formatdate(now - 100, usegmt=True)}, {"X-RateLimit-Reset": "1700000000"}):
        assert str(adapted(of_httpx(429, passed))).endswith("retry after 1 second")


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_may_have_been_done_is_looked_at_first(library: Any) -> None:
    error = adapted(library(502, {}, "POST"))
    assert "look first" in str(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (httpx.ConnectTimeout(CANARY), "GitHub did not answer in time; try again later"),
        (httpx.ConnectError(CANARY), "GitHub could not be reached; try again later"),
        (httpx.RemoteProtocolError(CANARY), "GitHub could not be reached; try again later"),
        (named("requests.exceptions", "Timeout")(CANARY), "GitHub did not answer in time; try again later"),
        (named("requests.exceptions", "ConnectionError")(CANARY), "GitHub could not be reached; try again later"),
        (
            named("aiohttp.client_exceptions", "ServerTimeoutError")(),
            "GitHub did not answer in time; try again later",
        ),
        (
            named("aiohttp.client_exceptions", "ClientConnectionError")(),
            "GitHub could not be reached; try again later",
        ),
    ],
)
def test_no_answer(error: Exception, text: str) -> None:
    told = adapted(error)
    assert str(told) == text
    assert told is not None
    assert told.meta == {"enfilade/upstream": {"can_retry": True}}


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        httpx.UnsupportedProtocol("x"),
        httpx.InvalidURL("x"),
        httpx.TooManyRedirects("x"),
        named("mine", "HTTPStatusError")("x"),
        named("requests.exceptions", "HTTPError")("without a response"),
        TimeoutError(),
        asyncio.CancelledError(),
        of_requests(302),
        of_requests(True),
        ToolError("of the author"),
    ],
)
def test_what_is_not_recognised(error: BaseException) -> None:
    """It is masked as any other exception."""
    assert adapted(error) is None


class Hostile:
    """A response whose every attribute raises."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(CANARY)


def test_an_exception_may_be_odd() -> None:
    error: Any = named("requests.exceptions", "HTTPError")("x")
    error.response = Hostile()
    assert adapted(error) is None
    odd: Any = {"status_code": 503, "headers": 7}, {"status_code": 503, "headers": {1: 2, b"Retry-After": b"3"}}
    for members, text in zip(
        odd, ("failed (503); try again later", "failed (503); retry after 3 seconds"), strict=True
    ):
        error.response = SimpleNamespace(**members)
        assert str(adapted(error)) == f"GitHub {text}"


def test_scopes_of_a_stranger_are_no_text() -> None:
    """Only what may be a scope is named, and not much of it."""
    challenge = (
        'Bearer error="insufficient_scope", scope="a\x1b[31m b ' + " ".join(f"s{n}" for n in range(99)) + '"'
    )
    text = str(adapted(of_requests(403, {"WWW-Authenticate": challenge})))
    assert text.endswith("it takes the scopes b, s0, s1, s2, s3, s4, s5, s6, s7, s8")


def test_groups() -> None:
    """Tasks side by side raise a group: a rejection comes first, and what is unknown is masked."""
    limited, slower = of_httpx(429, {"Retry-After": "3"}), of_httpx(429, {"Retry-After": "9"})
    group = ExceptionGroup("", [limited, ExceptionGroup("", [slower])])
    assert str(adapted(group)).endswith("9 seconds")
    assert isinstance(adapted(ExceptionGroup("", [limited, of_httpx(401)])), Rejected)
    assert str(adapted(ExceptionGroup("", [limited, ToolError("mine")]))) == "mine"
    assert adapted(ExceptionGroup("", [limited, KeyError("x")])) is None
    assert adapted(ExceptionGroup("", [ToolError("mine")])) is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_service_is_not_the_provider(library: Any) -> None:
    """The request of a tool that did not carry the token says nothing of the token (R-610)."""
    assert adapted(library(401), tokens(github="another-token")) is None
    assert isinstance(adapted(library(401)), Rejected)
    assert isinstance(adapted(httpx.ReadTimeout("unknown request")), UpstreamError)


@pytest.mark.parametrize("library", LIBRARIES)
def test_of_several_providers_it_is_the_one_that_was_asked(library: Any) -> None:
    """A2."""
    auth = tokens(slack="xoxp-1", github=CANARY)
    assert str(adapted(library(401), auth)) == "github"
    assert str(adapted(library(500), auth)) == "GitHub failed (500); try again later"
    unknown = named("requests.exceptions", "HTTPError")("x")
    unknown.response = SimpleNamespace(status_code=401, headers={})  # type: ignore[attr-defined]
    assert str(adapted(unknown, auth)) == "The service answered 401 Unauthorized"


def test_with_real_requests() -> None:
    """Over real sockets, by httpx and by the standard library."""
    told: list[ToolError | None] = []
    with ScriptedHttpServer() as server:
        server.answers["/"] = server.answers[f"/user?{CANARY}"] = Answer(
            {"message": CANARY}, 429, {"Retry-After": "5"}
        )
        try:
            httpx.get(server.origin, headers={"Authorization": f"Bearer {CANARY}"}).raise_for_status()
        except httpx.HTTPError as error:
            told.append(adapted(error))
        try:
            urllib.request.urlopen(f"{server.origin}/user?{CANARY}", timeout=10)
        except OSError as error:
            told.append(adapted(error))
    try:
        httpx.get(server.origin, headers={"Authorization": f"Bearer {CANARY}"})
    except httpx.HTTPError as error:
        told.append(adapted(error))
    limited = "GitHub limits the number of requests (429); retry after 5 seconds"
    assert [str(error) for error in told] == [limited, limited, "GitHub could not be reached; try again later"]
