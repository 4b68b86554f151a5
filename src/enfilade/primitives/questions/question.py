"""Questions to a client as values, and their answers.

`ctx.elicit` and its kin ask one question at once; `InputRequired` returns several, and the client retries the
call with the answers. Whether a client can be asked is decided in `serving`.

Easy to get wrong: an answer does not have its type in it; only the question knows it (`Question.read`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, Protocol, TypeVar, cast, overload

import msgspec
from msgspec import UNSET

from enfilade.primitives.errors import AnswerError, ToolError
from enfilade.primitives.foreign_names import SAMPLE_ATTRIBUTES
from enfilade.primitives.other_frameworks import advice_on_arguments, advice_on_attributes
from enfilade.primitives.uris import check_web_address
from enfilade.startup.lazy import LazyModule
from enfilade.wire.client_requests import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequest,
    ListRootsRequest,
    ListRootsResult,
    ModelHint,
    ModelPreferences,
    Root,
    SamplingMessage,
    ToolChoice,
)
from enfilade.wire.content import TextContent, ToolResultContent, ToolUseContent
from enfilade.wire.message import Message, NotificationParams, decode_without_nulls
from enfilade.wire.tools import Tool

if TYPE_CHECKING:
    from types import UnionType
    from typing import _SpecialForm

    from typing_extensions import TypeForm

    from enfilade.primitives.questions import Choices, form as _form
    from enfilade.primitives.questions.form import Form

    #: `int | None` and `Literal[…]` for type checkers without `TypeForm`; `Any` would let values pass.
    SpecialForm = UnionType | _SpecialForm
else:  # with pydantic, which takes long to load
    _form = LazyModule("enfilade.primitives.questions.form")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A_co = TypeVar("A_co", covariant=True)

Messages = str | SamplingMessage | Sequence[str | SamplingMessage]

# Most characters of a question that errors repeat.
_EXCERPT: Final = 60

#: What the answer to each kind of question is decoded to.
ANSWERS: Final[dict[str, type[Message]]] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}

advice_on_attributes(SAMPLE_ATTRIBUTES)(CreateMessageResult)


class NotAccepted(ToolError):  # noqa: N818 - it is an answer as much as an error
    """The user did not accept, and the handler read the answer nevertheless.

    If the handler does not catch it, the call fails and the model reads that the user declined or cancelled.

    Args:
        action: what the user did instead, `decline` or `cancel`.
    """

    def __init__(self, action: Literal["decline", "cancel"]) -> None:
        self.action = action
        did = "declined" if action == "decline" else "cancelled"
        super().__init__(f"The user {did} what was asked, so this did not go on")


@dataclass(frozen=True, init=False, repr=False)
class Elicited(Generic[T_co]):
    """A user's answer.

    It has no truth value, which could mean `accepted` or the truth value of `data` (R-543).

    Attributes:
        action: `accept`, `decline` (a clear no) or `cancel` (closed without an answer).
        content: on `accept`, the answer as the client sent it; None otherwise.
    """

    action: Literal["accept", "decline", "cancel"]
    _data: T_co | None
    content: dict[str, Any] | None

    def __init__(
        self,
        action: Literal["accept", "decline", "cancel"],
        data: T_co | None = None,
        content: dict[str, Any] | None = None,
    ) -> None:
        for name, value in (("action", action), ("_data", data), ("content", content)):
            object.__setattr__(self, name, value)

    @property
    def accepted(self) -> bool:
        """Whether the user answered."""
        return self.action == "accept"

    @property
    def data(self) -> T_co:
        """The answer as what was asked for.

        Raises:
            NotAccepted: there is none, as the user did not accept.
        """
        if self.action != "accept":
            raise NotAccepted(self.action)
        return cast("T_co", self._data)

    def __bool__(self) -> NoReturn:
        raise TypeError("an answer is neither true nor false: look at its `accepted`, and then at its `data`")

    def __repr__(self) -> str:
        return f"Elicited(action={self.action!r}, data={self._data!r}, content={self.content!r})"


class Question(msgspec.Struct, Generic[A_co], frozen=True):
    """A question that can be asked of a client; made by `elicitation`, `sampling` and `roots`.

    Attributes:
        request: the question as the protocol has it.
    """

    request: InputRequest
    _parse: Callable[[Any], A_co]
    _nullable: frozenset[str] = frozenset()

    @property
    def method(self) -> str:
        """The protocol's method, such as `elicitation/create`."""
        return str(self.request.__struct_config__.tag)

    @property
    def excerpt(self) -> str:
        """The beginning of the question, by which an error identifies it."""
        text = ""
        if isinstance(self.request, ElicitRequest):
            text = self.request.params.message
        elif isinstance(self.request, CreateMessageRequest):
            text = next((getattr(message.content, "text", "") for message in self.request.params.messages), "")
        short = text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"
        return f'{self.method} "{short}"' if short else self.method

    @property
    def form(self) -> bytes | None:
        """The schema of the answer to the form that it shows, with null, as JSON; None if it shows none."""
        if not isinstance(self.request, ElicitRequest) or self.request.params.requested_schema is UNSET:
            return None
        schema = self.request.params.requested_schema
        fields = {
            name: {"anyOf": [field, {"type": "null"}]} if name in self._nullable else field
            for name, field in schema.get("properties", {}).items()
        }
        return msgspec.json.encode({**schema, "properties": fields})

    def read(self, answer: msgspec.Raw | bytes) -> A_co:
        """Return the client's answer as what was asked for.

        Raises:
            AnswerError: it is something else.
        """
        return self._parse(decoded(self.method, answer))


def decoded(method: str, answer: msgspec.Raw | bytes) -> Any:
    """Return the JSON of an answer as the protocol's type for it.

    Raises:
        AnswerError: it is something else.
    """
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ANSWERS[method])
    try:
        try:
            return decoder.decode(answer)
        except msgspec.ValidationError as error:
            return decode_without_nulls(decoder, answer, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(f"The client's answer is not what was asked for: {error}") from None


@overload
def elicitation(message: str, response_type: None = None) -> Question[Elicited[None]]: ...
@overload
def elicitation(message: str, response_type: Choices) -> Question[Elicited[str]]: ...
@overload
def elicitation(message: str, response_type: Mapping[str, Any]) -> Question[Elicited[dict[str, Any]]]: ...
@overload
def elicitation(message: str, response_type: type[T]) -> Question[Elicited[T]]: ...
@overload
def elicitation(message: str, response_type: TypeForm[T]) -> Question[Elicited[T]]: ...
@overload
def elicitation(message: str, response_type: SpecialForm) -> Question[Elicited[Any]]: ...
@advice_on_arguments("question")
def elicitation(message: str, response_type: Any = None) -> Question[Elicited[Any]]:
    """Return the question to the user that shows a form.

    Args:
        message: the question.
        response_type: what to ask for; see `Form`.

    Raises:
        TypeError: it does not fit a form.
    """
    form = _form.form_of(response_type)
    params = ElicitRequestFormParams(message=message, requested_schema=form.schema)
    return Question(ElicitRequest(params=params), lambda answer: elicited(answer, form), form.nullable)


def elicited(answer: ElicitResult, form: Form | None) -> Elicited[Any]:
    """Return a user's answer, read by the form that was asked; without one, `data` is the plain content.

    Raises:
        AnswerError: it does not fit the form.
    """
    if answer.action != "accept":
        return Elicited(answer.action)
    content: dict[str, Any] = {} if answer.content is UNSET else dict(answer.content)
    return Elicited("accept", content if form is None else form.read(content), content)


def url_elicitation(message: str, url: str) -> Question[Elicited[None]]:
    """Return the question to the user that is a page to visit.

    Raises:
        ValueError: it is no web address, or holds credentials (R-544).
    """
    check_web_address(url)
    params = ElicitRequestURLParams(message=message, url=url)
    return Question(ElicitRequest(params=params), lambda answer: Elicited(answer.action))


def sampling(
    messages: Messages,
    *,
    max_tokens: int = 512,
    system_prompt: str | None = None,
    temperature: float | None = None,
    model_preferences: str | Sequence[str] | ModelPreferences | None = None,
    include_context: Literal["none", "thisServer", "allServers"] | None = None,
    stop_sequences: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tools: Sequence[Tool] | None = None,
    tool_choice: ToolChoice | Literal["auto", "required", "none"] | None = None,
) -> Question[CreateMessageResult]:
    """Return the question to the client's model; arguments as for `Context.sample`.

    Raises:
        ValueError: uses of tools and their results do not follow each other (R-551).
    """
    choice = ToolChoice(mode=tool_choice) if isinstance(tool_choice, str) else tool_choice
    params = CreateMessageRequestParams(
        messages=_messages(messages),
        max_tokens=max_tokens,
        system_prompt=_or_unset(system_prompt),
        temperature=_or_unset(temperature),
        model_preferences=_or_unset(_preferences(model_preferences)),
        include_context=_or_unset(include_context),
        stop_sequences=UNSET if stop_sequences is None else list(stop_sequences),
        metadata=UNSET if metadata is None else dict(metadata),
        tools=UNSET if tools is None else list(tools),
        tool_choice=_or_unset(choice),
    )
    return Question(CreateMessageRequest(params=params), lambda answer: answer)


def roots() -> Question[list[Root]]:
    """Return the question for the client's roots, which `ask.check` refuses if it has none (R-554)."""
    return Question(ListRootsRequest(params=NotificationParams()), lambda answer: answer.roots)


class HasContent(Protocol):
    """What has `content`: a block, or a list of blocks, of ours or of the official SDK."""

    @property
    def content(self) -> Any: ...


def text_of(result: HasContent) -> str:
    """Return the text of what a model wrote or a tool returned, without blocks that are not text.

    Args:
        result: what `ctx.sample` or `ctx.tools.call_raw` gave, or what a client of the official SDK got from
            `call_tool`.

    Returns:
        The texts of its blocks: what a model wrote in one piece, what a tool returned one below the other.
    """
    content = result.content
    blocks = content if isinstance(content, list | tuple) else [content]
    texts = [str(block.text) for block in blocks if isinstance(block, TextContent) or _is_text(block)]
    return ("" if hasattr(result, "role") else "\n").join(texts)


def _is_text(block: Any) -> bool:
    """Whether a block of the official SDK is a text."""
    return getattr(block, "type", None) == "text"


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value


def _messages(messages: Messages) -> list[SamplingMessage]:
    several = [messages] if isinstance(messages, str | SamplingMessage) else messages
    turns = [
        SamplingMessage(role="user", content=TextContent(text=message)) if isinstance(message, str) else message
        for message in several
    ]
    _check_turns(turns)
    return turns


def _check_turns(messages: Sequence[SamplingMessage]) -> None:
    """Refuse what a client would: tools used and their results take turns, and results stand alone (R-551)."""
    used: set[str] = set()
    for message in messages:
        blocks = message.content if isinstance(message.content, list) else [message.content]
        results = {block.tool_use_id for block in blocks if isinstance(block, ToolResultContent)}
        if results and len(results) != len(blocks):
            raise ValueError("a message with results of tools holds one for each use, and nothing else")
        if results != used:
            raise ValueError("the next message after a use of tools must hold their results, and only that one")
        used = {block.id for block in blocks if isinstance(block, ToolUseContent)}
    if used:
        raise ValueError("the results of the tools that were used last are missing")


def _preferences(preferences: str | Sequence[str] | ModelPreferences | None) -> ModelPreferences | None:
    if preferences is None or isinstance(preferences, ModelPreferences):
        return preferences
    names = [preferences] if isinstance(preferences, str) else preferences
    return ModelPreferences(hints=[ModelHint(name=name) for name in names])
