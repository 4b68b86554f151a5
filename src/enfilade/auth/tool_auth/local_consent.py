"""Consent of the user of this machine before any call: `enfilade auth login`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from enfilade.auth.tool_auth.clients import variables_of
from enfilade.auth.tool_auth.user import LOCAL_USER
from enfilade.auth.tool_auth.vault import Entry

if TYPE_CHECKING:
    from enfilade.auth.tool_auth.service import ToolAuthorization


class ConsentError(Exception):
    """There is no consent; the text says why."""


async def consent_of_local_user(
    authorization: ToolAuthorization,
    provider: str,
    scopes: Sequence[str],
    *,
    show: Callable[[str], None],
    timeout: float,
    port: int = 0,
) -> Entry:
    """Return what the user of this machine has granted, in a browser, to the tools of an app.

    Args:
        authorization: that of the app.
        provider: the id of the provider.
        scopes: what is asked for besides what the tools need and what is granted already.
        show: gets the link.
        timeout: seconds that the user has.
        port: of 127.0.0.1, to which the provider sends the browser back; 0 for one that is free.

    Raises:
        ConsentError: nobody has configured the provider, or the user has not consented in time.
        StoreError: the store does not answer.
    """
    client = authorization.clients.by_id(provider)
    if client is None:
        raise ConsentError(_why_there_is_no_client(authorization, provider))
    row = await authorization.vault.read(LOCAL_USER.key, client)
    granted = () if row is None else row.value.scopes
    asked = tuple(dict.fromkeys((*granted, *authorization.scopes_of(provider), *scopes)))
    base = await authorization.listener.opened(port)
    id, link = await authorization.pending.begin(LOCAL_USER, client, asked, "enfilade auth login", base)
    show(link)
    outcome = await authorization.pending.wait(id, timeout)
    if outcome is None:
        raise ConsentError(f"nobody has given consent within {timeout:g} seconds")
    if outcome:
        raise ConsentError(outcome)
    row = await authorization.vault.read(LOCAL_USER.key, client)
    if row is None:
        raise ConsentError("what was granted cannot be read in the store")
    return row.value


def _why_there_is_no_client(authorization: ToolAuthorization, provider: str) -> str:
    if authorization.clients.has_static(provider):
        return f"tool_auth= has a StaticToken for {provider}, so nobody needs to give consent"
    known = authorization.clients.ids()
    if provider not in known:
        return f"no tool of this server names {provider!r}; there are {', '.join(known) or 'none'}"
    id, secret = variables_of(provider)
    return f"this server has no client at {provider}: set {id} and {secret}"
