"""`enfilade docker`: write the files that put a project into containers, by way of `enfilade.scaffold`.

Easy to get wrong: these files are edited by hand, so none is ever written over unless that was asked for.
"""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from enfilade.cli.errors import CommandError
from enfilade.cli.new import ENFILADE
from enfilade.scaffold import (
    ContainerOptions,
    ScaffoldError,
    container_origin,
    installed_origin,
    named_origin,
    write_containers,
)


def docker(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The project's folder.", show_default="this one")
    ] = Path(),
    valkey: Annotated[
        bool, typer.Option("--valkey", help="Add a Valkey service, as the server's store.")
    ] = False,
    enfilade: Annotated[str, typer.Option("--enfilade", metavar="SPEC", help=ENFILADE, show_default=False)] = "",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a Dockerfile, compose.yaml and .dockerignore for a project."""
    try:
        origin = named_origin(enfilade) if enfilade else container_origin(path, installed_origin(), force=force)
        written = write_containers(path, ContainerOptions(valkey=valkey, origin=origin), force=force)
    except ScaffoldError as error:
        raise CommandError(str(error)) from None
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Wrote {', '.join(map(str, written))}.", markup=False, style="green")
    console.print(f"The image gets Enfilade from {origin.place}.", markup=False)
    console.print("\nNext:\n")
    if path.resolve() != Path.cwd():
        console.print(f"  cd {shlex.quote(str(path))}", markup=False)
    console.print("  docker compose up --build  # serves http://127.0.0.1:8000/mcp", markup=False)
    console.print(
        "\nBefore others call it, set ENFILADE_SECRET and ENFILADE_ALLOWED_HOSTS in .env: "
        "compose.yaml says what they are.",
        markup=False,
    )
