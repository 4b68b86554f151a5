"""Targets of the command line, a file, a command or a URL, and clients that are connected to them.

The options of the commands that connect to a server are here as well.

Easy to get wrong: what an app prints. It would mix with the results, so stdout is redirected to stderr while an
app is loaded and used.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from enfilade.app import MCPApp
from enfilade.cli.command import Argument, CommandError, Option, print_warning, text_of
from enfilade.cli.login import LoginChoice
from enfilade.client.connect import ConnectError, connect, innermost, load_client
from enfilade.client.targets import Command, Target
from enfilade.discovery import load_with_warning
from enfilade.loading import LoadError
from enfilade.setting_sources import warn_of_unknown_variables
from enfilade.settings import SettingsError
from enfilade.state.sqlite.store import sqlite_path

ResultT = TypeVar("ResultT")

#: A server to connect to, as `target_of` reads it.
SERVER: Final = Argument(
    ["target"],
    metavar="TARGET",
    type=click.Path(),
    nargs=-1,
    help="FILE[:NAME], a project's folder, a URL, or the command that starts a server (in quotes, or after --).",
)
HEADER: Final = Option(
    ["header", "--header", "-H"],
    multiple=True,
    metavar="'NAME: VALUE'",
    help="Send this header with each HTTP request. May be repeated.",
)
ERA: Final = Option(
    ["--era"],
    default="auto",
    show_default=True,
    metavar="auto|stateless|session",
    help="Use the stateless revision (2026-07-28) or one with sessions (up to 2025-11-25).",
)


def timeout_option(default: float) -> Option:
    """Return the option that limits the time of each response, with its default in seconds."""
    return Option(
        ["--timeout"],
        type=float,
        default=default,
        show_default=True,
        metavar="SECONDS",
        help="Wait at most so long for each response.",
    )


def target_of(arguments: Sequence[str], *, warns_of_host: bool = False) -> Target:
    """Return the target that arguments name: none is the server of this directory, several are a command.

    With `warns_of_host`, an app that has a host around it is reported on stderr.

    Raises:
        CommandError: there is no such app, or it cannot be loaded.
    """
    if len(arguments) > 1:
        return Command(list(arguments))
    target = arguments[0] if arguments else None
    if target is not None and target.startswith(("http://", "https://")):
        return target
    if target is not None and not is_file(target):
        return Command(_split(target))
    if target is not None and " " in target and not Path(target).exists():
        raise CommandError(f"there is no file {target!r} here, and no program {_split(target)[0]!r} to start")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            load_client()
            loaded = load_with_warning(target)
            warn_of_unknown_variables()
            if warns_of_host and loaded.warning:
                print_warning(loaded.warning)
            return loaded.app
    except (LoadError, SettingsError, ModuleNotFoundError) as error:
        raise CommandError(text_of(error)) from None


def app_with_store(target: str | None, contents: str) -> MCPApp:
    """Return the app that a target names, whose store this process can open as well.

    Args:
        target: a file or a project's folder; None for the server of this directory.
        contents: what is in the store, in the plural, for errors.

    Raises:
        CommandError: there is no such app, or its store is in memory, or a file that does not exist.
    """
    app = target_of([] if target is None else [target])
    if not isinstance(app, MCPApp):
        raise CommandError(f"{contents} are read in the store of a server: name its Python file")
    if app.given_store is not None:
        return app
    url = app.settings.store
    if url.startswith("memory:"):
        raise CommandError(
            f"the store of this server is memory://, so its {contents} are in its own process; set "
            "ENFILADE_STORE to its store, such as sqlite:///state.db"
        )
    path = sqlite_path(url) if url.startswith("sqlite:") else None
    if path is not None and not os.path.exists(path):
        raise CommandError(
            f"there is no store at {path}; a server makes it when it starts, in the folder in which it starts"
        )
    return app


def is_file(target: str) -> bool:
    """Whether a target is a Python file, existing or not, rather than a command.

    `python server.py` has the suffix of a file, and is a command unless a file has that name.
    """
    if " " in target and not Path(target).exists() and shutil.which(_split(target)[0]):
        return False
    file = target.rpartition(":")[0] if not target.endswith(".py") and ".py:" in target else target
    looks_like_file = " " not in target and "/" not in target and "." in target
    return file.endswith(".py") or Path(file).exists() or looks_like_file


def _split(command: str) -> list[str]:
    """Return the arguments of a command that is one text.

    Raises:
        CommandError: a quotation mark in it is not closed.
    """
    try:
        return shlex.split(command, posix=sys.platform != "win32") or [""]
    except ValueError as error:
        raise CommandError(f"{command!r} is not a command: {error}") from None


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """Return HTTP headers from lines of `Name: value`.

    Raises:
        CommandError: a line has another form.
    """
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CommandError(f"{line!r} is not a header; write it as 'Name: value'")
        headers[name.strip()] = value.strip()
    return headers


def with_client(
    target: Target,
    work: Callable[[Any], Awaitable[ResultT]],
    *,
    login: LoginChoice,
    headers: Mapping[str, str],
    timeout: float,
    **options: Any,
) -> ResultT:
    """Return the result of a function that uses a client; the options are those of `enfilade.testing.connect`.

    Raises:
        CommandError: the server cannot be reached, wants a login that is not possible, or breaks the protocol.
    """
    login.check_target(target)
    headers = login.headers(headers)

    async def connect_and_work() -> ResultT:
        async with (
            login.authorized(target, headers, timeout) as http_auth,
            connect(target, headers=headers, timeout=timeout, http_auth=http_auth, **options) as client,
        ):
            try:
                return await work(client)
            except Exception as error:
                if type(error).__name__ == "MCPError" and client.refused.is_of_credentials:
                    raise ConnectError(_line(error), client.refused) from error
                raise

    with contextlib.redirect_stdout(sys.stderr), _warnings_on_stderr(), one_line_errors():
        return asyncio.run(connect_and_work())


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Print warnings and errors of a server in this process, with tracebacks that begin in the user's code."""
    from enfilade.transports.processes.log_formats import LogFormatter

    log = logging.getLogger("enfilade")
    handler = logging.NullHandler() if log.hasHandlers() else logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LogFormatter("%(message)s"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextlib.contextmanager
def one_line_errors() -> Any:
    """Raise each error between a client and a server as a `CommandError` of one line."""
    try:
        yield
    except CommandError:
        raise
    except (ConnectError, ModuleNotFoundError, LoadError, ValueError) as error:
        raise CommandError(_line(error)) from error
    except (Exception, BaseExceptionGroup) as error:
        cause = innermost(error)
        if not isinstance(cause, Exception):
            raise
        raise CommandError(_line(cause)) from error


def _line(error: BaseException) -> str:
    if isinstance(error, ConnectError | ModuleNotFoundError | LoadError):
        return str(error)
    if type(error).__name__ == "MCPError":
        return f"the server refused: {error}"
    if type(error).__name__ == "ValidationError":
        return f"the server sent a message that breaks the protocol: {error}"
    return f"{type(error).__name__}: {error}"
