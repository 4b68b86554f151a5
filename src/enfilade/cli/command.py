"""The command with all its verbs, for the words that typer is needed for: help, mistakes and completion."""

from typing import Annotated

import typer

from enfilade._version import __version__
from enfilade.cli.call import call
from enfilade.cli.check import check
from enfilade.cli.configure import configure
from enfilade.cli.dev import dev
from enfilade.cli.examples import epilog
from enfilade.cli.inspect import inspect
from enfilade.cli.project import docker, new
from enfilade.cli.run import run
from enfilade.cli.run_signature import run_signature

cli = typer.Typer(
    name="enfilade",
    help="Build and run MCP servers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
run.__signature__ = run_signature()  # type: ignore[attr-defined]  # what `inspect` and so typer reads
for verb in (new, run, dev, inspect, call, check, configure, docker):
    cli.command(epilog=epilog(verb.__name__))(verb)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"enfilade {__version__}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass
