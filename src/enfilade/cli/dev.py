"""`enfilade dev [TARGET]`: serve over HTTP while the server is written."""

from typing import Final

from enfilade.cli.command import Command, CommandError, Option, text_of
from enfilade.cli.options import FILE
from enfilade.dev.serve import develop
from enfilade.discovery import load_app
from enfilade.loading import LoadError
from enfilade.settings import SettingsError


def _dev(target: str | None, host: str | None, port: int | None, path: str | None, log_level: str | None) -> None:
    """Serve over HTTP, restart when a file changes, and show each request with its outcome.

    Sessions of clients survive a restart. If the changed code does not load, the error is shown and the
    previous code goes on serving.
    """
    try:
        develop(load_app(target), host=host, port=port, path=path, log_level=log_level)
    except (LoadError, SettingsError) as error:
        raise CommandError(text_of(error, log_level)) from None


dev: Final = Command(
    "dev",
    _dev,
    params=[
        FILE,
        Option(["--host"], help="Address to bind (default 127.0.0.1)."),
        Option(["--port", "-p"], type=int, help="Port to bind (default 8000)."),
        Option(["--path"], help="Path of the endpoint (default /mcp)."),
        Option(["--log-level"], help="Level of the library's log lines besides requests (default warning)."),
    ],
    examples=["dev", "dev server.py --port 9000"],
)
