"""The command `enfilade` with its verbs. A verb's module is imported when the verb is named.

Easy to get wrong: importing a verb here. `enfilade run` would then wait for the modules of all verbs.
"""

from typing import Any, Final

import click

from enfilade._version import __version__
from enfilade.cli.command import Group

_MODULES: Final = {
    "new": "enfilade.cli.project",
    "run": "enfilade.cli.run",
    "dev": "enfilade.cli.dev",
    "inspect": "enfilade.cli.inspect",
    "call": "enfilade.cli.call",
    "check": "enfilade.cli.check",
    "configure": "enfilade.cli.configure",
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
