"""The `enfilade` command. Its verbs are thin layers over functions that users of the library can call.

Easy to get wrong: imports. A server answers only after all of them, so each verb imports what it needs. This
module is imported by the scripts of projects and imports nothing that takes time.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from enfilade.startup import gc_pause

if TYPE_CHECKING:
    from enfilade.app import MCPApp


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: the command has failed, or has ended early; stderr says why.
    """
    gc_pause.pause()
    # `python -m` puts the working directory first, where a file may have the name of a package that is needed.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path.append(sys.path.pop(0))
    from enfilade.startup.lazy import import_without

    import_without("msgspec", "typing_extensions")  # as `import enfilade` does
    from enfilade.cli.command import command_line, run_command

    run_command(command_line, "enfilade")


def run_app(app: MCPApp) -> None:
    """Run the command of one app, such as a project's console script: the options of `enfilade run`.

    It reads `sys.argv` and takes each option that is a setting, `--reload` and `--help`. Everything else is
    refused.

    Args:
        app: the app to serve.

    Raises:
        SystemExit: an option is wrong, or the server could not start; stderr says why.
    """
    gc_pause.pause()
    from enfilade.cli.command import run_command
    from enfilade.cli.run import app_command

    run_command(app_command(app))
