"""Logins of the commands that connect to a URL: their options, and the person at the terminal.

Easy to get wrong: where secrets come from. Arguments are in the list of processes and in the shell's history, so
tokens and secrets come from variables of the environment, and an option has the variable's name.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from enfilade.cli.command import CommandError, Option
from enfilade.cli.output import rich_text, stderr_console
from enfilade.cli.refusals import explain_refusal

if TYPE_CHECKING:
    from enfilade.client.login.provider import LoginProvider

_GROUP: Final = "Login at a URL"

#: The options of a login, for each command that connects to a server.
LOGIN_OPTIONS: Final = (
    Option(
        ["--token-env"],
        group=_GROUP,
        metavar="NAME",
        help="Send the token in this variable of the environment; there is no login.",
    ),
    Option(
        ["--client-id"], group=_GROUP, metavar="ID", help="Log in as this client, which is registered already."
    ),
    Option(
        ["--client-secret-env"],
        group=_GROUP,
        metavar="NAME",
        help="The client's secret is in this variable of the environment; needs --issuer.",
    ),
    Option(
        ["--issuer"],
        group=_GROUP,
        metavar="URL",
        help="Log in at this authorization server only; by default the first that the server names.",
    ),
    Option(
        ["--client-credentials"],
        is_flag=True,
        group=_GROUP,
        help="Log in as the client itself, without a person, by its id and secret.",
    ),
    Option(
        ["--scope"],
        multiple=True,
        group=_GROUP,
        metavar="SCOPE",
        help="Log in for this scope, besides those that the server needs. May be repeated.",
    ),
    Option(["--device"], is_flag=True, group=_GROUP, help="Log in by a code and a browser on any device."),
    Option(
        ["--redirect-port"],
        type=int,
        default=0,
        group=_GROUP,
        metavar="PORT",
        help="The browser returns to this port of 127.0.0.1; by default one that is free.",
    ),
    Option(
        ["--allow-http"],
        is_flag=True,
        group=_GROUP,
        help="Send a token of yours also by http to another machine; others on the way can read it.",
    ),
    Option(
        ["--no-login"],
        is_flag=True,
        group=_GROUP,
        help="Never ask somebody to log in, and use no stored login; end with status 2.",
    ),
)


@dataclass(frozen=True)
class LoginChoice:
    """The options of a login, as somebody has written them. Their names are those of `LOGIN_OPTIONS`."""

    token_env: str | None = None
    client_id: str | None = None
    client_secret_env: str | None = None
    issuer: str | None = None
    client_credentials: bool = False
    device: bool = False
    redirect_port: int = 0
    no_login: bool = False
    scope: Sequence[str] = ()
    allow_http: bool = False

    def check_target(self, target: object) -> None:
        """Check that a server for which there are options is reached over HTTP.

        Raises:
            CommandError: it is not.
        """
        if self != LoginChoice() and not isinstance(target, str):
            raise CommandError("options of a login are for a URL; servers in files and commands ask for none")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of each request, with the token of `--token-env`.

        Raises:
            CommandError: there is no such token, or another one in the headers.
        """
        if self.token_env is None:
            return dict(headers)
        if _has_authorization(headers):
            raise CommandError("there are two tokens, by --token-env and by --header: give one")
        if self.scope:
            raise CommandError("--scope is for a login; the token of --token-env has its scopes already")
        return {**headers, "Authorization": f"Bearer {secret_in(self.token_env, 'token')}"}

    @asynccontextmanager
    async def authorized(
        self, target: object, headers: Mapping[str, str], timeout: float | None
    ) -> AsyncIterator[LoginProvider | None]:
        """Log in at a target if it is a URL that wants it, and yield what authorizes its requests.

        Raises:
            CommandError: no login is possible, or it has failed.
        """
        if not isinstance(target, str):
            yield None
            return
        if option := self._token_option(headers):
            refuse_http(target, option, self.allow_http)
        from enfilade.client.connect import ConnectError

        async with self._provider(target, headers, timeout) as provider:
            try:
                yield provider
            except Exception as error:
                if provider is not None and provider.failure:
                    raise CommandError(provider.failure) from error
                refused = error.refused if isinstance(error, ConnectError) else None
                if refused is not None and refused.is_of_credentials:
                    option = self._token_option(headers)
                    raise CommandError(explain_refusal(target, refused, option, headers, provider)) from error
                raise

    @asynccontextmanager
    async def _provider(
        self, url: str, headers: Mapping[str, str], timeout: float | None
    ) -> AsyncIterator[LoginProvider | None]:
        """Log in at a URL if it wants that, and yield what authorizes its requests; None if it wants no login.

        Raises:
            CommandError: no login is possible, or it has failed.
        """
        if self._token_option(headers):
            yield None
            return
        from enfilade.client.login.options import LoginError
        from enfilade.client.login.run import logged_in

        async with contextlib.AsyncExitStack() as stack:
            try:
                provider = await stack.enter_async_context(logged_in(url, self._options(timeout), headers))
            except LoginError as error:
                raise CommandError(str(error)) from None
            yield provider

    def _token_option(self, headers: Mapping[str, str]) -> str:
        """Return the option that has the token of each request; empty if there is none."""
        if self.token_env is not None:
            return f"--token-env {self.token_env}"
        return "--header" if _has_authorization(headers) else ""

    def _options(self, timeout: float | None) -> Any:
        """Return the options of a login.

        Raises:
            CommandError: they do not go together.
        """
        from pydantic import SecretStr

        from enfilade.client.login.options import LoginOptions

        if self.device and self.client_credentials:
            raise CommandError("--device and --client-credentials are two ways to log in: choose one")
        secret = None if self.client_secret_env is None else secret_in(self.client_secret_env, "secret")
        try:
            return LoginOptions(
                grant="credentials" if self.client_credentials else "device" if self.device else "code",
                client_id=self.client_id,
                client_secret=None if secret is None else SecretStr(secret),
                scopes=_scopes(self.scope),
                issuer=self.issuer,
                redirect_port=self.redirect_port,
                interactive=not self.no_login and sys.stdin.isatty() and sys.stderr.isatty(),
                uses_stored=not self.no_login,
                request_timeout=min(timeout or 30.0, 30.0),
                show=_show,
                open_browser=_open_browser,
            )
        except ValueError as error:
            raise CommandError(f"{error} (--client-id, --client-secret-env, --issuer)") from None


def refuse_http(url: str, option: str, allowed: bool) -> None:
    """Refuse to send a token or a key by http to another machine (R-617).

    Args:
        url: where it would go.
        option: the option that has it.
        allowed: whether the user allows that.

    Raises:
        CommandError: it would, and the user does not.
    """
    from urllib.parse import urlsplit

    from enfilade.primitives.public_urls import is_loopback_host

    parts = urlsplit(url)
    if parts.scheme.lower() == "http" and not allowed and not is_loopback_host(parts.hostname or ""):
        raise CommandError(
            f"{option} would go by http to another machine, and everybody on the way could read it: call the "
            "server by https, or add --allow-http if you trust the network"
        )


def _scopes(texts: Sequence[str]) -> tuple[str, ...]:
    """Return scopes, each of which is one word.

    Raises:
        CommandError: one of them cannot be a scope (RFC 6749 §3.3).
    """
    scopes = tuple(word for text in texts for word in text.split())
    for scope in scopes:
        if not scope.isascii() or not scope.isprintable() or '"' in scope or "\\" in scope:
            raise CommandError(f'{scope!r} is no scope: one word of visible ASCII without " and \\')
    return scopes


def secret_in(variable: str, kind: str) -> str:
    """Return the token or secret in a variable of the environment.

    Raises:
        CommandError: there is none, or no header can carry it. The text has nothing of it.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise CommandError(f"there is no {kind} in the variable {variable} of the environment")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise CommandError(f"the value of {variable} is no {kind}: it has blanks or control characters")
    return value


def _has_authorization(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _show(text: str) -> None:
    """Show a text to the person at the terminal; URLs are not broken, so that they can be copied."""
    stderr_console().print(rich_text(text), soft_wrap=True)


def _open_browser(url: str) -> bool:
    """Open a URL in a browser, and return whether there is one. One for terminals would take this terminal.

    Some browsers do not return before they are closed, so nobody waits for it.
    """
    has_windows = sys.platform in ("win32", "darwin") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if has_windows:
        threading.Thread(target=_browse, args=(url,), daemon=True).start()
    return has_windows


def _browse(url: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError, ValueError):  # the last of a wrong BROWSER
        webbrowser.open(url)
