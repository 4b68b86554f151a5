"""`enfilade auth login PROVIDER`: give the tools of a server access to a service, before any call."""

import sys
import webbrowser
from typing import Final

from enfilade.auth.tool_auth.local_consent import ConsentError, consent_of_local_user
from enfilade.auth.tool_auth.service import ToolAuthorization
from enfilade.auth.tool_auth.vault import Entry
from enfilade.cli.auth_tokens import with_tool_authorization
from enfilade.cli.command import FILE, Argument, CliCommand, CommandError, Option
from enfilade.cli.output import rich_text, stderr_console
from enfilade.serving.callers.tool_auth import AuthError

#: Seconds that the user has by default.
_TIMEOUT: Final = 300.0


def _login(
    provider: str, target: str | None, scope: tuple[str, ...], port: int, no_browser: bool, timeout: float
) -> None:
    """Give the tools of a server access to a service, as the user of this machine.

    A page opens in the browser. The tokens are kept in the server's store, for calls over stdio, and for those on
    a loopback address without `auth=`.
    """
    console = stderr_console()

    def show(url: str) -> None:
        opened = not no_browser and sys.stderr.isatty() and webbrowser.open(url)
        text = (
            "A page opens in your browser; if it does not, open:"
            if opened
            else "Open in a browser on this machine:"
        )
        console.print(rich_text(text))
        console.print(rich_text(url), soft_wrap=True)

    async def ask(authorization: ToolAuthorization) -> Entry:
        try:
            return await consent_of_local_user(
                authorization, provider, scope, show=show, timeout=timeout, port=port
            )
        except (ConsentError, AuthError) as error:
            raise CommandError(str(error), status=1) from None
        finally:
            authorization.listener.end_soon()

    entry = with_tool_authorization(target, ask)
    scopes = f": {' '.join(entry.scopes)}" if entry.scopes else ""
    console.print(rich_text(f"You have given access to {entry.provider}{scopes}."), soft_wrap=True)


login: Final = CliCommand(
    "login",
    _login,
    params=[
        Argument(["provider"], metavar="PROVIDER", help="The id of the service, such as github."),
        FILE,
        Option(
            ["--scope"],
            multiple=True,
            metavar="SCOPE",
            help="Ask for this scope, besides those that the tools need. May be repeated.",
        ),
        Option(
            ["--port"],
            type=int,
            default=0,
            metavar="PORT",
            help="The browser returns to this port of 127.0.0.1, for services that know the URL with its port; "
            "by default one that is free.",
        ),
        Option(["--no-browser"], is_flag=True, help="Print the link, and open no browser."),
        Option(
            ["--timeout"],
            type=float,
            default=_TIMEOUT,
            show_default=True,
            metavar="SECONDS",
            help="Wait at most so long for the consent.",
        ),
    ],
    examples=["auth login github", "auth login github server.py --port 8000"],
)
