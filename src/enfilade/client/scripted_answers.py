"""Answers to a server's questions by a script, and a record of the questions.

Easy to get wrong: a missing answer must fail the test. An error response alone makes the server report an error,
which a test may not check; so the failure is stored, and raised from the call that led to the question.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from mcp_types import CreateMessageResult, ElicitResult, ErrorData

QuestionKind = Literal["elicitation", "sampling", "roots"]

_INTERNAL_ERROR: Final = -32603  # the code for a question without an answer


@dataclass(frozen=True)
class Answer:
    """The reaction of a user to a question.

    Attributes:
        action: `accept`, `decline` or `cancel`.
        content: the fields of an accepted form, or the value of its only one.
    """

    action: Literal["accept", "decline", "cancel"]
    content: Any = None


def accept(content: Any = None) -> Answer:
    """Return the answer of a user who fills in the form, or visits the page.

    Args:
        content: the fields of the form by name, or the value of a form that has one field; None for a page.
    """
    return Answer("accept", content)


def decline() -> Answer:
    """Return the answer of a user who declines."""
    return Answer("decline")


def cancel() -> Answer:
    """Return the answer of a user who cancels."""
    return Answer("cancel")


@dataclass(frozen=True)
class Question:
    """A question of a server.

    Attributes:
        kind: `elicitation`, `sampling` or `roots`.
        message: the text of the question; for sampling, the text of the last message.
        schema: the schema of the form; None for other questions.
        url: the URL of the page to visit; None for other questions.
        params: the parameters as the official client parses them; None for roots.
    """

    kind: QuestionKind
    message: str
    schema: Mapping[str, Any] | None = None
    url: str | None = None
    params: Any = field(default=None, repr=False)


class OutOfAnswersError(AssertionError):
    """A server asked more questions than the test has answers for."""


Answers: TypeAlias = Sequence[Any] | Callable[[Question], Any]


class Script:
    """Answers a server's questions, in order.

    Args:
        answers: answers to elicitation: `accept(…)`, `decline()`, `cancel()` or the fields of a form; or a
            function of the `Question`, `async` or not. None for a client without elicitation.
        sampling: replies of the client's model as texts or `CreateMessageResult`s; or a function.
        roots: the directories that the client offers as roots, as paths or `file:` URIs.

    Attributes:
        questions: the questions so far.
        failure: the first failure of an answer; None if there was none.
    """

    def __init__(
        self, answers: Answers | None, sampling: Answers | None, roots: Sequence[str | Path] | None
    ) -> None:
        self.questions: list[Question] = []
        self.failure: Exception | None = None
        self._answers: dict[QuestionKind, Answers] = {}
        for kind, replies in (("elicitation", answers), ("sampling", sampling)):
            if replies is not None:
                self._answers[kind] = _read_replies(kind, replies)  # type: ignore[index]
        if isinstance(roots, str | Path) or not isinstance(roots, Iterable | None):
            raise TypeError("roots= takes a list of directories: [folder]")
        self._roots = None if roots is None else [_uri(root) for root in roots]

    @property
    def remaining(self) -> list[Any]:
        """The answers that were not asked for."""
        return [answer for answers in self._answers.values() if not callable(answers) for answer in answers]

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks of `mcp.Client`; the client declares a capability for each of them."""
        callbacks: dict[str, Any] = {}
        if "elicitation" in self._answers:
            callbacks["elicitation_callback"] = self._elicit
        if "sampling" in self._answers:
            callbacks["sampling_callback"] = self._sample
        if self._roots is not None:
            callbacks["list_roots_callback"] = self._list_roots
        return callbacks

    def take_failure(self) -> Exception | None:
        """Return the failure, and clear it."""
        failure, self.failure = self.failure, None
        return failure

    async def _elicit(self, context: Any, params: Any) -> Any:
        schema, url = getattr(params, "requested_schema", None), getattr(params, "url", None)
        return await self._answer(
            Question("elicitation", params.message, schema, url, params), _elicitation_result
        )

    async def _sample(self, context: Any, params: Any) -> Any:
        return await self._answer(Question("sampling", _last_text(params), params=params), _sampling_result)

    async def _list_roots(self, context: Any) -> Any:
        from mcp_types import ListRootsResult

        self.questions.append(Question("roots", "roots"))
        return ListRootsResult.model_validate({"roots": [{"uri": uri} for uri in self._roots or ()]})

    async def _answer(self, question: Question, as_result: Callable[[Any, Question], Any]) -> Any:
        self.questions.append(question)
        try:
            return as_result(await self._next(question), question)
        except Exception as error:
            self.failure = self.failure or error
            return _error(f"no answer: {error}")

    async def _next(self, question: Question) -> Any:
        answers = self._answers[question.kind]
        if callable(answers):
            answer = answers(question)
            return await answer if inspect.isawaitable(answer) else answer
        if not answers:
            messages = [earlier.message for earlier in self.questions if earlier.kind == question.kind]
            raise OutOfAnswersError(
                f"the server asked {question.message!r} ({question.kind}), and no answer is left; "
                f"it has asked {len(messages)} in all: {', '.join(map(repr, messages))}"
            )
        return answers.pop(0)  # type: ignore[attr-defined]  # a list, made in the constructor


def _read_replies(kind: str, replies: Any) -> Answers:
    """Return a function that answers as it is, and any others as a list.

    Raises:
        TypeError: it is a single answer or nothing of the kind; the text says to give a list.
    """
    if callable(replies):
        return replies  # type: ignore[no-any-return]
    if isinstance(replies, Answer | Mapping | str | bytes) or not isinstance(replies, Iterable):
        name, example = ("answers", "accept({...})") if kind == "elicitation" else ("sampling", '"reply"')
        raise TypeError(f"{name}= takes a list, such as [{example}], or a function of the question")
    return list(replies)


def _elicitation_result(answer: Any, question: Question) -> ElicitResult | ErrorData:
    from mcp_types import ElicitResult, ErrorData

    if isinstance(answer, ElicitResult | ErrorData):
        return answer
    if isinstance(answer, Mapping):
        answer = accept(answer)
    if not isinstance(answer, Answer):
        raise TypeError(f"{answer!r} answers no question; use accept({{…}}), decline() or cancel()")
    content = None if answer.content is None else _fields(answer.content, question)
    return ElicitResult(action=answer.action, content=content)


def _fields(content: Any, question: Question) -> dict[str, Any]:
    """Return the fields of an accepted form.

    Raises:
        TypeError: it is a value alone, and the form has not exactly one field.
    """
    if isinstance(content, Mapping):
        return dict(content)
    if question.schema is None:
        raise TypeError("accept() of a page takes no value: write accept()")
    names = list(question.schema.get("properties", ()))
    if len(names) == 1:
        return {names[0]: content}
    fields = ", ".join(f'"{name}": ...' for name in names)
    form = f"has {len(names)} fields" if names else "has no field"
    written = f"accept({{{fields}}})" if names else "accept()"
    raise TypeError(f"accept({content!r}) is the value of one field, and the form {form}: write {written}")


def _sampling_result(answer: Any, question: Question) -> CreateMessageResult | ErrorData:
    from mcp_types import CreateMessageResult, ErrorData, TextContent

    if not isinstance(answer, str):
        if not hasattr(answer, "content") and not isinstance(answer, ErrorData):
            raise TypeError(f"{answer!r} is nothing that a model says; use a text or a CreateMessageResult")
        return answer  # type: ignore[no-any-return]  # one of several result types
    content = TextContent(type="text", text=answer)
    return CreateMessageResult(role="assistant", content=content, model="scripted", stop_reason="endTurn")


def _error(message: str) -> ErrorData:
    from mcp_types import ErrorData

    return ErrorData(code=_INTERNAL_ERROR, message=message)


def _last_text(params: Any) -> str:
    content = params.messages[-1].content if params.messages else None
    blocks: list[Any] = content if isinstance(content, list) else [content]
    return " ".join(block.text for block in blocks if hasattr(block, "text"))


def _uri(root: str | Path) -> str:
    return root if isinstance(root, str) and "://" in root else Path(root).resolve().as_uri()
