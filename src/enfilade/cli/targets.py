"""From the words of a command line to a connected client: a file, a command, a URL.

Easy to get wrong: whatever an app prints in this process would end up among the results, so while it is loaded
and used, its standard output is our standard error.
"""

import asyncio
import contextlib
import shlex
import shutil
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from enfilade.cli.errors import CommandError, text_of
from enfilade.client.connect import connect
from enfilade.client.errors import ConnectError, innermost
from enfilade.client.targets import Command, Target
from enfilade.discovery import load_app
from enfilade.loading import LoadError
from enfilade.setting_sources import warn_of_unknown_variables
from enfilade.settings import SettingsError

Found = TypeVar("Found")


def target_of(given: Sequence[str]) -> Target:
    """Return what words name: no word is the server of this directory, several are a command.

    Raises:
        CommandError: there is no such app, or it cannot be loaded.
    """
    if len(given) > 1:
        return Command(list(given))
    word = given[0] if given else None
    if word is not None and word.startswith(("http://", "https://")):
        return word
    if word is not None and not is_file(word):
        return Command(_words(word))
    if word is not None and " " in word and not Path(word).exists():
        raise CommandError(
            f"there is no file {word!r} here, and no program {_words(word)[0]!r} that it could be the command of"
        )
    try:
        with contextlib.redirect_stdout(sys.stderr):
            app = load_app(word)
            warn_of_unknown_variables()
            return app
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error)) from None


def is_file(word: str) -> bool:
    """Whether a word is a Python file, there or not, rather than a command.

    `python server.py` ends as a file does, and is a command where no file is called so.
    """
    if " " in word and not Path(word).exists() and shutil.which(_words(word)[0]):
        return False
    file = word.rpartition(":")[0] if not word.endswith(".py") and ".py:" in word else word
    return file.endswith(".py") or Path(file).exists() or (" " not in word and "/" not in word and "." in word)


def _words(command: str) -> list[str]:
    """Return the words of a command in quotes.

    Raises:
        CommandError: a quotation mark in it is not closed.
    """
    try:
        return shlex.split(command, posix=sys.platform != "win32") or [""]
    except ValueError as error:
        raise CommandError(f"{command!r} is no command: {error}") from None


def headers_of(given: Sequence[str]) -> dict[str, str]:
    """Return HTTP headers from lines of `Name: value`.

    Raises:
        CommandError: a line is none.
    """
    found: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CommandError(f"{line!r} is no header; write it as 'Name: value'")
        found[name.strip()] = value.strip()
    return found


def with_client(target: Target, work: Callable[[Any], Awaitable[Found]], **options: Any) -> Found:
    """Connect to a target and do something with the client.

    Args:
        target: from `target_of`.
        work: is given the client.
        options: of `enfilade.testing.connect`.

    Raises:
        CommandError: it cannot be reached, or does not speak MCP as it should.
    """

    async def scenario() -> Found:
        async with connect(target, **options) as client:
            return await work(client)

    with contextlib.redirect_stdout(sys.stderr), reported():
        return asyncio.run(scenario())


@contextlib.contextmanager
def reported() -> Any:
    """Turn what can go wrong between a client and a server into one line."""
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
        return f"the server sent what the protocol does not know: {error}"
    return f"{type(error).__name__}: {error}"
