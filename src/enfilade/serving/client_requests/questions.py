"""The questions there are, asked on behalf of a request: what `Context` offers, for middleware as well.

Easy to get wrong: middleware sees calls that tools make too, and would ask once for each of them; those have a
`request.parent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from enfilade.primitives.questions.question import (
    Elicited,
    Messages,
    elicitation,
    roots as roots_question,
    sampling,
    text_of,
    url_elicitation,
)
from enfilade.serving.awaitables import to_await
from enfilade.serving.client_requests.ask import ask
from enfilade.serving.request import Request
from enfilade.wire.roots import Root
from enfilade.wire.sampling import CreateMessageResult

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from enfilade.primitives.questions.choices import Choices
    from enfilade.primitives.questions.question import SpecialForm

T = TypeVar("T")

__all__ = ["Elicited", "Messages", "elicit", "elicit_url", "roots", "sample", "text_of"]


@overload
async def elicit(
    request: Request, message: str, wanted: None = None, *, key: str | None = None, timeout: float | None = None
) -> Elicited[None]: ...
@overload
async def elicit(
    request: Request, message: str, wanted: Choices, *, key: str | None = None, timeout: float | None = None
) -> Elicited[str]: ...
@overload
async def elicit(
    request: Request,
    message: str,
    wanted: Mapping[str, Any],
    *,
    key: str | None = None,
    timeout: float | None = None,
) -> Elicited[dict[str, Any]]: ...
@overload
async def elicit(
    request: Request, message: str, wanted: type[T], *, key: str | None = None, timeout: float | None = None
) -> Elicited[T]: ...
@overload
async def elicit(
    request: Request, message: str, wanted: TypeForm[T], *, key: str | None = None, timeout: float | None = None
) -> Elicited[T]: ...
@overload
async def elicit(
    request: Request, message: str, wanted: SpecialForm, *, key: str | None = None, timeout: float | None = None
) -> Elicited[Any]: ...
@to_await("elicit")
async def elicit(
    request: Request, message: str, wanted: Any = None, *, key: str | None = None, timeout: float | None = None
) -> Elicited[Any]:
    """Ask the user by a form; see `Context.elicit`."""
    return await ask(request, elicitation(message, wanted), key=key, timeout=timeout)


@to_await("elicit_url")
async def elicit_url(
    request: Request, message: str, url: str, *, key: str | None = None, timeout: float | None = None
) -> Elicited[None]:
    """Ask the user to visit a page; see `Context.elicit_url`."""
    return await ask(request, url_elicitation(message, url), key=key, timeout=timeout)


@to_await("sample")
async def sample(
    request: Request, messages: Messages, *, key: str | None = None, timeout: float | None = None, **how: Any
) -> CreateMessageResult:
    """Ask the client's model; `how` are the arguments of `Context.sample`."""
    return await ask(request, sampling(messages, **how), key=key, timeout=timeout)


@to_await("roots")
async def roots(request: Request, *, key: str | None = None, timeout: float | None = None) -> list[Root]:
    """Ask for the client's roots; see `Context.roots`."""
    return await ask(request, roots_question(), key=key, timeout=timeout)
