"""The tools of the official suite that run as tasks."""

import asyncio

from enfilade import Context, InputRequired, ToolError, elicitation, tool
from enfilade.extensions import RpcError


@tool
def greet(name: str) -> str:
    """Greet somebody; never as a task."""
    return f"Hello, {name}!"


@tool(task="optional")
async def slow_compute(seconds: float, label: str = "slow") -> str:
    """Take some time.

    Args:
        seconds: how long.
        label: what it is called.
    """
    await asyncio.sleep(seconds)
    return f"{label}: computed for {seconds:g} seconds"


@tool(task="required")
async def failing_job() -> str:
    """Fail after a second, as a tool does."""
    await asyncio.sleep(1)
    raise ToolError("This job always fails")


@tool(task="optional")
async def protocol_error_job() -> str:
    """Fail with an error of the protocol."""
    await asyncio.sleep(0.1)
    raise RpcError(-32603, "This job always fails with an error of the protocol")


@tool(task="optional")
async def confirm_delete(filename: str, ctx: Context) -> str:
    """Ask before a file is deleted; nothing is deleted.

    Args:
        filename: the file.
    """
    answer = await ctx.elicit(f"Delete {filename}?", CONFIRM)
    if answer.action == "accept" and answer.data["confirm"]:
        return f"Deleted {filename}"
    return f"Kept {filename}"


@tool(task="optional")
async def multi_input(ctx: Context) -> str:
    """Ask two questions at once."""
    name, sure = await asyncio.gather(ctx.elicit("What is your name?", NAME), ctx.elicit("Sure?", CONFIRM))
    return f"{name.content} {sure.content}"


@tool(task="required")
async def test_tool_with_task(ctx: Context) -> str | InputRequired:
    """Ask before the task begins, and greet in it."""
    answer = ctx.input_responses.get("user_name")
    if answer is None:
        return InputRequired({"user_name": elicitation("What is your name?", NAME)})
    await asyncio.sleep(0.1)
    return f"Hello, {answer.content['name']}, from a task!"


NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CONFIRM = {"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]}
