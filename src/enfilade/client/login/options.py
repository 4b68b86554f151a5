"""How to log in, and why a login fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import SecretStr

Grant = Literal["code", "device", "credentials"]


class LoginError(Exception):
    """A login has failed, or is not possible; the text says what to do. It has no token and no secret."""


@dataclass(frozen=True)
class LoginOptions:
    """Options of a login.

    Attributes:
        grant: `code` (a browser on this machine), `device` (a browser anywhere), `credentials` (of a program).
        client_id: a client that is registered already; None to register one.
        client_secret: the secret of that client.
        scopes: scopes to ask for besides those that the server says it needs.
        issuer: the authorization server to log in at; None for the first that the server names.
        redirect_port: port of 127.0.0.1 to which the browser returns; 0 for any that is free.
        interactive: whether somebody is there to log in.
        uses_stored: whether the login of an earlier command may be used.
        timeout: limit in seconds for a person to log in.
        request_timeout: limit in seconds for each request.
        show: shows a text to that person.
        open_browser: opens a URL, and returns whether there is a browser. It may take as long as it wants.
    """

    grant: Grant = "code"
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scopes: tuple[str, ...] = ()
    issuer: str | None = None
    redirect_port: int = 0
    interactive: bool = False
    uses_stored: bool = True
    timeout: float = 300.0
    request_timeout: float = 30.0
    show: Callable[[str], None] = print
    open_browser: Callable[[str], bool] = lambda url: False

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            ValueError: they do not; the text says what is missing.
        """
        if self.client_secret is not None and self.client_id is None:
            raise ValueError("a client's secret needs the client's id, too")
        if self.grant == "credentials" and self.client_secret is None:
            raise ValueError("client credentials are a client's id and its secret: give both")
        if self.client_secret is not None and self.issuer is None:
            raise ValueError("a secret goes to one authorization server only: give its issuer, too")
