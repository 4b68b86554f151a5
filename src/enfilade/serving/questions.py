"""The questions that handlers ask: forms, pages to visit, the client's model, its roots.

Each checks first whether the client can be asked (R-289, R-303), then asks in the way of the client's era, and
reads the answer back as what was wanted.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw

from enfilade.primitives.form import AnswerError, Form
from enfilade.serving.asking import MissingCapabilityError, ask, is_stateless
from enfilade.serving.exchange import Request
from enfilade.wire.content import TextContent
from enfilade.wire.elicitation import (
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
)
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import NotificationParams
from enfilade.wire.roots import ListRootsRequest, ListRootsResult, Root
from enfilade.wire.sampling import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ModelHint,
    ModelPreferences,
    SamplingMessage,
    SamplingMessageContentBlock,
    ToolChoice,
)
from enfilade.wire.tools import Tool

T = TypeVar("T")

#: Seconds that a user gets to answer, and a model to write.
USER_TIMEOUT: Final = 300.0
MODEL_TIMEOUT: Final = 120.0

Messages = str | SamplingMessage | Sequence[str | SamplingMessage]


@dataclass(frozen=True, slots=True)
class Elicited(Generic[T]):
    """A user's answer.

    Attributes:
        action: `accept`, `decline` (a clear no) or `cancel` (closed without an answer).
        data: on `accept`, the answer as what was asked for; None otherwise.
        content: on `accept`, the answer as the client sent it; None otherwise.
    """

    action: Literal["accept", "decline", "cancel"]
    data: T | None = None
    content: dict[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the user answered."""
        return self.action == "accept"


async def elicit(
    request: Request, message: str, wanted: Any, *, key: str | None, timeout: float | None
) -> Elicited[Any]:
    """Ask the user by a form; see `Context.elicit`."""
    declared = request.peer.capabilities.elicitation
    if declared is UNSET or (declared.form is UNSET and declared.url is not UNSET):
        raise MissingCapabilityError({"elicitation": {"form": {}} if declared else {}})
    form = Form(wanted)
    question = ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=form.schema))
    result = await _answer(request, question, ElicitResult, key, timeout or USER_TIMEOUT)
    if result.action != "accept":
        return Elicited(result.action)
    content = {} if result.content is UNSET else result.content
    try:
        return Elicited("accept", form.read(content), dict(content))
    except AnswerError as error:
        if is_stateless(request):  # a bad answer is a bad request there, as the answers came with it
            raise RpcError(INVALID_PARAMS, f"Invalid params: {error.message}", status=400) from None
        raise


async def elicit_url(
    request: Request, message: str, url: str, *, key: str | None, timeout: float | None
) -> Elicited[None]:
    """Ask the user to visit a page; see `Context.elicit_url`."""
    declared = request.peer.capabilities.elicitation
    if declared is UNSET or declared.url is UNSET:
        raise MissingCapabilityError({"elicitation": {"url": {}}})
    params = ElicitRequestURLParams(
        message=message, url=url, elicitation_id=UNSET if is_stateless(request) else uuid.uuid4().hex
    )
    result = await _answer(request, ElicitRequest(params=params), ElicitResult, key, timeout or USER_TIMEOUT)
    return Elicited(result.action)


async def sample(
    request: Request,
    messages: Messages,
    *,
    max_tokens: int,
    system_prompt: str | None,
    temperature: float | None,
    model_preferences: str | Sequence[str] | ModelPreferences | None,
    include_context: Literal["none", "thisServer", "allServers"] | None,
    stop_sequences: Sequence[str] | None,
    metadata: Mapping[str, Any] | None,
    tools: Sequence[Tool] | None,
    tool_choice: ToolChoice | Literal["auto", "required", "none"] | None,
    key: str | None,
    timeout: float | None,
) -> CreateMessageResult:
    """Ask the client's model; see `Context.sample`."""
    declared = request.peer.capabilities.sampling
    if declared is UNSET:
        raise MissingCapabilityError({"sampling": {}})
    if (tools or tool_choice) and declared.tools is UNSET:
        raise MissingCapabilityError({"sampling": {"tools": {}}})
    if include_context in ("thisServer", "allServers") and declared.context is UNSET:
        raise MissingCapabilityError({"sampling": {"context": {}}})
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
    question = CreateMessageRequest(params=params)
    return await _answer(request, question, CreateMessageResult, key, timeout or MODEL_TIMEOUT)


async def roots(request: Request, *, key: str | None, timeout: float | None) -> list[Root]:
    """Ask for the client's roots; see `Context.roots`."""
    if request.peer.capabilities.roots is UNSET:
        raise MissingCapabilityError({"roots": {}})
    question = ListRootsRequest(params=NotificationParams())
    result = await _answer(request, question, ListRootsResult, key, timeout or MODEL_TIMEOUT)
    return result.roots


R = TypeVar("R", ElicitResult, CreateMessageResult, ListRootsResult)


async def _answer(
    request: Request,
    question: ElicitRequest | CreateMessageRequest | ListRootsRequest,
    kind: type[R],
    key: str | None,
    timeout: float,
) -> R:
    """Ask, and decode the answer.

    Raises:
        AnswerError: the client's answer is not of the kind that was asked for.
    """
    raw: Raw = await ask(request, question, key=key, timeout=timeout)
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise AnswerError(f"The client's answer is not what was asked for: {error}") from None


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value


def _messages(messages: Messages) -> list[SamplingMessage]:
    several = [messages] if isinstance(messages, str | SamplingMessage) else messages
    return [
        SamplingMessage(role="user", content=TextContent(text=each)) if isinstance(each, str) else each
        for each in several
    ]


def _preferences(wanted: str | Sequence[str] | ModelPreferences | None) -> ModelPreferences | None:
    if wanted is None or isinstance(wanted, ModelPreferences):
        return wanted
    names = [wanted] if isinstance(wanted, str) else wanted
    return ModelPreferences(hints=[ModelHint(name=name) for name in names])


def text_of(result: CreateMessageResult) -> str:
    """Return what the model wrote, without blocks that are not text."""
    blocks: Sequence[SamplingMessageContentBlock]
    blocks = result.content if isinstance(result.content, list) else [result.content]
    return "".join(block.text for block in blocks if isinstance(block, TextContent))
