"""The command `enfilade` with its verbs, on click: help pages, errors of one line, exit statuses.

Easy to get wrong:
- click's versions. They lay out help pages and errors differently, so both are written here and click only
  parses.
- Importing a verb here. `enfilade run` would then wait for the modules of all verbs.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from enfilade import __version__
from enfilade.loading import LoadError, describe_error
from enfilade.setting_sources import load
from enfilade.settings import SettingsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HelpRow = tuple[str, str]  # a name, and its description

#: Help pages use the width of the terminal, and at most so many columns.
_CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
#: Exit status of a process that Ctrl-C has ended, as shells report it.
_INTERRUPTED: Final = 130


class CommandError(Exception):
    """A command cannot continue. The user reads the text, without a traceback.

    Attributes:
        status: the command's exit status.
    """

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status


class Argument(click.Argument):
    """An argument with a help text, which click has since 8.5."""

    def __init__(self, declarations: Sequence[str], **attributes: Any) -> None:
        text = attributes.pop("help")
        super().__init__(declarations, **attributes)
        self.help: str = text

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the argument as the line of usage shows it."""
        usage = self.human_readable_name + ("..." if self.nargs != 1 else "")
        return [usage if self.required else f"[{usage}]"]


class Option(click.Option):
    """An option in a group of the help page.

    Attributes:
        group: heading of the group.
    """

    def __init__(self, declarations: Sequence[str], *, group: str = "Options", **attributes: Any) -> None:
        super().__init__(declarations, **attributes)
        self.group = group

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list["CompletionItem"]:
        """Return the values that a metavar such as `stdio|http` lists; otherwise click's."""
        if "|" not in (self.metavar or ""):
            return super().shell_complete(ctx, incomplete)
        from click.shell_completion import CompletionItem

        values = (self.metavar or "").split("|")
        return [CompletionItem(value) for value in values if value.startswith(incomplete)]


#: The file of an app.
FILE: Final = Argument(
    ["target"],
    metavar="FILE[:NAME]",
    type=click.Path(),
    required=False,
    help="Python file, and the app's name in it if there are several; or a project's folder (default: this one).",
)


class CliCommand(click.Command):
    """A command whose help page has groups of options, and examples.

    Args:
        name: of the command; None for a program of its own.
        callback: the function that it runs, which gets the parameters by name.
        examples: command lines for the help page, without `enfilade`.
        attributes: of click's command; `help` is the docstring of the callback by default.
    """

    def __init__(
        self, name: str | None, callback: Callable[..., None], *, examples: Sequence[str] = (), **attributes: Any
    ) -> None:
        attributes.setdefault("help", inspect.getdoc(callback))
        super().__init__(name, callback=callback, context_settings=_CONTEXT, **attributes)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments. Each error knows the context, so that it can name the command's help page."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page."""
        _write_head(self, ctx, formatter)
        _write_sections(formatter, _sections(self, ctx))
        if self.examples:
            _write_heading(formatter, "Examples")
            formatter.write("".join(f"  $ enfilade {example}\n" for example in self.examples))


class Group(click.Group):
    """Commands that are imported when they are named, or when the help page lists them.

    Each is in its module under its name, with `_` for `-`.
    """

    def __init__(self, name: str, *, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(
            name, context_settings=_CONTEXT, invoke_without_command=True, callback=_require_command, **attributes
        )
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of the help page."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or None if there is none of that name."""
        if cmd_name not in self._modules:
            return None
        from importlib import import_module

        attribute = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(self._modules[cmd_name]), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names.

        Raises:
            UsageError: there is none of that name; the text has a similar one.
        """
        name = args[0]
        if name in self._modules or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        from difflib import get_close_matches

        near = ["run " + name] if name.endswith(".py") else get_close_matches(name, self._modules, 2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise click.UsageError(f"No such command {name!r}{hint}", ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help page."""
        _write_head(self, ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_paragraph(command.help)) for name, command in commands if command is not None]
        _write_sections(formatter, [*_sections(self, ctx), ("Commands", rows)])


@click.pass_context
def _require_command(ctx: click.Context, /) -> None:
    """Show the help page if no command is named, and exit with status 2."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


def run_command(command: click.Command, name: str | None = None) -> None:
    """Run a command with the arguments of this process; without a name, under that of the script.

    Raises:
        SystemExit: the command has failed, with one line on stderr, or has ended early.
    """
    title = name or Path(sys.argv[0]).name
    try:
        status = command.main(
            prog_name=name, standalone_mode=False, color=False if os.environ.get("NO_COLOR") else None
        )
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise SystemExit(_INTERRUPTED) from None
        print_error(f"{title}: ended without an answer to its question")
        raise SystemExit(1) from None
    except click.ClickException as error:
        print_error(f"{title}: {_sentence(error, title)}")
        raise SystemExit(error.exit_code) from None
    except (CommandError, LoadError, SettingsError) as error:
        print_error(f"{title}: {error}")
        raise SystemExit(getattr(error, "status", 2)) from None
    if isinstance(status, int) and status:
        raise SystemExit(status)


def print_error(text: str) -> None:
    """Print an error on stderr, in red if that is a terminal and `NO_COLOR` is not set."""
    from rich.console import Console  # imported on an error only: `enfilade run` works without it

    console = Console(stderr=True, highlight=False)
    # A terminal would break a long line within a word; a program reads it as a line.
    console.print(text, style="red", markup=False, soft_wrap=not console.is_terminal)


def print_warning(text: str) -> None:
    """Print a warning on stderr, as `print_error` prints errors."""
    print_error(f"enfilade: warning: {text}")


def text_of(error: Exception, log_level: str | None = None) -> str:
    """Return the text of an error for the user; at log level `debug` with all frames of its traceback.

    The level is that of the command line, or else that of the environment.
    """
    try:
        level = load({}, None, {"log_level": log_level}).log_level
    except SettingsError:  # this one is reported when the settings of the app are loaded
        level = "info"
    return describe_error(error, level)


def _sentence(error: click.ClickException, title: str) -> str:
    """Return an error of the command line on one line, with the command that shows what is right."""
    if isinstance(error, click.NoSuchOption):
        similar = " or ".join(error.possibilities or ())
        message = f"No such option: {error.option_name}" + (f"; did you mean {similar}?" if similar else "")
    else:
        message = " ".join(error.format_message().split())
    if not isinstance(error, click.UsageError):
        return message
    command = title if error.ctx is None else error.ctx.command_path
    return f"{message.rstrip('.')}{'' if message.endswith('?') else ';'} see {command} --help"


def _write_head(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    usage = " ".join(command.collect_usage_pieces(ctx))
    formatter.write_usage(ctx.command_path, usage, click.style("Usage:", bold=True) + " ")
    formatter.write_paragraph()
    with formatter.indentation():
        formatter.write_text(command.help or "")


def _sections(command: click.Command, ctx: click.Context) -> Iterator[tuple[str, list[HelpRow]]]:
    """Yield the arguments and each group of options, with a row for each."""
    parameters = command.get_params(ctx)
    arguments = [parameter for parameter in parameters if isinstance(parameter, Argument)]
    options = [parameter for parameter in parameters if isinstance(parameter, click.Option)]
    groups = list(dict.fromkeys(["Options", *map(_group, options)]))
    options.sort(key=lambda option: groups.index(_group(option)))
    yield "Arguments", [(argument.human_readable_name, argument.help or "") for argument in arguments]
    for group, members in groupby(options, _group):
        yield group, [record for option in members if (record := option.get_help_record(ctx)) is not None]


def _group(option: click.Option) -> str:
    return option.group if isinstance(option, Option) else "Options"


def _write_sections(formatter: click.HelpFormatter, sections: Iterable[tuple[str, list[HelpRow]]]) -> None:
    for title, rows in sections:
        if rows:
            _write_heading(formatter, title)
            with formatter.indentation():
                formatter.write_dl([(click.style(name, fg="cyan"), text) for name, text in rows])


def _write_heading(formatter: click.HelpFormatter, title: str) -> None:
    formatter.write_paragraph()
    formatter.write_heading(click.style(title, bold=True))


def _first_paragraph(text: str | None) -> str:
    return (text or "").partition("\n\n")[0]


# -- The verbs ---
#: The module of each verb, which is imported when the verb is named.
_MODULES: Final = {
    "new": "enfilade.cli.project",
    "run": "enfilade.cli.run",
    "dev": "enfilade.cli.run",
    "inspect": "enfilade.cli.inspect",
    "call": "enfilade.cli.call",
    "check": "enfilade.cli.check",
    "auth": "enfilade.cli.auth",
    "tasks": "enfilade.cli.tasks",
    "configure": "enfilade.cli.configure",
    "registry": "enfilade.cli.registry",
    "docker": "enfilade.cli.project",
}
_SHELLS: Final = ("bash", "zsh", "fish")


def _show_version(ctx: click.Context, _: click.Parameter, is_given: bool) -> None:
    if is_given:
        click.echo(f"enfilade {__version__}")
        ctx.exit()


def _show_completion(ctx: click.Context, _: click.Parameter, shell: str | None) -> None:
    """Print the script that makes a shell complete the command."""
    if shell is None or ctx.resilient_parsing:
        return
    from click.shell_completion import get_completion_class

    completion: Any = get_completion_class(shell)
    click.echo(completion(command_line, {}, "enfilade", "_ENFILADE_COMPLETE").source())
    ctx.exit()


command_line: Final = Group(
    "enfilade",
    modules=_MODULES,
    subcommand_metavar="COMMAND [ARGS]...",
    help="Build and run MCP servers.",
    params=[
        click.Option(
            ["--version", "-V"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version.",
        ),
        click.Option(
            ["--show-completion"],
            type=click.Choice(_SHELLS),
            expose_value=False,
            is_eager=True,
            callback=_show_completion,
            metavar="SHELL",
            help="Print the completion script for bash, zsh or fish.",
        ),
    ],
)
