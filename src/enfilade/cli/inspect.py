"""`enfilade inspect TARGET`: what a server tells its clients of itself."""

from typing import Annotated

import msgspec
import typer

from enfilade.cli.console import print_json, tables
from enfilade.cli.surface_tables import print_surface
from enfilade.cli.targets import HELP_OF_TARGET, headers_of, target_of, with_client
from enfilade.client.surface import read_surface


def inspect(
    target: Annotated[list[str] | None, typer.Argument(metavar="TARGET", help=HELP_OF_TARGET)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, under the protocol's names.")] = False,
    era: Annotated[str, typer.Option(help="Which era to speak.", metavar="auto|stateless|session")] = "auto",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value', sent with each HTTP request.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that each answer may take.")] = 30.0,
) -> None:
    """Show what a server offers: tools with their arguments, resources, prompts, instructions."""
    console = tables()
    found = target_of(target or ())
    surface = with_client(
        found, read_surface, era=era, headers=headers_of(header or ()), timeout=timeout, log_level=None
    )
    if as_json:
        print_json(console, msgspec.to_builtins(surface))
    else:
        print_surface(console, surface)
