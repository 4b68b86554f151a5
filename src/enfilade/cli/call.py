"""`enfilade call TARGET TOOL name=value …`: call a tool once, as a client with a person in front of it would."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from enfilade.cli.console import plain, print_json, remarks, results, words
from enfilade.cli.errors import CommandError
from enfilade.cli.progress_bar import Along
from enfilade.cli.questions import Asker, read_line
from enfilade.cli.result import Shown
from enfilade.cli.targets import HELP_OF_TARGET, headers_of, is_file, target_of, with_client
from enfilade.client.arguments import ArgumentError, read_arguments
from enfilade.client.json_values import near
from enfilade.client.scripted_answers import Question
from enfilade.client.surface import Item, list_tools


def call(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=HELP_OF_TARGET.replace(", or after --", ""))],
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE", help="Arguments: name=value, name:=json, name=@file for the text of a file."
        ),
    ] = None,
    as_json: Annotated[
        str | None,
        typer.Option("--json", help="All arguments as a JSON object, sent as it is.", metavar="OBJECT"),
    ] = None,
    era: Annotated[str, typer.Option(help="Which era to speak.", metavar="auto|stateless|session")] = "auto",
    timeout: Annotated[float, typer.Option(help="Seconds that each answer may take.")] = 300.0,
    raw: Annotated[bool, typer.Option("--raw", help="Print the whole result as JSON.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Keep images, sounds and other data here.", metavar="DIR")
    ] = None,
    sample: Annotated[
        str | None, typer.Option(help="What the model says if the server asks it.", metavar="TEXT")
    ] = None,
    root: Annotated[
        list[str] | None, typer.Option(help="A directory that is open to the server.", metavar="DIR")
    ] = None,
    log_level: Annotated[str, typer.Option(help="The least level of log lines to show.")] = "info",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value', sent with each HTTP request.")
    ] = None,
) -> None:
    """Call a tool, with a form at the terminal if it asks, and show what it returns.

    The exit status is 0; 1 if the tool failed; 2 if it could not be called.
    """
    _refuse_bare_command(target)
    out, err = results(), remarks()
    along = Along(err, tool)
    asker = Asker(err, read_line, sys.stdin.isatty() and err.is_terminal, along.paused)

    async def work(client: Any) -> Item:
        whole = _read(await list_tools(client), tool, arguments or (), as_json)
        return await _called(client, tool, whole, along, timeout)

    result = with_client(
        target_of([target]),
        work,
        era=era,
        timeout=timeout,
        headers=headers_of(header or ()),
        log_level=log_level,
        logging_callback=along.log,
        answers=asker.ask,
        sampling=_model(err, sample),
        roots=root,
    )
    if raw:
        print_json(out, result)
    elif result.get("isError"):
        _print_error(err, result)
    else:
        Shown(out, err, save, tool).show(result)
    if result.get("isError"):
        raise SystemExit(1)


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
