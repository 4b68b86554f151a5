"""The errors of questions to the client.

All of them are `ToolError`s: a handler may catch them, and the client reads the message of one that it does not.
"""

from typing import Any

from enfilade.primitives.errors import AnswerError, ToolError
from enfilade.wire.jsonrpc import INVALID_PARAMS, MISSING_CLIENT_CAPABILITY, RpcError


class MissingCapabilityError(ToolError):
    """The client did not declare a capability that the handler needs, so it is not asked (R-289, R-303).

    Args:
        required: the missing capability, in the shape of client capabilities: `{"elicitation": {"url": {}}}`.
    """

    def __init__(self, required: dict[str, Any]) -> None:
        self.required = required
        super().__init__(f"This needs a client with the capability {', '.join(_flat(required))}")

    def as_rpc(self) -> RpcError:
        """Return the error of the protocol (R-290)."""
        return RpcError(MISSING_CLIENT_CAPABILITY, self.message, {"requiredCapabilities": self.required})


def _flat(required: dict[str, Any]) -> list[str]:
    return [
        f"{name}.{feature}" if feature else name
        for name, features in required.items()
        for feature in (features or [""])
    ]


def protocol_error(error: MissingCapabilityError | AnswerError) -> RpcError:
    """Return the error of a request that itself carries the fault (R-290, R-298)."""
    if isinstance(error, MissingCapabilityError):
        return error.as_rpc()
    return RpcError(INVALID_PARAMS, f"Invalid params: {error.message}", status=400)


class ClientRefusedError(ToolError):
    """The client answered a question with an error, such as a user's refusal to sample (R-553)."""


class AskTimeoutError(ToolError):
    """The client did not answer in time."""


class CannotAskError(ToolError):
    """There is no way to ask this client: no session, plain JSON, or a revision without such questions."""
