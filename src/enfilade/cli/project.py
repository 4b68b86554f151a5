"""`enfilade new` and `enfilade docker`: write the files of a project. `enfilade.scaffold` makes them.

Easy to get wrong: asking without a terminal. There, an option that is not given has its default, and a missing
name is an error.
"""

import shlex
import sys
from pathlib import Path
from typing import Final, Literal, get_args

import click

from enfilade.cli.command import Argument, CliCommand, CommandError, Option, print_error, print_warning
from enfilade.discovery import find_target, host_warning
from enfilade.scaffold import (
    VENDOR,
    ContainerOptions,
    Names,
    Origin,
    Plan,
    ScaffoldError,
    Service,
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

_Transport = Literal["http", "stdio"]
_TRANSPORTS: Final[tuple[_Transport, ...]] = get_args(_Transport)
_SERVICES: Final[tuple[Service, ...]] = get_args(Service)
_ORIGIN: Final = Option(
    ["--enfilade"],
    default="",
    metavar="SPEC",
    help="Where the project gets Enfilade from: a requirement, a URL, or the path of a folder or a wheel. "
    "By default it is the source of the installed Enfilade.",
)


def _new(
    name: str | None,
    transport: _Transport | None,
    full: bool | None,
    docker: bool | None,
    auth: Service | None,
    directory: Path,
    enfilade: str,
    yes: bool,
) -> None:
    """Make a new server: a Python package with tools and tests that works as it is.

    At a terminal it asks for the name and options that are not given.
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
            full = click.confirm("Include an example of everything?", default=False) if full is None else full
            docker = click.confirm("Add files for containers?", default=False) if docker is None else docker
        plan = Plan(
            names=names,
            transport=transport or "http",
            full=bool(full),
            docker=bool(docker),
            auth=auth,
            origin=origin,
        )
        _announce_build(origin)
        folder = make_project(plan, directory)
    except ScaffoldError as error:
        raise CommandError(str(error)) from None
    _print_next_steps(plan, folder)


new: Final = CliCommand(
    "new",
    _new,
    params=[
        Argument(["name"], metavar="NAME", required=False, help='The server\'s name, such as "Tea shop".'),
        Option(
            ["--transport", "-t"],
            type=click.Choice(_TRANSPORTS),
            metavar="|".join(_TRANSPORTS),
            help="Transport of `enfilade run` in the project (default http).",
        ),
        Option(
            ["--full/--minimal"],
            default=None,
            help="Include an example of everything: resources, prompts, progress, questions, secrets, lifespan.",
        ),
        Option(["--docker/--no-docker"], default=None, help="Add files for containers."),
        Option(
            ["--auth"],
            type=click.Choice(_SERVICES),
            metavar="|".join(_SERVICES),
            help="Add a tool that acts at this service for its caller, with a token of theirs.",
        ),
        Option(
            ["--directory", "-d"],
            type=click.Path(path_type=Path),
            default=Path(),
            help="Make the project's folder in this one (default: the current one).",
        ),
        _ORIGIN,
        Option(["--yes", "-y"], is_flag=True, help="Ask nothing; take the defaults."),
    ],
    examples=['new "Tea shop" --docker', "new notes --transport stdio --full --yes", "new issues --auth github"],
)


def _ask_name(directory: Path) -> Names:
    """Ask until the name is valid and its folder is free."""
    while True:
        try:
            names = names_of(click.prompt("What is the server called?"))
            check_free(names, directory)
        except ScaffoldError as error:
            print_error(str(error))
        else:
            return names


def _ask_transport() -> _Transport:
    """Ask until the answer is a transport."""
    while True:
        question = f"What should `enfilade run` serve, {' or '.join(_TRANSPORTS)}?"
        answer: str = click.prompt(question, default="http")
        if answer in _TRANSPORTS:
            return answer
        print_error(f"{answer!r} is not one of them")


def _announce_build(origin: Origin) -> None:
    """Print that a wheel is built, because that takes seconds."""
    if origin.source is None or origin.source.suffix == ".whl":
        return
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print("Enfilade came from a folder: building a wheel of it.")


def _print_next_steps(plan: Plan, folder: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Made {plan.names.title} in {folder}.", markup=False, style="green")
    console.print(f"It gets Enfilade from {plan.origin.description}.", markup=False)
    console.print("\nNext:\n")
    steps = next_steps(plan, folder)
    width = max(len(command) for command, why in steps if why)
    for command, why in steps:
        console.print(f"  {command.ljust(width)}  {why and f'# {why}'}".rstrip(), markup=False)


def _wheels(folder: Path) -> set[tuple[str, int]]:
    """Return the wheels of Enfilade in a project, with the time when each was written."""
    files = (folder / VENDOR).glob("enfilade-*.whl")
    return {(f"{VENDOR}/{file.name}", file.stat().st_mtime_ns) for file in files}


def _docker(path: Path, valkey: bool, systemd: bool, kubernetes: bool, enfilade: str, force: bool) -> None:
    """Write a Dockerfile, compose.yaml and .dockerignore for a project.

    With --systemd and --kubernetes, units and a manifest as well.
    """
    old_wheels = _wheels(path)
    try:
        origin = named_origin(enfilade) if enfilade else container_origin(path, installed_origin(), force=force)
        options = ContainerOptions(valkey=valkey, systemd=systemd, kubernetes=kubernetes, origin=origin)
        written = write_containers(path, options, force=force)
    except ScaffoldError as error:
        raise CommandError(str(error)) from None
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    wheels = sorted(_wheels(path) - old_wheels)
    console.print(
        f"Wrote {', '.join(map(str, [*written, *(wheel for wheel, _ in wheels)]))}.", markup=False, style="green"
    )
    console.print(f"The image gets Enfilade from {origin.description}.", markup=False)
    console.print("\nNext:\n")
    if path.resolve() != Path.cwd():
        console.print(f"  cd {shlex.quote(str(path))}", markup=False)
    console.print("  docker compose up --build  # serves http://127.0.0.1:8000/mcp", markup=False)
    console.print(
        "\nBefore others call it, set ENFILADE_SECRET and ENFILADE_ALLOWED_HOSTS in .env: "
        "compose.yaml says what they are.",
        markup=False,
    )
    if systemd or kubernetes:
        console.print("The new units and manifests say at their beginning how they are installed.", markup=False)
    if warning := host_warning(find_target(str(path))):
        print_warning(f"{warning}, also in the last line of the Dockerfile")


docker: Final = CliCommand(
    "docker",
    _docker,
    params=[
        Argument(
            ["path"],
            metavar="PATH",
            type=click.Path(path_type=Path),
            default=Path(),
            help="The project's folder (default: this one).",
        ),
        Option(["--valkey"], is_flag=True, help="Add a Valkey service, as the server's store."),
        Option(["--systemd"], is_flag=True, help="Add a service and a socket of systemd."),
        Option(["--kubernetes"], is_flag=True, help="Add a manifest for Kubernetes."),
        _ORIGIN,
        Option(["--force"], is_flag=True, help="Overwrite existing files."),
    ],
    examples=["docker", "docker tea-shop --valkey", "docker --systemd --kubernetes"],
)
