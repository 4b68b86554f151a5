"""`enfilade new` and `enfilade docker`: write the files of a project. `enfilade.scaffold` makes them.

Easy to get wrong: asking without a terminal. There, an option that is not given has its default, and a missing
name is an error.
"""

import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from enfilade.cli.errors import CommandError, print_error
from enfilade.scaffold import (
    ContainerOptions,
    Names,
    Origin,
    Plan,
    ScaffoldError,
    check_free,
    container_origin,
    installed_origin,
    make_project,
    named_origin,
    names_of,
    next_steps,
    require_templates,
    write_containers,
)

#: The help of `--enfilade`, here and of `enfilade docker`.
ENFILADE: Final = (
    "Where the project gets Enfilade from: a requirement, a URL, or the path of a folder or a wheel. "
    "By default it is where this one came from."
)


class _Transport(StrEnum):
    http = "http"
    stdio = "stdio"


def new(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help='The server\'s name, such as "Tea shop".', show_default=False),
    ] = None,
    transport: Annotated[
        _Transport | None,
        typer.Option("--transport", "-t", help="What `enfilade run` serves (default http).", show_default=False),
    ] = None,
    full: Annotated[
        bool | None,
        typer.Option(
            "--full/--minimal",
            help="Show everything: resources, prompts, progress, questions, secrets, a lifespan.",
            show_default=False,
        ),
    ] = None,
    docker: Annotated[
        bool | None, typer.Option("--docker/--no-docker", help="Add files for containers.", show_default=False)
    ] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Where to make the project's folder.", show_default="here")
    ] = Path(),
    enfilade: Annotated[str, typer.Option("--enfilade", metavar="SPEC", help=ENFILADE, show_default=False)] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
) -> None:
    """Make a new server: a Python package with tools and tests that works as it is.

    At a terminal it asks for what was not said.
    """
    asks = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    if name is None and not asks:
        raise CommandError('what is the server called? Give a name, as in `enfilade new "Tea shop"`')
    try:
        require_templates()
        names = _ask_name(directory) if name is None else names_of(name)
        check_free(names, directory)
        origin = named_origin(enfilade) if enfilade else installed_origin()
        if asks:
            transport = transport or _ask_transport()
            full = typer.confirm("Show everything there is?", default=False) if full is None else full
            docker = typer.confirm("Add files for containers?", default=False) if docker is None else docker
        chosen = transport or _Transport.http
        plan = Plan(names=names, transport=chosen.value, full=bool(full), docker=bool(docker), origin=origin)
        _tell_building(origin)
        place = make_project(plan, directory)
    except ScaffoldError as error:
        raise CommandError(str(error)) from None
    _tell(plan, place)


def _ask_name(directory: Path) -> Names:
    """Ask until there is a good name."""
    while True:
        try:
            names = names_of(typer.prompt("What is the server called?"))
            check_free(names, directory)
        except ScaffoldError as error:
            print_error(str(error))
        else:
            return names


def _ask_transport() -> _Transport:
    """Ask until it is one that there is."""
    choices = " or ".join(_Transport)
    while True:
        said = typer.prompt(f"What should `enfilade run` serve, {choices}?", default=_Transport.http.value)
        if said in set(_Transport):
            return _Transport(said)
        print_error(f"{said!r} is not one of them")


def _tell_building(origin: Origin) -> None:
    """Say that a wheel is built, as that can take a while."""
    if origin.source is None or origin.source.suffix == ".whl":
        return
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print("Enfilade came from a folder: building a wheel of it.")


def _tell(plan: Plan, place: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Made {plan.names.title} in {place}.", markup=False, style="green")
    console.print(f"It gets Enfilade from {plan.origin.place}.", markup=False)
    console.print("\nNext:\n")
    steps = next_steps(plan, place)
    width = max(len(command) for command, why in steps if why)
    for command, why in steps:
        console.print(f"  {command.ljust(width)}  {why and f'# {why}'}".rstrip(), markup=False)


# -- `enfilade docker`: write the files that put a project into containers, by way of `enfilade.scaffold` ---
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
