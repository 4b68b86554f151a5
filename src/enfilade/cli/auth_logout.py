"""`enfilade auth logout URL`: end the login at a server."""

import asyncio
from typing import Final

from enfilade.cli.command import Argument, CliCommand, CommandError
from enfilade.cli.output import rich_text, stderr_console
from enfilade.client.login.options import LoginError
from enfilade.client.login.token_file import forget, load, lock_of
from enfilade.state.file_lock import file_lock

#: Seconds for the authorization server.
_TIMEOUT: Final = 10.0


def _logout(url: str) -> None:
    """End the login at a server: revoke its tokens, and forget them and the registration of this client.

    The tokens are revoked where the authorization server has an endpoint for that (RFC 7009); others may be valid
    until they expire.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise CommandError(f"{url!r} is no URL that begins with http:// or https://")
    try:
        was_there, failure = asyncio.run(_end(url))
    except LoginError as error:
        raise CommandError(str(error)) from None
    console = stderr_console()
    text = f"Logged out of {url}." if was_there else f"There was no login at {url}."
    console.print(rich_text(text), soft_wrap=True)
    if failure:
        text = f"warning: the tokens are deleted here, but may be valid until they expire: {failure}"
        console.print(rich_text(text), soft_wrap=True)


async def _end(url: str) -> tuple[bool, str]:
    """Revoke the tokens of the login at a server, and delete it; no command refreshes it meanwhile.

    Returns:
        Whether there was a login, and why its tokens could not be revoked; empty if they were.

    Raises:
        LoginError: it cannot be deleted.
    """
    async with file_lock(lock_of(url), _TIMEOUT):
        failure = await _revoke(url)
        return forget(url), failure


async def _revoke(url: str) -> str:
    """Revoke the tokens of the login at a server, and return why that has failed; empty if it has not."""
    try:
        login = load(url)
        if login is not None and login.tokens and login.metadata:
            from enfilade.client.login.revocation import revoke

            await revoke(login, _TIMEOUT)
    except LoginError as error:
        return str(error)
    return ""


logout: Final = CliCommand(
    "logout",
    _logout,
    params=[Argument(["url"], metavar="URL", help="The endpoint of the server, as it was called.")],
    examples=["auth logout https://mcp.example.com/mcp"],
)
