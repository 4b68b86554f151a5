"""`enfilade call TARGET TOOL name=value …`: call a tool once, as a client with a person in front of it would."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from enfilade.cli.command import Argument, Command, Option
from enfilade.cli.console import plain, print_json, remarks, results, words
from enfilade.cli.errors import CommandError
from enfilade.cli.options import SERVER, era_option, header_option, timeout_option
from enfilade.cli.progress_bar import Along
from enfilade.cli.questions import Asker, read_line
from enfilade.cli.result import Shown
from enfilade.cli.targets import headers_of, is_file, target_of, with_client
from enfilade.client.arguments import ArgumentError, read_arguments
from enfilade.client.json_values import near
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
    out, err = results(), remarks()
    along = Along(err, tool)
    asker = Asker(err, read_line, sys.stdin.isatty() and err.is_terminal, along.paused)

    async def work(client: Any) -> Item:
        whole = _read(await list_tools(client), tool, arguments, as_json)
        return await _called(client, tool, whole, along, timeout)

    result = with_client(
        target_of([target]),
        work,
        era=era,
        timeout=timeout,
        headers=headers_of(header),
        log_level=log_level,
        logging_callback=along.log,
        answers=asker.ask,
        sampling=_model(err, sample),
        roots=list(root) or None,
    )
    if raw:
        print_json(out, result)
    elif result.get("isError"):
        _print_error(err, result)
    else:
        Shown(out, err, save, tool).show(result)
    if result.get("isError"):
        raise SystemExit(1)


call: Final = Command(
    "call",
    _call,
    params=[
        Argument(["target"], metavar="TARGET", type=click.Path(), help=SERVER.replace(", or after --", "")),
        Argument(["tool"], metavar="TOOL", help="The tool's name."),
        Argument(
            ["arguments"],
            metavar="NAME=VALUE",
            nargs=-1,
            help="Arguments: name=value, name:=json, name=@file for the text of a file.",
        ),
        Option(["as_json", "--json"], metavar="OBJECT", help="All arguments as a JSON object, sent as it is."),
        era_option(),
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
        header_option(),
    ],
    examples=[
        "call server.py add a=1 b=2",
        "call http://127.0.0.1:8000/mcp search query=@question.txt limit:=5",
        """call "npx some-server" echo --json '{"text": "hello"}'""",
    ],
)


def _refuse_bare_command(target: str) -> None:
    """Refuse a command without quotes after `--`: nobody could tell where it ends and the tool's name begins.

    Raises:
        CommandError: it is one.
    """
    words = sys.argv[1:]
    if "--" not in words or words.index("--") > words.index(target) or " " in target:
        return
    if not target.startswith(("http://", "https://")) and not is_file(target):
        raise CommandError('put the command in quotes, as in `enfilade call "python server.py" TOOL NAME=VALUE`')


def _read(tools: list[Item], tool: str, words: Sequence[str], as_json: str | None) -> dict[str, Any]:
    """Return the arguments that were typed, as the tool wants them."""
    described = _find(tools, tool)
    given = _given(as_json)
    try:
        return read_arguments(words, described.get("inputSchema", {}), given)
    except ArgumentError as error:
        raise CommandError(f"{tool}: {error}") from None


async def _called(client: Any, tool: str, arguments: dict[str, Any], along: Along, timeout: float) -> Item:
    """Call the tool; an error of the protocol is a failure of the tool, unless there was no answer at all."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

    try:
        result = await client.call_tool(tool, arguments, progress_callback=along.progress)
        found: Item = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        return found
    except MCPError as error:
        if error.code == REQUEST_TIMEOUT:
            raise CommandError(
                f"{tool} has not answered within {timeout:g} s; --timeout gives it more"
            ) from error
        if error.code == CONNECTION_CLOSED:
            raise CommandError(
                f"the server went away while it ran {tool}; what it has logged may say why"
            ) from error
        raise CommandError(plain(f"{tool} failed: {error} ({error.code})"), status=1) from error
    finally:
        along.end()


def _given(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--json takes a JSON object, and this is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise CommandError(f'--json takes a JSON object, such as \'{{"name": "value"}}\', not {text!r}')
    return found


def _find(tools: list[Item], name: str) -> Item:
    known = [tool["name"] for tool in tools]
    if name not in known:
        hint = near(name, known) or (f"; it has {', '.join(known[:20])}" if known else "; it has none")
        raise CommandError(plain(f"the server has no tool {name!r}{hint}"))
    return tools[known.index(name)]


def _model(err: Console, sample: str | None) -> Callable[[Question], Any]:
    """Return what answers for the client's model, which is not there."""

    def answer(question: Question) -> Any:
        if sample is not None:
            return sample
        from mcp_types import ErrorData

        err.print(words(f"The server asks the model: {question.message}", "yellow"))
        err.print("There is none here: declined; --sample TEXT says what it would answer.")
        return ErrorData(code=-1, message="there is no model here")

    return answer


def _print_error(err: Console, result: Item) -> None:
    texts = [block["text"] for block in result.get("content", ()) if block["type"] == "text"]
    err.print(words("\n".join(texts) or "the tool failed without a word", "red"), soft_wrap=not err.is_terminal)
