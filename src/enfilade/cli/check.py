"""`enfilade check TARGET`: report problems of a server for hosts, models and existing clients."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.padding import Padding

from enfilade.cli.command import CliCommand, CommandError, Option
from enfilade.cli.login import LOGIN_OPTIONS, LoginChoice
from enfilade.cli.output import rich_text, stderr_console, table_console
from enfilade.cli.targets import HEADER, SERVER, headers_of, is_file, one_line_errors, target_of, timeout_option
from enfilade.client.surface import Surface
from enfilade.client.targets import Target
from enfilade.lint import snapshot as snapshots
from enfilade.lint.findings import FAILING, Finding, fails
from enfilade.lint.run import CheckOutcome, as_github, as_json, check as check_server, counts, why

_COLOURS: Final = {"error": "bold red", "breaking": "bold magenta", "warning": "yellow", "note": "dim"}
_FORMATS: Final = ("text", "json", "github")


def _check(
    target: Sequence[str],
    snapshot: Path | None,
    save: bool,
    output: str,
    fail_on: str,
    header: Sequence[str],
    timeout: float,
    **login: Any,
) -> None:
    """Check names, descriptions and schemas of a server, the size of its tool list, protocol errors, and changes.

    The exit status is 0 if nothing was found that fails; 1 if something was; 2 if it could not be checked.
    """
    if output not in _FORMATS:
        raise CommandError(f"there is no format {output!r}; use {', '.join(_FORMATS)}")
    if fail_on not in FAILING:
        raise CommandError(f"--fail-on takes {', '.join(FAILING)}, not {fail_on!r}")
    if save and snapshot is None:
        raise CommandError("--save stores the surface in a file; say which with --snapshot FILE")
    console = table_console()
    try:
        stored = snapshots.load(snapshot) if snapshot is not None and not save else None
        with contextlib.redirect_stdout(sys.stderr), one_line_errors():
            server = target_of(target, warns_of_host=True)
            choice = LoginChoice(**login)
            choice.check_target(server)
            headers = choice.headers(headers_of(header))
            outcome = asyncio.run(_check_server(server, choice, stored, headers, timeout))
        if save and snapshot is not None:
            snapshots.save(outcome.surface, snapshot)
            stderr_console().print(rich_text(f"Stored in {snapshot}."))
    except snapshots.SnapshotError as error:
        raise CommandError(str(error)) from None
    _print(console, outcome, output, _file_of(target))
    if fails(outcome.findings, fail_on):
        raise SystemExit(1)


async def _check_server(
    server: Target, login: LoginChoice, baseline: Surface | None, headers: Mapping[str, str], timeout: float
) -> CheckOutcome:
    async with login.authorized(server, headers, timeout) as http_auth:
        return await check_server(
            server, baseline=baseline, headers=headers, timeout=timeout, http_auth=http_auth
        )


check: Final = CliCommand(
    "check",
    _check,
    params=[
        SERVER,
        Option(
            ["--snapshot"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Compare with the surface stored in this file.",
        ),
        Option(["--save"], is_flag=True, help="Store the surface in --snapshot FILE instead."),
        Option(
            ["output", "--format"],
            default="text",
            show_default=True,
            metavar="|".join(_FORMATS),
            help="Print the findings in this format.",
        ),
        Option(
            ["--fail-on"],
            default="warning",
            show_default=True,
            metavar="warning|error|breaking",
            help="Exit with status 1 for warnings and errors, for errors, or only for what breaks clients.",
        ),
        HEADER,
        timeout_option(30.0),
        *LOGIN_OPTIONS,
    ],
    examples=[
        "check",
        "check server.py --snapshot surface.json --save",
        "check server.py --snapshot surface.json --fail-on breaking",
    ],
)


def _file_of(target: Sequence[str]) -> str | None:
    """Return the file that a target names, for the annotations of GitHub."""
    word = target[0] if target else ""
    file = word if word.endswith(".py") else word.rpartition(":")[0]
    return file if len(target) == 1 and file.endswith(".py") and is_file(word) else None


def _print(console: Console, outcome: CheckOutcome, output: str, file: str | None) -> None:
    if output == "json":
        console.file.write(as_json(outcome) + "\n")
    elif output == "github":
        console.file.write("".join(f"{line}\n" for line in as_github(outcome, file).splitlines()))
    else:
        for _, group in groupby(outcome.findings, lambda finding: (finding.severity, finding.rule)):
            _print_group(console, list(group))
        console.print(rich_text(_summary(outcome)), soft_wrap=not console.is_terminal)


def _print_group(console: Console, findings: list[Finding]) -> None:
    """Print the findings of one rule, and once how to fix them."""
    first = findings[0]
    console.print(rich_text(first.severity, _COLOURS[first.severity]), rich_text(first.rule, "bold"))
    for finding in findings:
        console.print(Padding(rich_text(f"{finding.where}: {finding.problem}"), (0, 0, 0, 2), expand=False))
    for line in (why(first), f"→ {first.fix}"):
        if line:
            console.print(Padding(rich_text(line, "dim"), (0, 0, 0, 4), expand=False))
    console.print()


def _summary(outcome: CheckOutcome) -> str:
    totals = ", ".join(
        f"{count} {name}{'s' * (count > 1 and name != 'breaking')}"
        for name, count in counts(outcome).items()
        if count
    )
    tools = len(outcome.surface.tools)
    cost = f"{tools} tool{'s' * (tools != 1)}, about {outcome.tokens:,} tokens (bytes/4)"
    name = outcome.surface.server.get("name", "the server")
    return f"{name}: {cost}; {' and '.join(outcome.eras)}. {totals or 'Nothing found'}."
