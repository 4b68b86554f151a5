"""`enfilade auth list|revoke`: who has given the tools of a server access to which services, and its end.

The store is that of the server's settings, so the server need not run. No token is ever printed: an entry says
whose it is, at which provider, for what, and until when.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar

from rich.table import Table

from enfilade.app import MCPApp
from enfilade.auth.tool_auth.service import ToolAuthorization
from enfilade.auth.tool_auth.vault import Entry
from enfilade.cli.command import FILE, Argument, CliCommand, CommandError, Option, print_warning
from enfilade.cli.output import print_json, printable, rich_text, stderr_console, table_console
from enfilade.cli.targets import app_with_store
from enfilade.state.store import StoreError

T = TypeVar("T")


class Granted(NamedTuple):
    """An entry of the vault, and the name of its row."""

    name: str
    entry: Entry


def _list(target: str | None, as_json: bool) -> None:
    """List what users have granted the tools of a server: the provider, the user, the scopes, and until when."""
    granted = with_tool_authorization(target, _collect)
    if as_json:
        print_json(table_console(), [_summary(each.entry) for each in granted])
        return
    if not granted:
        stderr_console().print("Nobody has given access to anything.")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("provider", "user", "scopes", "expires", "granted"):
        table.add_column(column, overflow="fold", no_wrap=column in ("provider", "expires", "granted"))
    for each in granted:
        summary = _summary(each.entry)
        scopes = " ".join(summary["scopes"]) or "-"
        expires = "refreshed" if summary["refreshable"] else summary.get("expires") or "-"
        cells = (summary["provider"], summary["user"], scopes, expires, summary["granted"])
        table.add_row(*(rich_text(cell) for cell in cells))
    table_console().print(table)


def _revoke(provider: str, target: str | None, user: str | None, every: bool) -> None:
    """End the access of a server's tools to a service: revoke the tokens there, and delete them here.

    They are deleted also if the service does not answer; they may then be valid there until they expire.
    """
    if user is not None and every:
        raise CommandError("--user is for one user, and --all for all of them")

    async def revoke(authorization: ToolAuthorization) -> Sequence[tuple[Entry, str | None]]:
        chosen = _chosen(await _collect(authorization), provider, user, every)
        return [(each.entry, await _ended(authorization, each)) for each in chosen]

    console = stderr_console()
    for entry, failure in with_tool_authorization(target, revoke):
        text = f"Revoked the access of {entry.user} to {entry.provider}."
        if failure is not None:
            text = f"Deleted the tokens of {entry.user} for {entry.provider}."
        console.print(rich_text(text), soft_wrap=True)
        if failure is not None:
            print_warning(f"they may be valid until they expire: {printable(failure)}")


def with_tool_authorization(target: str | None, work: Callable[[ToolAuthorization], Awaitable[T]]) -> T:
    """Return what a function makes of the tool authorization of a server.

    Args:
        target: a file or a project's folder; None for the server of this directory.
        work: what to do.

    Raises:
        CommandError: there is no such server, its tools need no tokens, or its store does not answer.
    """
    app = app_with_store(target, "tokens")
    if not app.needs_tool_auth:
        raise CommandError("the tools of this server need no tokens: none has requires_auth=", status=1)

    try:
        with contextlib.redirect_stdout(sys.stderr):
            return asyncio.run(_use(app, work))
    except StoreError as error:
        raise CommandError(f"the store of the server does not answer: {error}") from None


async def _use(app: MCPApp, work: Callable[[ToolAuthorization], Awaitable[T]]) -> T:
    authorization = app.tool_authorization
    try:
        return await work(authorization)
    finally:
        await authorization.aclose()
        await app.caller_state.close()


async def _collect(authorization: ToolAuthorization) -> Sequence[Granted]:
    found = [Granted(name, entry) async for name, entry in authorization.vault.entries()]
    return sorted(found, key=lambda each: (each.entry.provider, each.entry.user, each.entry.principal))


def _chosen(granted: Sequence[Granted], provider: str, user: str | None, every: bool) -> Sequence[Granted]:
    """Return the entries that are meant.

    Raises:
        CommandError: there are none, or they are those of several users who were not all meant.
    """
    here = [each for each in granted if each.entry.provider == provider]
    if not here:
        others = ", ".join(dict.fromkeys(each.entry.provider for each in granted))
        hint = f"; there are some for {others}" if others else ""
        raise CommandError(f"nobody has given access to {provider!r}{hint}", status=1)
    if user is not None:
        here = [each for each in here if user in (each.entry.user, each.entry.principal)]
        if not here:
            raise CommandError(f"{user!r} has not given access to {provider!r}", status=1)
    if len({each.entry.principal for each in here}) > 1 and not every:
        keys = "the key of one, as --json of `enfilade auth list` has it" if user is not None else "one"
        raise CommandError(f"{len(here)} users have given access to {provider!r}; give --user {keys}, or --all")
    return here


async def _ended(authorization: ToolAuthorization, granted: Granted) -> str | None:
    """Delete an entry, and revoke its tokens; return why they could not be revoked, None if they were."""
    entry = await authorization.vault.take(granted.name)
    if entry is None:  # somebody else was faster
        return None
    client = authorization.clients.by_id(entry.provider)
    if client is None or client.client_id != entry.client_id:
        return f"this server is not the client {entry.client_id!r} of {entry.provider} any more"
    return await client.end(entry.access_token, entry.refresh_token)


def _summary(entry: Entry) -> dict[str, Any]:
    summary = {
        "provider": entry.provider,
        "user": entry.user,
        "principal": entry.principal,
        "client_id": entry.client_id,
        "scopes": [printable(scope) for scope in entry.scopes],
        "expires": None if entry.expires_at is None else _time(entry.expires_at),
        "refreshable": entry.refresh_token is not None,
        "granted": _time(entry.granted_at),
    }
    return {name: value for name, value in summary.items() if value is not None}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


_JSON: Final = Option(["as_json", "--json"], is_flag=True, help="Print JSON.")

list: Final = CliCommand(  # noqa: A001 - the verb
    "list", _list, params=[FILE, _JSON], examples=["auth list", "auth list server.py --json"]
)

revoke: Final = CliCommand(
    "revoke",
    _revoke,
    params=[
        Argument(["provider"], metavar="PROVIDER", help="The id of the service, such as github."),
        FILE,
        Option(
            ["--user"], metavar="USER", help="Only the access of this user, or of the principal with this key."
        ),
        Option(["every", "--all"], is_flag=True, help="The access of all users."),
    ],
    examples=["auth revoke github", "auth revoke github server.py --user ada"],
)
