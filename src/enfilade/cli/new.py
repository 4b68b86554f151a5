"""`enfilade new`: make a project that works as it is. The making itself is `enfilade.scaffold`.

Easy to get wrong: to ask where nobody can answer. Questions are asked at a terminal only; anywhere else, what was
not said has a default, and a name that is missing is an error.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from enfilade.cli.errors import CommandError, complain
from enfilade.scaffold import (
    Names,
    Origin,
    Plan,
    ScaffoldError,
    check_free,
    installed_origin,
    make_project,
    named_origin,
    names_of,
    next_steps,
    require_templates,
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
            complain(str(error))
        else:
            return names


def _ask_transport() -> _Transport:
    """Ask until it is one that there is."""
    choices = " or ".join(_Transport)
    while True:
        said = typer.prompt(f"What should `enfilade run` serve, {choices}?", default=_Transport.http.value)
        if said in set(_Transport):
            return _Transport(said)
        complain(f"{said!r} is not one of them")


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
