"""What a scripted client answers to a server's questions, and what it was asked.

Easy to get wrong: who notices that an answer is missing. A client that merely fails makes the server report an
error, which a test may not look at; so the failure is kept, and raised out of the call that led to the question.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from mcp_types import CreateMessageResult, ElicitResult, ErrorData

Kind = Literal["elicitation", "sampling", "roots"]

_REFUSED = -32603  # internal error: the script ends here, whatever the server makes of it


@dataclass(frozen=True)
class Answer:
    """What a user does with a question.

    Attributes:
        action: `accept`, `decline` or `cancel`.
        content: the fields of the form, if it was accepted.
    """

    action: Literal["accept", "decline", "cancel"]
    content: Mapping[str, Any] | None = None


def accept(content: Mapping[str, Any] | None = None) -> Answer:
    """The user fills in the form, or visits the page.

    Args:
        content: the fields of the form by name; None for a page.
    """
    return Answer("accept", content)


def decline() -> Answer:
    """The user says no."""
    return Answer("decline")


def cancel() -> Answer:
    """The user goes away without an answer."""
    return Answer("cancel")


@dataclass(frozen=True)
class Question:
    """What a server asked.

    Attributes:
        kind: `elicitation`, `sampling` or `roots`.
        message: the words of the question; of sampling, the text of the last message.
        schema: of the form, if it is one.
        url: the page to visit, if it is one.
        params: all of it, as the official client has it; None for roots.
    """

    kind: Kind
    message: str
    schema: Mapping[str, Any] | None = None
    url: str | None = None
    params: Any = field(default=None, repr=False)


class OutOfAnswersError(AssertionError):
    """A server asked more than the test has answers for."""


Given: TypeAlias = Sequence[Any] | Callable[[Question], Any]


class Script:
    """Answers a server's questions, in order.

    Args:
        answers: to elicitation: `accept(…)`, `decline()`, `cancel()` or the fields of a form; or a function of
            the `Question`, `async` or not. None for a client that cannot be asked.
        sampling: texts that the client's model says, or whole `CreateMessageResult`s; or a function.
        roots: the directories that the user has opened, as paths or `file:` URIs.

    Attributes:
        questions: what was asked so far.
        failure: what went wrong with an answer; None if nothing did.
    """

    def __init__(self, answers: Given | None, sampling: Given | None, roots: Sequence[str | Path] | None) -> None:
        self.questions: list[Question] = []
        self.failure: Exception | None = None
        self._given: dict[Kind, Given] = {}
        for kind, given in (("elicitation", answers), ("sampling", sampling)):
            if given is not None:
                self._given[kind] = given if callable(given) else list(given)  # type: ignore[index]
        self._roots = None if roots is None else [_uri(root) for root in roots]

    @property
    def left(self) -> list[Any]:
        """Answers that nobody asked for."""
        return [each for given in self._given.values() if not callable(given) for each in given]

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks of `mcp.Client`; a client without one declares that it cannot be asked."""
        found: dict[str, Any] = {}
        if "elicitation" in self._given:
            found["elicitation_callback"] = self._elicit
        if "sampling" in self._given:
            found["sampling_callback"] = self._sample
        if self._roots is not None:
            found["list_roots_callback"] = self._list_roots
        return found

    def take_failure(self) -> Exception | None:
        """Return what went wrong, once."""
        failure, self.failure = self.failure, None
        return failure

    async def _elicit(self, context: Any, params: Any) -> Any:
        schema, url = getattr(params, "requested_schema", None), getattr(params, "url", None)
        return await self._answered(Question("elicitation", params.message, schema, url, params), _elicited)

    async def _sample(self, context: Any, params: Any) -> Any:
        return await self._answered(Question("sampling", _last_words(params), params=params), _sampled)

    async def _list_roots(self, context: Any) -> Any:
        from mcp_types import ListRootsResult

        self.questions.append(Question("roots", "roots"))
        return ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in self._roots or ()]})

    async def _answered(self, question: Question, as_result: Callable[[Any], Any]) -> Any:
        self.questions.append(question)
        try:
            return as_result(await self._next(question))
        except Exception as error:
            self.failure = self.failure or error
            return _error(f"no answer: {error}")

    async def _next(self, question: Question) -> Any:
        given = self._given[question.kind]
        if callable(given):
            answer = given(question)
            return await answer if inspect.isawaitable(answer) else answer
        if not given:
            asked = [each.message for each in self.questions if each.kind == question.kind]
            raise OutOfAnswersError(
                f"the server asked {question.message!r} ({question.kind}), and no answer is left; "
                f"it has asked {len(asked)} in all: {', '.join(map(repr, asked))}"
            )
        return given.pop(0)  # type: ignore[attr-defined]  # a list of our own


def _elicited(answer: Any) -> ElicitResult | ErrorData:
    from mcp_types import ElicitResult, ErrorData

    if isinstance(answer, ElicitResult | ErrorData):
        return answer
    if isinstance(answer, Mapping):
        answer = accept(answer)
    if not isinstance(answer, Answer):
        raise TypeError(f"{answer!r} answers no question; use accept({{…}}), decline() or cancel()")
    content = None if answer.content is None else dict(answer.content)
    return ElicitResult(action=answer.action, content=content)


def _sampled(answer: Any) -> CreateMessageResult | ErrorData:
    from mcp_types import CreateMessageResult, ErrorData, TextContent

    if not isinstance(answer, str):
        if not hasattr(answer, "content") and not isinstance(answer, ErrorData):
            raise TypeError(f"{answer!r} is nothing that a model says; use a text or a CreateMessageResult")
        return answer  # type: ignore[no-any-return]  # one of several result types
    content = TextContent(type="text", text=answer)
    return CreateMessageResult(role="assistant", content=content, model="scripted", stop_reason="endTurn")


def _error(message: str) -> ErrorData:
    from mcp_types import ErrorData

    return ErrorData(code=_REFUSED, message=message)


def _last_words(params: Any) -> str:
    content = params.messages[-1].content if params.messages else None
    blocks: list[Any] = content if isinstance(content, list) else [content]
    return " ".join(block.text for block in blocks if hasattr(block, "text"))


def _uri(root: str | Path) -> str:
    return root if isinstance(root, str) and "://" in root else Path(root).resolve().as_uri()
