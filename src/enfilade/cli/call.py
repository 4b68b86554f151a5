"""`enfilade call TARGET TOOL name=value …`: call a tool once, and ask its questions at the terminal."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from enfilade.cli.command import Argument, Command, CommandError, Option
from enfilade.cli.console import print_json, printable, rich_text, stderr_console, stdout_console
from enfilade.cli.options import ERA, HEADER, SERVER, timeout_option
from enfilade.cli.progress_bar import ProgressBar
from enfilade.cli.questions import QuestionPrompt, read_line
from enfilade.cli.result import ResultPrinter
from enfilade.cli.targets import headers_of, is_file, target_of, with_client
from enfilade.client.arguments import ArgumentError, read_arguments
from enfilade.client.json_values import suggestion
from enfilade.client.scripted_answers import Question
from enfilade.client.surface import Item, list_tools


def _call(
    target: str,
    tool: str,
    arguments: Sequence[str],
    as_json: str | None,
    era: str,
    timeout: float,
    raw: bool,
    save: Path | None,
    sample: str | None,
    root: Sequence[str],
    log_level: str,
    header: Sequence[str],
) -> None:
    """Call a tool, with a form at the terminal if it asks, and show what it returns.

    The exit status is 0; 1 if the tool failed; 2 if it could not be called.
    """
    _refuse_bare_command(target)
    out, err = stdout_console(), stderr_console()
    bar = ProgressBar(err, tool)
    prompt = QuestionPrompt(err, read_line, sys.stdin.isatty() and err.is_terminal, bar.paused)

    async def call_once(client: Any) -> Item:
        values = _read_arguments(await list_tools(client), tool, arguments, as_json)
        return await _call_tool(client, tool, values, bar, timeout)

    result = with_client(
        target_of([target]),
        call_once,
        era=era,
        timeout=timeout,
        headers=headers_of(header),
        log_level=log_level,
        logging_callback=bar.log,
        answers=prompt.ask,
        sampling=_sampling_answer(err, sample),
        roots=list(root) or None,
    )
    if raw:
        print_json(out, result)
    elif result.get("isError"):
        _print_error(err, result)
    else:
        ResultPrinter(out, save, tool).show(result)
    if result.get("isError"):
        raise SystemExit(1)


call: Final = Command(
    "call",
    _call,
    params=[
        Argument(["target"], metavar="TARGET", type=click.Path(), help=SERVER.help.replace(", or after --", "")),
        Argument(["tool"], metavar="TOOL", help="The tool's name."),
        Argument(
            ["arguments"],
            metavar="NAME=VALUE",
            nargs=-1,
            help="Arguments: name=value, name:=json, name=@file for the text of a file.",
        ),
        Option(["as_json", "--json"], metavar="OBJECT", help="All arguments as a JSON object, sent as it is."),
        ERA,
        timeout_option(300.0),
        Option(["--raw"], is_flag=True, help="Print the whole result as JSON."),
        Option(
            ["--save"],
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Write images, audio and other data to files in this folder.",
        ),
        Option(["--sample"], metavar="TEXT", help="Answer sampling requests of the server with this text."),
        Option(
            ["--root"],
            multiple=True,
            type=click.Path(),
            metavar="DIR",
            help="Offer this folder to the server as a root. May be repeated.",
        ),
        Option(
            ["--log-level"],
            default="info",
            show_default=True,
            help="Show the server's log messages from this level on.",
        ),
        HEADER,
    ],
    examples=[
        "call server.py add a=1 b=2",
        "call http://127.0.0.1:8000/mcp search query=@question.txt limit:=5",
        """call "npx some-server" echo --json '{"text": "hello"}'""",
    ],
)


def _refuse_bare_command(target: str) -> None:
    """Refuse a command without quotes after `--`: it has no end that tells it from the tool's name.

    Raises:
        CommandError: the target is such a command.
    """
    argv = sys.argv[1:]
    if "--" not in argv or argv.index("--") > argv.index(target) or " " in target:
        return
    if not target.startswith(("http://", "https://")) and not is_file(target):
        raise CommandError('put the command in quotes, as in `enfilade call "python server.py" TOOL NAME=VALUE`')


def _read_arguments(
    tools: list[Item], tool: str, assignments: Sequence[str], as_json: str | None
) -> dict[str, Any]:
    """Return the arguments of the command line, with the types that the tool's schema has."""
    schema = _find_tool(tools, tool).get("inputSchema", {})
    values = _read_object(as_json)
    try:
        return read_arguments(assignments, schema, values)
    except ArgumentError as error:
        raise CommandError(f"{tool}: {error}") from None


async def _call_tool(client: Any, tool: str, arguments: dict[str, Any], bar: ProgressBar, timeout: float) -> Item:
    """Call the tool. A JSON-RPC error counts as a failure of the tool, a missing response does not."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

    try:
        result = await client.call_tool(tool, arguments, progress_callback=bar.progress)
        dumped: Item = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        return dumped
    except MCPError as error:
        if error.code == REQUEST_TIMEOUT:
            raise CommandError(
                f"{tool} has not answered within {timeout:g} s; --timeout SECONDS gives it more"
            ) from error
        if error.code == CONNECTION_CLOSED:
            raise CommandError(
                f"the server closed the connection while it ran {tool}; its log may say why"
            ) from error
        raise CommandError(printable(f"{tool} failed: {error} ({error.code})"), status=1) from error
    finally:
        bar.end()


def _read_object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--json takes a JSON object, and this is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CommandError(f'--json takes a JSON object, such as \'{{"name": "value"}}\', not {text!r}')
    return value


def _find_tool(tools: list[Item], name: str) -> Item:
    names = [tool["name"] for tool in tools]
    if name not in names:
        hint = suggestion(name, names) or (f"; it has {', '.join(names[:20])}" if names else "; it has none")
        raise CommandError(printable(f"the server has no tool {name!r}{hint}"))
    return tools[names.index(name)]


def _sampling_answer(err: Console, sample: str | None) -> Callable[[Question], Any]:
    """Return the function that answers sampling requests, as this client has no model."""

    def answer(question: Question) -> Any:
        if sample is not None:
            return sample
        from mcp_types import ErrorData

        err.print(rich_text(f"The server asks the model: {question.message}", "yellow"))
        err.print("There is no model here: declined. --sample TEXT answers in its place.")
        return ErrorData(code=-1, message="there is no model here")

    return answer


def _print_error(err: Console, result: Item) -> None:
    texts = [block["text"] for block in result.get("content", ()) if block["type"] == "text"]
    err.print(
        rich_text("\n".join(texts) or "the tool failed without a message", "red"), soft_wrap=not err.is_terminal
    )
