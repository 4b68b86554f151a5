"""Errors that end a command, and the text that the user reads: what is wrong, and what to do next.

Easy to get wrong: the colour. `NO_COLOR` turns it off, and it is never written to a file or a pipe.
"""

from enfilade.loading import describe_error
from enfilade.setting_sources import load
from enfilade.settings import SettingsError


class CommandError(Exception):
    """A command cannot continue. The user reads the text, without a traceback.

    Attributes:
        status: the command's exit status.
    """

    def __init__(self, text: str, status: int = 2) -> None:
        super().__init__(text)
        self.status = status


def print_error(text: str) -> None:
    """Print an error on stderr, in red if that is a terminal and `NO_COLOR` is not set."""
    from rich.console import Console  # imported on an error only: `enfilade run` works without it

    console = Console(stderr=True, highlight=False)
    # A terminal would break a long line within a word; a program reads it as a line.
    console.print(text, style="red", markup=False, soft_wrap=not console.is_terminal)


def text_of(error: Exception, log_level: str | None = None) -> str:
    """Return the text of an error for the user; at log level `debug` with all frames of its traceback.

    Args:
        error: a `LoadError` or `SettingsError`.
        log_level: from the command line; None for the level that the environment sets.
    """
    try:
        level = load({}, None, {"log_level": log_level}).log_level
    except SettingsError:  # this one is reported when the settings of the app are loaded
        level = "info"
    return describe_error(error, level)
