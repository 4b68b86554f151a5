"""The command of one app: `enfilade run` without the choice of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from enfilade.cli.argv_fast_path import understood
from enfilade.cli.errors import print_error
from enfilade.cli.run import RUN_WORDS, serve_app
from enfilade.loading import LoadError
from enfilade.settings import SettingsError

if TYPE_CHECKING:
    from enfilade.app import MCPApp

#: Parameters of `run` that choose what to serve, and where. The app is imported before options are read.
_CHOOSING: Final = ("target", "module", "directory")
_OPTIONS: Final = {word: meaning for word, meaning in RUN_WORDS.items() if meaning[0] not in _CHOOSING}


def run_app_command(app: MCPApp) -> None:
    """Serve an app as `sys.argv` says.

    Raises:
        SystemExit: an option is wrong, or the server could not start; stderr says why.
    """

    def serve(**typed: Any) -> None:
        serve_app(app, typed)

    typed = understood(["run", *sys.argv[1:]], "run", _OPTIONS)
    try:
        if typed is None or "target" in typed:
            _with_typer(serve, app.name)
        else:
            serve(**typed)
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # as a shell has it for what was interrupted
    except (LoadError, SettingsError) as error:
        print_error(f"{sys.argv[0].rpartition('/')[2]}: {error}")
        raise SystemExit(2) from None


def _with_typer(serve: Any, name: str) -> None:
    """Let typer read the words: help, mistakes, and whatever the fast path does not understand."""
    import typer

    from enfilade.cli.run_signature import run_signature

    serve.__signature__ = run_signature(without=_CHOOSING)
    serve.__doc__ = f"Serve {name}, an MCP server, over stdio or HTTP."
    command = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    command.command()(serve)
    command()
