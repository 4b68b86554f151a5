"""`enfilade call TARGET TOOL name=value …`: call a tool once, and ask its questions at the terminal."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from enfilade.cli.command import Argument, CliCommand, CommandError, Option
from enfilade.cli.login import LOGIN_OPTIONS, LoginChoice
from enfilade.cli.output import ResultPrinter, print_json, printable, rich_text, stderr_console, stdout_console
from enfilade.cli.questions import QuestionPrompt, read_line
from enfilade.cli.targets import ERA, HEADER, SERVER, headers_of, is_file, target_of, timeout_option, with_client
from enfilade.client.json_values import ArgumentError, read_arguments, suggestion
from enfilade.client.scripted_answers import Question
from enfilade.client.surface import Item, list_tools

#: Colours of log messages by level.
_LOG_COLOURS: Final = {
    "debug": "dim",
    "info": "cyan",
    "notice": "blue",
    "warning": "yellow",
    "error": "red",
    **dict.fromkeys(("critical", "alert", "emergency"), "bold red"),
}

#: The code of the error with which a client declines a sampling request.
_DECLINED: Final = -1


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
    **login: Any,
) -> None:
    """Call a tool, with a form at the terminal if it asks, and show what it returns.

    The exit status is 0; 1 if the tool failed; 2 if it could not be called.
    """
    _refuse_bare_command(target, tool, arguments)
    out, err = stdout_console(), stderr_console()
    bar = ProgressBar(err, tool)
    prompt = QuestionPrompt(err, read_line, sys.stdin.isatty() and err.is_terminal, bar.paused)

    async def call_once(client: Any) -> Item:
        values = _read_arguments(await list_tools(client), tool, arguments, as_json)
        return await _call_tool(client, tool, values, bar, timeout)

    result = with_client(
        target_of([target]),
        call_once,
        login=LoginChoice(**login),
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


class CallCommand(CliCommand):
    """The command, which explains how arguments of a tool are written to who writes them as options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            UsageError: they are wrong; an option that is similar to none of the command's may be an argument.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if given and _is_program(given[0]):
                text = "put a command with options in quotes, as in 'python server.py --reload'"
                raise click.UsageError(text, ctx) from None
            name = error.option_name.lstrip("-")
            options = [option.lstrip("-") for parameter in self.params for option in parameter.opts]
            if not name or get_close_matches(name, options, 1, cutoff=0.75):
                raise
            written = f"{name}={_value_after(error.option_name, given)}"
            raise click.UsageError(
                f"No such option: {error.option_name}; an argument of the tool is written {written}", ctx
            ) from None


def _value_after(option: str, arguments: Sequence[str]) -> str:
    """Return the value of an option in a command line, `VALUE` if there is none."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name == option:
            value = value if equals else following
            return shlex.quote(value) if value and not value.startswith("-") else "VALUE"
    return "VALUE"


call: Final = CallCommand(
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
        *LOGIN_OPTIONS,
    ],
    examples=[
        "call server.py add a=1 b=2",
        "call http://127.0.0.1:8000/mcp search query=@question.txt limit:=5",
        """call "npx some-server" echo --json '{"text": "hello"}'""",
    ],
)


def _refuse_bare_command(target: str, tool: str, arguments: Sequence[str]) -> None:
    """Refuse a command without quotes: it has no end that tells it from the tool's name.

    Raises:
        CommandError: the target is such a command.
    """
    words = [word for word in (tool, *arguments) if "=" not in word and not word.startswith("{")]
    if len(words) > 1 and _is_program(target):
        command = shlex.quote(shlex.join([target, *words[:-1]]))
        raise CommandError(f"put the command in quotes, as in `enfilade call {command} {words[-1]} NAME=VALUE`")
    argv = sys.argv[1:]
    if "--" not in argv or argv.index("--") > argv.index(target) or " " in target:
        return
    if not target.startswith(("http://", "https://")) and not is_file(target):
        raise CommandError('put the command in quotes, as in `enfilade call "python server.py" TOOL NAME=VALUE`')


def _is_program(target: str) -> bool:
    """Whether a target is a program to start, by its path or by its name alone."""
    return " " not in target and not target.endswith(".py") and shutil.which(target) is not None


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
    """Call the tool. A JSON-RPC error is a failure of the tool; a missing response and a refusal are none."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

    try:
        result = await client.call_tool(tool, arguments, progress_callback=bar.progress)
        dumped: Item = result.model_dump(by_alias=True, exclude_none=True, mode="json")
        return dumped
    except MCPError as error:
        if client.refused.is_of_credentials:
            raise  # the tool was not called
        if error.code == REQUEST_TIMEOUT:
            raise CommandError(
                f"{tool} has not answered within {timeout:g} s; --timeout SECONDS gives it more"
            ) from error
        if error.code == CONNECTION_CLOSED:
            raise CommandError(
                f"the server closed the connection while it ran {tool}; its log may say why"
            ) from error
        code = "" if error.code == _DECLINED else f" ({error.code})"
        raise CommandError(printable(f"{tool} failed: {error}{code}"), status=1) from error
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
        return ErrorData(code=_DECLINED, message="there is no model here")

    return answer


def _print_error(err: Console, result: Item) -> None:
    texts = [block["text"] for block in result.get("content", ()) if block["type"] == "text"]
    err.print(
        rich_text("\n".join(texts) or "the tool failed without a message", "red"), soft_wrap=not err.is_terminal
    )


class ProgressBar:
    """Shows progress and log messages on stderr: at a terminal a bar, elsewhere a line for each report."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = printable(title)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    async def log(self, params: Any) -> None:
        """Print a log message; `logging_callback` of the client."""
        logger = f"{params.logger}: " if params.logger else ""
        style = _LOG_COLOURS.get(params.level, "")
        self._console.print(rich_text(f"{params.level:<8} {logger}{params.data}", style))

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Show a progress notification; `progress_callback` of a call."""
        if not self._console.is_terminal:
            self._console.print(rich_text(f"{_fraction(progress, total)} {message or ''}".rstrip()))
            return
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[fraction]}", markup=False),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=total, fraction="")
            self._bar.start()
        description = printable(message or self._title).replace("\n", " ")
        fraction = _fraction(progress, total)
        self._bar.update(self._task, completed=progress, total=total, description=description, fraction=fraction)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the bar while a question is on the screen; its clock stands still."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        hidden_since = self._bar.get_time()
        try:
            yield
        finally:
            for task in self._bar.tasks:
                task.start_time = (task.start_time or 0.0) + self._bar.get_time() - hidden_since
            self._bar.start()

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _fraction(progress: float, total: float | None) -> str:
    return f"{progress:g}" if total is None else f"{progress:g}/{total:g}"
