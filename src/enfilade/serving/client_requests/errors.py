"""Why a question to the client has no answer.

All of them are `ToolError`s, so a handler may catch them, and what it lets pass is told to the caller.
"""

from typing import Any

from enfilade.primitives.errors import AnswerError, ToolError
from enfilade.wire.jsonrpc import INVALID_PARAMS, MISSING_CLIENT_CAPABILITY, RpcError


class MissingCapabilityError(ToolError):
    """The client did not declare that it can do what the handler needs, so it is not asked (R-289, R-303).

    Args:
        required: what is missing, in the shape of client capabilities, such as `{"elicitation": {"url": {}}}`.
    """

    def __init__(self, required: dict[str, Any]) -> None:
        self.required = required
        super().__init__(f"This needs a client with the capability {', '.join(_flat(required))}")

    def as_rpc(self) -> RpcError:
        """Return the error of the protocol (R-290)."""
        return RpcError(MISSING_CLIENT_CAPABILITY, self.message, {"requiredCapabilities": self.required})


def _flat(required: dict[str, Any]) -> list[str]:
    return [f"{name}.{part}" if part else name for name, parts in required.items() for part in (parts or [""])]


def protocol_error(error: MissingCapabilityError | AnswerError) -> RpcError:
    """Return the error of a request that itself brings what is at fault (R-290, R-298)."""
    if isinstance(error, MissingCapabilityError):
        return error.as_rpc()
    return RpcError(INVALID_PARAMS, f"Invalid params: {error.message}", status=400)


class ClientRefusedError(ToolError):
    """The client answered a question with an error, such as a user's refusal to sample (R-553)."""


class AskTimeoutError(ToolError):
    """The client did not answer in time."""


class CannotAskError(ToolError):
    """There is no way to ask this client: no session, plain JSON, or a revision without such questions."""
