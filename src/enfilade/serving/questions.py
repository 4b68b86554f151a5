"""The questions there are, asked on behalf of a request: what `Context` offers, for middleware as well.

Easy to get wrong: middleware sees calls that tools make too, and would ask once for each of them; those have a
`request.parent`.
"""

from typing import Any

from enfilade.primitives.question import (
    Elicited,
    Messages,
    elicitation,
    sampling,
    text_of,
    url_elicitation,
)
from enfilade.primitives.question import roots as roots_question
from enfilade.serving.asking import ask
from enfilade.serving.exchange import Request
from enfilade.wire.roots import Root
from enfilade.wire.sampling import CreateMessageResult

__all__ = ["Elicited", "Messages", "elicit", "elicit_url", "roots", "sample", "text_of"]


async def elicit(
    request: Request, message: str, wanted: Any = None, *, key: str | None = None, timeout: float | None = None
) -> Elicited[Any]:
    """Ask the user by a form; see `Context.elicit`."""
    return await ask(request, elicitation(message, wanted), key=key, timeout=timeout)


async def elicit_url(
    request: Request, message: str, url: str, *, key: str | None = None, timeout: float | None = None
) -> Elicited[None]:
    """Ask the user to visit a page; see `Context.elicit_url`."""
    return await ask(request, url_elicitation(message, url), key=key, timeout=timeout)


async def sample(
    request: Request, messages: Messages, *, key: str | None = None, timeout: float | None = None, **how: Any
) -> CreateMessageResult:
    """Ask the client's model; `how` are the arguments of `Context.sample`."""
    return await ask(request, sampling(messages, **how), key=key, timeout=timeout)


async def roots(request: Request, *, key: str | None = None, timeout: float | None = None) -> list[Root]:
    """Ask for the client's roots; see `Context.roots`."""
    return await ask(request, roots_question(), key=key, timeout=timeout)
