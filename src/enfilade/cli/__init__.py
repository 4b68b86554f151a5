"""The `enfilade` command: one file per verb, and no logic that a library user cannot reach.

Easy to get wrong: whoever starts a server waits for all that is loaded before its first answer. So the command
line's library is loaded only for words that need it (see `argv_fast_path.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from enfilade.startup import gc_pause

if TYPE_CHECKING:
    from enfilade.app import MCPApp


def main() -> None:
    """Run the command line."""
    gc_pause.pause()
    from enfilade.cli.argv_fast_path import understood
    from enfilade.cli.run import RUN_WORDS, run

    if (given := understood(sys.argv[1:], "run", RUN_WORDS)) is not None:
        try:
            run(**given)
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # as a shell has it for what was interrupted
        return
    from enfilade.cli.command import cli
    from enfilade.cli.errors import CommandError, print_error
    from enfilade.loading import LoadError
    from enfilade.settings import SettingsError

    try:
        cli()
    except (CommandError, LoadError, SettingsError) as error:
        print_error(f"enfilade: {error}")
        raise SystemExit(getattr(error, "status", 2)) from None


def run_app(app: MCPApp) -> None:
    """Run the command of one app, such as a project's console script: the options of `enfilade run`.

    It reads `sys.argv` and takes each option that is a setting, `--reload` and `--help`. Everything else is
    refused.

    Args:
        app: what to serve.

    Raises:
        SystemExit: an option is wrong, or the server could not start; stderr says why.
    """
    gc_pause.pause()
    from enfilade.cli.app_command import run_app_command

    run_app_command(app)
