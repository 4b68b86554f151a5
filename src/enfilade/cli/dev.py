"""`enfilade dev [TARGET]`: serve over HTTP while the server is written."""

from typing import Annotated

import typer

from enfilade.cli.errors import CommandError, text_of
from enfilade.dev.serve import develop
from enfilade.discovery import load_app
from enfilade.loading import LoadError
from enfilade.settings import SettingsError


def dev(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE[:NAME]",
            help="Python file, and the app's name in it if there are several; or a project's folder "
            "(default: this one).",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option("--port", "-p", help="Port to bind (default 8000).")] = None,
    path: Annotated[str | None, typer.Option(help="Path of the endpoint (default /mcp).")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="What the library logs besides requests (default warning).")
    ] = None,
) -> None:
    """Serve over HTTP, begin anew when a file changes, and show each request with its outcome.

    Sessions of clients go on over a reload. Code that is broken is shown, and what ran before goes on.
    """
    try:
        develop(load_app(target), host=host, port=port, path=path, log_level=log_level)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error, log_level)) from None
