"""The exceptions of Enfilade in one place: those to raise, and those to catch.

- Handlers raise `EnfiladeError`, `ToolError`, `ResourceError`, `ResourceNotFound` and `PromptError`, whose text
  the caller reads, or `RpcError` for an error of the protocol.
- Calls that cannot be carried out end with `ArgumentsError`, `NotAnObjectError`, `ReturnedValueError`,
  `MissingSecretError`, `ToolTimeoutError` or `LimitError`. The client gets their text: of tools as a result, of
  prompts and resources as an error of the protocol. Middleware gets that result or an `RpcError`, and
  `ctx.tools.call` raises a `ToolError`.
- Questions to the client raise at a handler: `AnswerError`, `NotAccepted`, `AskTimeoutError`, `CannotAskError`,
  `ClientRefusedError`, `MissingCapabilityError`.
- A tool that acts for its caller raises `AuthError` where there is no token for the caller, and
  `RejectedTokenError` for one that the service refuses (`ctx.auth.rejected()`). What an HTTP library raises
  becomes an `UpstreamError`, with `status`, `can_retry` and `retry_after`.
- A durable task raises `InterruptedTaskError` at its handler if a side effect was cut off in its middle.
- Values that are kept for a caller (`ctx.state`) raise `StateError` where there is no caller to keep them for, or
  too much of it.
- An app that is loaded or started raises `LoadError`, `SettingsError`, `StoreError` and `ListenError`.
- The client for tests (`enfilade.testing`) raises `ConnectError`, `ArgumentError`, `OutOfAnswersError` and
  `EndlessListError`.

Those of the first six groups, except `RpcError`, are `EnfiladeError`s. Each is imported from its own module
when it is first read.
"""

from typing import TYPE_CHECKING, Any

from enfilade import _lazy_exports, _lazy_value

if TYPE_CHECKING:
    from enfilade.auth.tool_auth.upstream_errors import UpstreamError as UpstreamError
    from enfilade.client.connect import ConnectError as ConnectError
    from enfilade.client.json_values import ArgumentError as ArgumentError
    from enfilade.client.scripted_answers import OutOfAnswersError as OutOfAnswersError
    from enfilade.client.surface import EndlessListError as EndlessListError
    from enfilade.loading import LoadError as LoadError
    from enfilade.primitives.errors import (
        AnswerError as AnswerError,
        ArgumentsError as ArgumentsError,
        EnfiladeError as EnfiladeError,
        NotAnObjectError as NotAnObjectError,
        PromptError as PromptError,
        ResourceError as ResourceError,
        ResourceNotFound as ResourceNotFound,
        ReturnedValueError as ReturnedValueError,
        ToolError as ToolError,
    )
    from enfilade.primitives.questions.question import NotAccepted as NotAccepted
    from enfilade.serving.callers.state_values import StateError as StateError
    from enfilade.serving.callers.tool_auth import (
        AuthError as AuthError,
        RejectedTokenError as RejectedTokenError,
    )
    from enfilade.serving.channel import (
        AskTimeoutError as AskTimeoutError,
        CannotAskError as CannotAskError,
        ClientRefusedError as ClientRefusedError,
        InterruptedTaskError as InterruptedTaskError,
        MissingCapabilityError as MissingCapabilityError,
    )
    from enfilade.serving.execution import ToolTimeoutError as ToolTimeoutError
    from enfilade.serving.limits.admission import LimitError as LimitError
    from enfilade.serving.secrets import MissingSecretError as MissingSecretError
    from enfilade.settings import SettingsError as SettingsError
    from enfilade.state.store import StoreError as StoreError
    from enfilade.transports.processes.listeners import ListenError as ListenError
    from enfilade.wire.jsonrpc import RpcError as RpcError

#: The exceptions, by the module that has them. Type checkers read the imports above; a test compares the two.
_LAZY_EXPORTS = _lazy_exports(
    {
        "enfilade.auth.tool_auth.upstream_errors": "UpstreamError",
        "enfilade.client.json_values": "ArgumentError",
        "enfilade.client.connect": "ConnectError",
        "enfilade.client.scripted_answers": "OutOfAnswersError",
        "enfilade.client.surface": "EndlessListError",
        "enfilade.loading": "LoadError",
        "enfilade.primitives.errors": (
            "AnswerError ArgumentsError EnfiladeError NotAnObjectError PromptError ResourceError "
            "ResourceNotFound ReturnedValueError ToolError"
        ),
        "enfilade.primitives.questions.question": "NotAccepted",
        "enfilade.serving.callers.state_values": "StateError",
        "enfilade.serving.callers.tool_auth": "AuthError RejectedTokenError",
        "enfilade.serving.channel": (
            "AskTimeoutError CannotAskError ClientRefusedError InterruptedTaskError MissingCapabilityError"
        ),
        "enfilade.serving.execution": "ToolTimeoutError",
        "enfilade.serving.limits.admission": "LimitError",
        "enfilade.serving.secrets": "MissingSecretError",
        "enfilade.settings": "SettingsError",
        "enfilade.state.store": "StoreError",
        "enfilade.transports.processes.listeners": "ListenError",
        "enfilade.wire.jsonrpc": "RpcError",
    }
)

if not TYPE_CHECKING:  # type checkers would take every name for one that there is
    __all__ = list(_LAZY_EXPORTS)

    def __getattr__(name: str) -> Any:
        return _lazy_value(name, _LAZY_EXPORTS, globals())


def __dir__() -> list[str]:
    return list(_LAZY_EXPORTS)
