"""What a Python client answers to the server's questions, by the script; for both official clients."""

from typing import Any

from mcp import types
from recorder import Recorder


def callbacks(answers: dict[str, Any] | None, recorder: Recorder) -> dict[str, Any]:
    """Return the client's callbacks; one whose script has no answers declares that it cannot be asked."""
    if answers is None:
        return {}

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        return types.ElicitResult.model_validate(recorder.answer(answers, "elicit", params.message))

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        words = params.messages[0].content.text
        return types.CreateMessageResult.model_validate(recorder.answer(answers, "sample", words))

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult.model_validate(recorder.answer(answers, "roots", "roots"))

    return {"elicitation_callback": elicit, "sampling_callback": sample, "list_roots_callback": roots}
