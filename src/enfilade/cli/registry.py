"""`enfilade registry`: write `server.json`, by which a registry of MCP servers lists a server, or check it."""

import contextlib
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from enfilade.cli.command import FILE, CliCommand, CommandError, Option, print_error, text_of
from enfilade.cli.output import printable
from enfilade.discovery import find_target, load_app, read_pyproject
from enfilade.loading import LoadError
from enfilade.primitives.tool import Tool
from enfilade.publishing.facts import facts_of
from enfilade.publishing.findings import Findings
from enfilade.publishing.project import Project, read_project
from enfilade.publishing.server_json import NONE, PACKAGES, Wishes, publish_commands, server_json
from enfilade.publishing.stored import Stored, read_stored
from enfilade.settings import SettingsError

_FILE: Final = "server.json"
_STDOUT: Final = "-"


def _registry(
    target: str | None,
    name: str,
    package: Sequence[str],
    image: str,
    remote: str,
    out: str,
    check: bool,
) -> None:
    """Write server.json for the MCP Registry, from what the app and its pyproject.toml say.

    What the file has beside that is kept: descriptions, arguments, other
    packages. Nothing is published, and nothing is asked of other servers. The
    exit status is 0 if the file was written, and 1 if something is missing
    without which it would not be valid; with --check, also if the file is stale
    or a registry would refuse it.
    """
    wishes = Wishes(name=name, packages=tuple(dict.fromkeys(package)), image=image, remote=remote)
    if check and out == _STDOUT:
        raise CommandError("--check compares a file, and --out - is none")
    if image and not wishes.packages:
        raise CommandError("--image is for an image: add --package oci, and --package pypi for a package as well")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            app = load_app(target)
            folder = _project_folder(find_target(target).folder)
            file = folder / _FILE if not out else Path(out)
            pyproject = folder / "pyproject.toml"
            project = read_project(folder, read_pyproject(pyproject) if pyproject.is_file() else {})
            stored = _stored(folder / _FILE if out == _STDOUT else file)
            secrets = _secrets(app.tools) if app.reads_secrets_from_environment else []
            content, findings = server_json(facts_of(app), project, secrets, stored, wishes)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error)) from None
    if check:
        _report_check(file, stored, content, findings)
        return
    if findings.missing:
        _print_missing(findings.missing)
        raise SystemExit(1)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    if out == _STDOUT:
        sys.stdout.write(text)
        return
    _write(file, text)
    _report(file, content, findings, project)


registry: Final = CliCommand(
    "registry",
    _registry,
    params=[
        FILE,
        Option(
            ["--name"],
            default="",
            metavar="NAME",
            help="Name in the registry, such as io.github.ada/notes (default: that of the app).",
        ),
        Option(
            ["--package"],
            type=click.Choice((*PACKAGES, NONE)),
            multiple=True,
            metavar="|".join((*PACKAGES, NONE)),
            help="What clients run: the package of PyPI, an image, or none. May be repeated (default: as the "
            "file has it, or else pypi).",
        ),
        Option(
            ["--image"],
            default="",
            metavar="REFERENCE",
            help="The image, such as ghcr.io/ada/notes:1.0.2 (default: that of the file, with the new version).",
        ),
        Option(
            ["--remote"],
            default="",
            metavar="URL",
            help="URL by which clients reach a server that runs (default: public_url, or that of auth=).",
        ),
        Option(
            ["--out"],
            default="",
            metavar="FILE",
            help="Write this file; - for standard output (default: server.json in the project).",
        ),
        Option(["--check"], is_flag=True, help="Write nothing; exit with status 1 if the file needs something."),
    ],
    examples=[
        "registry",
        "registry --package oci --image ghcr.io/ada/notes:1.0.2",
        "registry server.py --remote https://mcp.example.com/mcp",
        "registry --check",
    ],
)


def _project_folder(folder: Path) -> Path:
    """Return the folder with the `pyproject.toml` of a server: its own one or the nearest above, or its own."""
    own = folder.resolve()
    found = next((above for above in (own, *own.parents) if (above / "pyproject.toml").is_file()), own)
    return Path(os.path.relpath(found)) if found.is_relative_to(Path.cwd()) else found


def _stored(file: Path) -> Stored:
    """Return what a file has so far.

    Raises:
        CommandError: it cannot be read, or is something else.
    """
    if not file.is_file():  # it may be a pipe, which would be read for ever
        return Stored(label=str(file))
    try:
        return read_stored(file.read_bytes(), str(file))
    except (OSError, ValueError) as error:
        raise CommandError(str(error)) from None


def _secrets(tools: Iterable[Tool]) -> list[str]:
    """Return the names of the secrets of tools, each once: they have no case."""
    names = {secret.casefold(): secret for tool in tools for secret in tool.secrets}
    return sorted(names.values())


def _write(file: Path, text: str) -> None:
    """Replace a file as a whole; what is no file, such as a pipe, is written to.

    Raises:
        CommandError: it cannot be written.
    """
    temporary = ""
    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8", newline="\n")
            return
        file = file.resolve()  # a link stays one
        descriptor, temporary = tempfile.mkstemp(prefix=".server-", suffix=".json", dir=file.parent)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.chmod(temporary, file.stat().st_mode & 0o777 if file.exists() else 0o644)  # temporary ones are private
        os.replace(temporary, file)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise CommandError(f"{str(file)!r} cannot be written: {error.strerror}") from None


def _print_missing(missing: Sequence[str]) -> None:
    for text in missing:
        print_error(f"enfilade: missing: {printable(text)}")


def _report(file: Path, content: dict[str, Any], findings: Findings, project: Project) -> None:
    """Print what was written, what is left out, and what comes next."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"Wrote {file}: {printable(content['name'])} {content['version']}.", markup=False, style="green"
    )
    for text in findings.notes:
        console.print(f"Note: {printable(text)}.", markup=False)
    if findings.todo:
        console.print("\nBefore it can be published:\n")
        for text in findings.todo:
            console.print(f"  - {printable(text)}", markup=False)
    console.print("\nNext:\n")
    if project.folder != Path():
        console.print(f"  cd {shlex.quote(str(project.folder))}", markup=False)
    for command in publish_commands(content["name"]):
        console.print(f"  {command}", markup=False)


def _report_check(file: Path, stored: Stored, content: dict[str, Any], findings: Findings) -> None:
    """Print what the file needs, and exit with status 1 if it needs something."""
    problems = [f"missing: {text}" for text in findings.missing]
    if not stored.content:
        problems.append(f"there is no {file}; `enfilade registry` writes it")
    elif not findings.missing and (stale := _differences(stored.content, content)):
        problems.append(f"{file} is stale in {', '.join(stale)}; `enfilade registry` writes it anew")
    problems += findings.todo
    for text in problems:
        print_error(f"enfilade: {printable(text)}")
    if problems:
        raise SystemExit(1)
    Console(highlight=False, soft_wrap=True).print(f"{file} is up to date.", markup=False, style="green")


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the members that are not the same."""
    return [member for member in dict.fromkeys([*new, *old]) if old.get(member) != new.get(member)]
