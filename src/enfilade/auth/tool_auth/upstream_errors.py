"""What the model reads when a request of a tool to a provider's API has failed.

A tool need not catch the exceptions of its HTTP library: `response.raise_for_status()` is enough.

Easy to get wrong: what such a text may hold. The exceptions of HTTP libraries have the URL with its query in
their text, and responses say what they like: a text of ours has the status, seconds and names of scopes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Protocol

from enfilade.auth.tool_auth.upstream_failures import UpstreamFailure, failure_of
from enfilade.primitives.errors import ToolError

#: The member of `_meta` with the status, `can_retry`, and `retry_after_ms` if it is known.
META: Final = "enfilade/upstream"
#: Seconds to wait where a provider limits requests and does not say for how long; GitHub asks for a minute.
_USUAL_WAIT: Final = 60.0
#: Seconds; what is further away is not a wait for a model.
_LONGEST_WAIT: Final = 7 * 24 * 3600.0
#: Numbers above are points in time, in seconds and in milliseconds; those below are seconds from now.
_EPOCH: Final = 1e9
_EPOCH_MS: Final = 1e12
_NUMBER: Final = re.compile(r"\d{1,16}(\.\d{1,9})?")
_SCOPE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,100}")
_MOST_SCOPES: Final = 10
_CHALLENGE_SCOPE: Final = re.compile(r'(?:^|[\s,])scope="([^"]{0,1000})"', re.IGNORECASE)
_INSUFFICIENT: Final = re.compile(r'(?:^|[\s,])error="?insufficient_scope"?', re.IGNORECASE)
#: Names of the headers that say when there may be requests again, after `Retry-After`.
_RESETS: Final = (
    *("x-ratelimit-reset-after", "x-ratelimit-reset", "x-rate-limit-reset", "ratelimit-reset"),
    "x-ratelimit-requests-reset",
)
_REMAINING: Final = (
    *("x-ratelimit-remaining", "x-rate-limit-remaining", "ratelimit-remaining"),
    "x-ratelimit-requests-remaining",
)
#: Requests that may be sent again although it is not known what became of them (RFC 9110 §9.2).
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


class UpstreamError(ToolError):
    """A provider's API did not do what a tool asked for.

    Args:
        message: what the model reads.
        status: that of the response; None if there was none.
        can_retry: whether the same request may succeed later.
        retry_after: seconds until then, if that is known.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        can_retry: bool = False,
        retry_after: float | None = None,
    ) -> None:
        facts: dict[str, Any] = {"can_retry": can_retry}
        if status is not None:
            facts["status"] = status
        if retry_after is not None:
            facts["retry_after_ms"] = round(retry_after * 1000)
        super().__init__(message, meta={META: facts})
        self.status, self.can_retry, self.retry_after = status, can_retry, retry_after


class TokenFacts(Protocol):
    """The part of a `ToolToken` that is read here."""

    @property
    def title(self) -> str:
        """The name of the provider for people."""
        ...

    @property
    def token(self) -> str:
        """The access token."""
        ...


class CallTokens(Protocol):
    """The part of `CallAuth` that is read here."""

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of the providers."""
        ...

    def __getitem__(self, provider: str) -> TokenFacts:
        """Return the token of a provider."""
        ...

    def rejected(self, provider: str) -> ToolError:
        """Return the error of a token that the service has refused."""
        ...


def adapted(error: BaseException, auth: CallTokens) -> ToolError | None:
    """Return what an exception of httpx, requests, aiohttp or urllib means for the tokens of a call.

    A request belongs to the provider whose token it carried. One that is known and carried none is about another
    service, which a tool may ask as well.

    Args:
        error: the exception, or a group of such as `asyncio.TaskGroup` raises.
        auth: the tokens of the call.

    Returns:
        A `RejectedTokenError` if a token is not accepted, or else an `UpstreamError`; None if the exception is
        none of these. For a group, the rejection if there is one, or else an error of the tool itself, or else
        the one with the longest wait; None if there is anything else in it.
    """
    meanings: list[tuple[int, float, ToolError]] = []
    is_foreign = False
    for leaf in _leaves(error):
        if isinstance(leaf, ToolError):
            meanings.append((1, 0.0, leaf))
            continue
        failure = failure_of(leaf)
        meaning = None if failure is None else _meaning(failure, auth)
        if meaning is None:
            return None
        meanings.append(meaning)
        is_foreign = True
    return max(meanings, key=lambda meaning: meaning[:2])[2] if is_foreign else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _meaning(failure: UpstreamFailure, auth: CallTokens) -> tuple[int, float, ToolError] | None:
    """Return what a failure means, behind its rank and its wait; None if it is that of another service."""
    providers = list(auth)
    if failure.sent is not None:
        providers = [id for id in providers if failure.carried(auth[id].token)]
    if not providers:
        return None
    provider = providers[0] if len(providers) == 1 else None
    if failure.status == 401 and provider is not None and not _is_about_scopes(failure):
        return 2, 0.0, auth.rejected(provider)
    told = _told(failure, "The service" if provider is None else auth[provider].title)
    return 0, told.retry_after or 0.0, told


def _told(failure: UpstreamFailure, title: str) -> UpstreamError:
    status = failure.status
    if status is None:
        return _unanswered(failure, title)
    if _is_limited(failure):
        return _limited(failure, title)
    if (missing := _missing_scopes(failure)) is not None:
        return UpstreamError(f"{title} refused the request ({_named(status)}): {missing}", status=status)
    if status >= 500:
        return _failed(failure, title)
    return UpstreamError(f"{title} answered {_named(status)}", status=status)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


# -- it did not answer, or has failed --------------------------------------------------------------------------


def _unanswered(failure: UpstreamFailure, title: str) -> UpstreamError:
    what = "did not answer in time" if failure.kind == "timeout" else "could not be reached"
    return _uncertain(failure, f"{title} {what}", None)


def _failed(failure: UpstreamFailure, title: str) -> UpstreamError:
    return _uncertain(failure, f"{title} failed ({failure.status})", _wait_of(failure))


def _uncertain(failure: UpstreamFailure, text: str, wait: float | None) -> UpstreamError:
    again = "try again later" if wait is None else f"retry after {_seconds(wait)}"
    if failure.method and failure.method not in _REPEATABLE:
        again = f"what was asked for may have been done, so look first, and then {again}"
    return UpstreamError(f"{text}; {again}", status=failure.status, can_retry=True, retry_after=wait)


# -- there were too many requests ------------------------------------------------------------------------------


def _is_limited(failure: UpstreamFailure) -> bool:
    """Whether a response is about the number of requests; GitHub has 403 for that as well."""
    if failure.status == 429:
        return True
    headers = failure.headers
    return failure.status == 403 and (
        "retry-after" in headers or any(headers.get(name, "").strip() == "0" for name in _REMAINING)
    )


def _limited(failure: UpstreamFailure, title: str) -> UpstreamError:
    wait = _wait_of(failure, with_resets=True)
    text = f"{title} limits the number of requests ({failure.status}); retry after "
    known = _USUAL_WAIT if wait is None else wait
    return UpstreamError(text + _seconds(known), status=failure.status, can_retry=True, retry_after=known)


def _seconds(wait: float) -> str:
    whole = max(1, -int(-wait // 1))
    return "1 second" if whole == 1 else f"{whole} seconds"


def _wait_of(failure: UpstreamFailure, *, with_resets: bool = False) -> float | None:
    """Return the seconds for which a provider wants no requests; None if it does not say."""
    retry_after = failure.headers.get("retry-after", "").strip()
    now = time.time()
    wait = _number_of_seconds(retry_after, now)
    if wait is None and retry_after:
        wait = _seconds_until(retry_after, now)
    for name in _RESETS if with_resets else ():
        if wait is None:
            wait = _number_of_seconds(failure.headers.get(name, "").strip(), now)
    return None if wait is None else min(max(wait, 0.0), _LONGEST_WAIT)


def _number_of_seconds(text: str, now: float) -> float | None:
    """Return the seconds from now that a number stands for; None if the text is none."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    if number >= _EPOCH_MS:
        return number / 1000 - now
    return number - now if number >= _EPOCH else number


def _seconds_until(date: str, now: float) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except (ValueError, TypeError, OverflowError, OSError):
        return None


# -- the token does not allow it -------------------------------------------------------------------------------


def _is_about_scopes(failure: UpstreamFailure) -> bool:
    return _INSUFFICIENT.search(failure.headers.get("www-authenticate", "")) is not None


def _missing_scopes(failure: UpstreamFailure) -> str | None:
    """Return which scopes a token lacks, in words; None if the response does not say that it lacks any."""
    if failure.status not in (401, 403, 404):  # GitHub has 404 for what the token may not see
        return None
    if _is_about_scopes(failure):
        challenge = _CHALLENGE_SCOPE.search(failure.headers.get("www-authenticate", ""))
        named = _scopes(challenge[1]) if challenge else []
        return f"it takes the scopes {', '.join(named)}" if named else "the token lacks a scope"
    accepted = _scopes(failure.headers.get("x-accepted-oauth-scopes", ""))
    granted = _scopes(failure.headers.get("x-oauth-scopes", ""))
    if not accepted or set(accepted) & set(granted) or "x-oauth-scopes" not in failure.headers:
        return None  # GitHub's fine-grained tokens have no scopes
    has = f"has {', '.join(granted)}" if granted else "has none"
    one = "the scope" if len(accepted) == 1 else "one of the scopes"
    return f"it takes {one} {', '.join(accepted)}, and the token {has}"


def _scopes(text: str) -> list[str]:
    return [scope for scope in re.split(r"[\s,]+", text) if _SCOPE.fullmatch(scope)][:_MOST_SCOPES]
