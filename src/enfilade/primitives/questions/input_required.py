"""`InputRequired`: a handler returns its questions, and finds the answers when it runs again.

For authors who want to see each round. The same handler serves clients of all revisions: in a session the client
is asked while its request waits, and then the handler runs again as well.

Easy to get wrong: between rounds only `state` and the answers of the last round are preserved, because the client
carries them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, overload

from msgspec import Struct, field

from enfilade.primitives.schema.type_aliases import strip
from enfilade.startup.lazy import LazyModule
from enfilade.wire.client_requests import ElicitResult, ListRootsResult

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from enfilade.primitives.questions import Choices, form as _form, question as _question
    from enfilade.primitives.questions.question import Elicited, Question, SpecialForm
else:  # every server that serves loads this file, and few of them ask
    _form = LazyModule("enfilade.primitives.questions.form")
    _question = LazyModule("enfilade.primitives.questions.question")

T = TypeVar("T")


class InputRequired(Struct, frozen=True):
    """Return it from a handler to ask the client and be run again with the answers.

    Attributes:
        questions: by keys of your choice; the answers come back under the same keys.
        state: a JSON value that the next run finds as `ctx.input_state`. The client carries it, but can neither
            read nor change it.
    """

    questions: Mapping[str, Question[Any]] = field(default_factory=dict)
    state: Any = None


class InputResponses(Mapping[str, Any]):
    """The answers to the questions of the previous run, by their keys; empty in the first run.

    An answer to `elicitation` is an `Elicited`, with `data` as the plain content (see `elicited` for more), one
    to `sampling` a `CreateMessageResult`, one to `roots` a list of roots.

    Args:
        answers: the method and the JSON of each answer, by key.
    """

    __slots__ = ("_answers",)

    def __init__(self, answers: Mapping[str, tuple[str, bytes]]) -> None:
        self._answers = answers

    def __getitem__(self, key: str) -> Any:
        method, answer = self._answers[key]
        result = _question.decoded(method, answer)
        if isinstance(result, ElicitResult):
            return _question.elicited(result, None)
        return result.roots if isinstance(result, ListRootsResult) else result

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    def __repr__(self) -> str:
        return f"InputResponses({dict(self)!r})"

    @overload
    def elicited(self, key: str, response_type: None) -> Elicited[None] | None: ...
    @overload
    def elicited(self, key: str, response_type: Choices) -> Elicited[str] | None: ...
    @overload
    def elicited(self, key: str, response_type: Mapping[str, Any]) -> Elicited[dict[str, Any]] | None: ...
    @overload
    def elicited(self, key: str, response_type: type[T]) -> Elicited[T] | None: ...
    @overload
    def elicited(self, key: str, response_type: TypeForm[T]) -> Elicited[T] | None: ...
    @overload
    def elicited(self, key: str, response_type: SpecialForm) -> Elicited[Any] | None: ...
    def elicited(self, key: str, response_type: Any) -> Elicited[Any] | None:
        """Return the user's answer with `data` as that type, or None if there is no answer under that key.

        Raises:
            AnswerError: the answer does not fit the type.
        """
        if key not in self._answers:
            return None
        answer = _question.decoded("elicitation/create", self._answers[key][1])
        return _question.elicited(answer, _form.form_of(response_type))


def without_input_required(returns: Any) -> Any:
    """Return a return annotation without `InputRequired`, which is no result: `str | InputRequired` is `str`."""
    bare = strip(returns)
    if get_origin(bare) not in (Union, UnionType) or InputRequired not in get_args(bare):
        return returns
    others = tuple(member for member in get_args(bare) if member is not InputRequired)
    return Union[others]  # noqa: UP007 - of a tuple that is known at run time only
