"""What the commands say when a server refuses a token: why, which scopes it lacks, and how to get them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from enfilade.client.refusals import RefusedPost, scopes_in

if TYPE_CHECKING:
    from enfilade.client.login.provider import LoginProvider


def explain_refusal(
    url: str, refused: RefusedPost, option: str, headers: Mapping[str, str], provider: LoginProvider | None
) -> str:
    """Return why a server has refused a token, and what to do.

    Args:
        url: the server.
        refused: its response, which is about credentials.
        option: the option that has the token; empty if there is none.
        headers: the headers of each request.
        provider: what authorizes requests, if there is a login.
    """
    if not refused.lacks_scopes:
        return _not_valid(url, refused, option)
    held = scopes_in(headers) if option else _granted(provider)
    missing = [] if held is None else [scope for scope in refused.scopes if scope not in held]
    return f"{_needs(url, refused, missing)}. {_how_to_get(missing or refused.scopes, option, provider)}"


def _not_valid(url: str, refused: RefusedPost, option: str) -> str:
    what = f"the token of {option}" if option else "the request"
    reason = refused.reason or "its token or key is expired, or not for this server"
    check = f"`enfilade auth check {url}"
    if not option:
        return f"{url} refused {what} (401): {reason}. {check}` shows what it asks for"
    variable = option.removeprefix("--token-env ") if " " in option else "NAME"
    return (
        f"{url} refused {what} (401): {reason}. Get a new one, or leave the option out and log in; "
        f"{check} --token-env {variable}` shows what is wrong"
    )


def _needs(url: str, refused: RefusedPost, missing: list[str]) -> str:
    if not refused.scopes:
        return f"{url} refused the request (403): {refused.reason or 'it needs more scopes than the token has'}"
    needed = f"{_noun(refused.scopes)} {' '.join(refused.scopes)}"
    lacks = f", and the token lacks {' '.join(missing)}" if missing else ""
    return f"{url} refused the request (403): it needs the {needed}{lacks}"


def _how_to_get(scopes: list[str] | tuple[str, ...], option: str, provider: LoginProvider | None) -> str:
    by_login = " ".join(f"--scope {shlex.quote(scope)}" for scope in scopes)
    log_in = f"log in with {by_login}" if scopes else "log in"
    if option:
        return f"Get a token with more scopes, or leave {option} out and {log_in}"
    if provider is None:
        return "Send a token, or a key, with more scopes"
    if provider.has_logged_in:
        issuer = provider.context.auth_server_url or "The authorization server"
        return f"{issuer} has not granted them at the login: the user or the client may not have them there"
    return f"Run this at a terminal, and {log_in}"


def _noun(scopes: tuple[str, ...]) -> str:
    return "scope" if len(scopes) == 1 else "scopes"


def _granted(provider: LoginProvider | None) -> frozenset[str] | None:
    if provider is None:
        return None
    from enfilade.client.login.official_state import granted_scopes

    return granted_scopes(provider.context)
