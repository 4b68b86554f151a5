"""`enfilade auth check URL`: what a client finds at a server that wants a token, step by step."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from enfilade.cli.command import Argument, CliCommand, CommandError, Option
from enfilade.cli.login import refuse_http, secret_in
from enfilade.cli.output import print_json, rich_text, table_console
from enfilade.cli.targets import timeout_option

if TYPE_CHECKING:
    from enfilade.lint.authorization.report import Level, Report, Step

_COLOURS: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_FAILING: Final[tuple[Level, ...]] = ("problem", "warning")
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
MORE_PACKAGES: Final = 'this needs more packages: pip install "enfilade[auth]"'


def _check(
    url: str,
    token_env: str | None,
    header_env: Sequence[str],
    allow_http: bool,
    fail_on: str,
    as_json: bool,
    timeout: float,
) -> None:
    """Show what a client finds at a server that wants a token: refusal, metadata, authorization servers.

    Nobody is logged in, and nothing is changed. The exit status is 0; 1 if a problem was found; 2 if the server
    could not be checked.
    """
    if fail_on not in _FAILING:
        raise CommandError(f"--fail-on takes {' or '.join(_FAILING)}, not {fail_on!r}")
    _refuse_url(url)
    if not timeout > 0:
        raise CommandError("--timeout takes a number of seconds above 0")
    if token_env is not None or header_env:
        refuse_http(url, "--header-env" if token_env is None else "--token-env", allow_http)
    token = None if token_env is None else secret_in(token_env, "token")
    headers = _secret_headers(header_env)
    try:
        from enfilade.lint.authorization.endpoint import EndpointError
        from enfilade.lint.authorization.run import check_authorization
    except ModuleNotFoundError as error:
        raise CommandError(MORE_PACKAGES) from error
    try:
        report = asyncio.run(check_authorization(url, token=token, headers=headers, timeout=timeout))
    except EndpointError as error:
        raise CommandError(str(error)) from None
    console = table_console()
    if as_json:
        print_json(console, report.as_json())
    else:
        _print(console, report)
    if report.count("problem") or (fail_on == "warning" and report.count("warning")):
        raise SystemExit(1)


def _secret_headers(assignments: Sequence[str]) -> dict[str, str]:
    """Return headers with the values of variables, from `NAME=VARIABLE`.

    Raises:
        CommandError: one has another form, or there is no such variable.
    """
    headers: dict[str, str] = {}
    for assignment in assignments:
        name, _, variable = assignment.partition("=")
        if not _HEADER_NAME.fullmatch(name) or not variable:
            raise CommandError(
                "--header-env takes a header and the variable of the environment with its value, "
                "such as X-API-Key=KEY"
            )
        if name.lower() == "authorization":
            raise CommandError("give the token of the header Authorization by --token-env NAME")
        headers[name] = secret_in(variable, "key")
    return headers


def _refuse_url(url: str) -> None:
    """Refuse what is no URL of an endpoint.

    Raises:
        CommandError: it is none, or has credentials in it, which would be shown.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise CommandError(f"{url!r} is no URL that begins with http:// or https://")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise CommandError("the URL has a user name or a password in it; MCP clients send neither")
    if "#" in url:
        raise CommandError(f"{url!r} has a fragment (#...), which is never sent to a server")


check: Final = CliCommand(
    "check",
    _check,
    params=[
        Argument(["url"], metavar="URL", help="The endpoint of the server."),
        Option(
            ["--token-env"],
            metavar="NAME",
            help="Also send the token in this variable of the environment, and check it here.",
        ),
        Option(
            ["--header-env"],
            multiple=True,
            metavar="HEADER=NAME",
            help="Also send this header with the key in this variable of the environment. May be repeated.",
        ),
        Option(
            ["--allow-http"],
            is_flag=True,
            help="Send it also by http to another machine; others on the way can read it.",
        ),
        Option(
            ["--fail-on"],
            default="problem",
            show_default=True,
            metavar="|".join(_FAILING),
            help="Exit with status 1 for problems only, or for warnings as well.",
        ),
        Option(["as_json", "--json"], is_flag=True, help="Print JSON."),
        timeout_option(10.0),
    ],
    examples=[
        "auth check https://mcp.example.com/mcp",
        "auth check https://mcp.example.com/mcp --token-env TOKEN --json",
        "auth check https://mcp.example.com/mcp --header-env X-API-Key=KEY",
    ],
)


def _print(console: Console, report: Report) -> None:
    for step in report.steps:
        _print_step(console, step)
    console.print(rich_text(_summary(report)), soft_wrap=not console.is_terminal)


def _print_step(console: Console, step: Step) -> None:
    console.print(rich_text(step.title, "bold"))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, min_width=7)
    table.add_column(overflow="fold")
    for finding in step.findings:
        table.add_row(rich_text(finding.level, _COLOURS[finding.level]), rich_text(finding.text))
        if finding.fix:
            table.add_row("", rich_text(f"→ {finding.fix}", "dim"))
    from rich.padding import Padding

    console.print(Padding(table, (0, 0, 0, 2)))
    console.print()


def _summary(report: Report) -> str:
    state = {"token": "wants a token", "open": "has no authorization", "unclear": "is no endpoint with a login"}
    counts = {level: report.count(level) for level in _FAILING}
    totals = [f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count]
    return f"{report.url} {state[report.access]}. {', '.join(totals) or 'Nothing found'}."
