"""Targets of the command line, a file, a command or a URL, and clients that are connected to them.

Easy to get wrong: what an app prints. It would mix with the results, so stdout is redirected to stderr while an
app is loaded and used.
"""

import asyncio
import contextlib
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from enfilade.cli.command import CommandError, text_of
from enfilade.client.connect import ConnectError, connect, innermost
from enfilade.client.targets import Command, Target
from enfilade.discovery import load_app
from enfilade.loading import LoadError
from enfilade.setting_sources import warn_of_unknown_variables
from enfilade.settings import SettingsError

Result = TypeVar("Result")


def target_of(arguments: Sequence[str]) -> Target:
    """Return the target that arguments name: none is the server of this directory, several are a command.

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
            app = load_app(target)
            warn_of_unknown_variables()
            return app
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error)) from None


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


def with_client(target: Target, work: Callable[[Any], Awaitable[Result]], **options: Any) -> Result:
    """Connect to a target and return the result of a function that uses the client.

    Args:
        target: from `target_of`.
        work: the function; its argument is the client.
        options: of `enfilade.testing.connect`.

    Raises:
        CommandError: the server cannot be reached, or breaks the protocol.
    """

    async def connect_and_work() -> Result:
        async with connect(target, **options) as client:
            return await work(client)

    with contextlib.redirect_stdout(sys.stderr), one_line_errors():
        return asyncio.run(connect_and_work())


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
