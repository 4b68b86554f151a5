"""Authorization by settings: `ENFILADE_AUTH_RESOURCE`, `ENFILADE_AUTH_SERVERS`, `ENFILADE_AUTH_DPOP` and others.

Whoever runs a server knows its public URL and its authorization servers better than its author does, so each of
them replaces what `auth=` says.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from enfilade.auth.resource_server import ResourceServer, check_servers
from enfilade.auth.servers import AuthorizationServer
from enfilade.primitives.access import check_scopes
from enfilade.settings import Settings, SettingsError

T = TypeVar("T")

#: Arguments of a `ResourceServer` whose settings have the same values; None is one that is not set.
_SAME_NAME: Final = ("list_by_scope", "leeway", "jwks_stale", "dpop", "dpop_nonce")


class _Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One authorization server in `auth_servers`."""

    issuer: str
    jwks_uri: str | None = None
    audiences: list[str] = []
    clients_without_audience: list[str] = []
    algorithms: list[str] = []
    client_id: str | None = None
    client_secret: str | None = None


def configured(auth: ResourceServer | None, settings: Settings) -> ResourceServer:
    """Return the resource server in force: that of the code, with what the settings say instead.

    Raises:
        SettingsError: a setting has a value that it cannot have; the text names it.
    """
    auth = None if auth is None else auth.placed(settings.path)
    text = settings.auth_servers.get_secret_value()
    if auth is None and not settings.auth_resource:
        raise _invalid("auth_resource", "it is missing: the public URL of the endpoint, which tokens are for")
    if auth is None and not text:
        raise _invalid("auth_servers", 'it is missing: the issuers whose tokens are accepted, ["https://..."]')
    _checked("auth_scopes", lambda: check_scopes(settings.auth_scopes, "auth_scopes"))
    servers: Sequence[AuthorizationServer] = () if auth is None else auth.authorization_servers
    if text:
        servers = _checked("auth_servers", lambda: check_servers(_servers(text)))
    changed = _changed(settings)
    made = _checked("auth_resource", lambda: _made(auth, settings, servers))
    _checked("auth_scope_hierarchy", lambda: made.replaced(scope_hierarchy=changed.get("scope_hierarchy", {})))
    # All that is left to be wrong is a nonce without proofs.
    of_proofs = "auth_dpop_nonce" if settings.auth_dpop_nonce else "auth_dpop"
    return _checked(of_proofs, lambda: made.replaced(**changed))


def _made(
    auth: ResourceServer | None, settings: Settings, servers: Sequence[AuthorizationServer]
) -> ResourceServer:
    if auth is None:
        return ResourceServer(settings.auth_resource, servers, scopes=settings.auth_scopes)
    return auth.replaced(
        resource=settings.auth_resource or auth.resource,
        authorization_servers=servers,
        scopes=settings.auth_scopes or auth.scopes,
    )


def _changed(settings: Settings) -> dict[str, Any]:
    """Return the arguments of a `ResourceServer` that settings of the same name replace."""
    values = {name: getattr(settings, f"auth_{name}") for name in _SAME_NAME}
    changed = {name: value for name, value in values.items() if value is not None}
    if text := settings.auth_scope_hierarchy:
        changed["scope_hierarchy"] = _checked("auth_scope_hierarchy", lambda: _hierarchy(text))
    return changed


def _hierarchy(text: str) -> dict[str, list[str]]:
    """Return the hierarchy of scopes in a JSON text.

    Raises:
        ValueError: it is something else.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, list[str]])
    except msgspec.DecodeError as error:
        raise ValueError(
            f"it is no JSON object of scopes with a list of those that each includes ({error}), such as "
            '{"notes:write": ["notes:read"]}'
        ) from None


def _servers(text: str) -> list[AuthorizationServer]:
    """Return the authorization servers that a JSON text names.

    Raises:
        ValueError: it is something else.
    """
    try:
        content = msgspec.json.decode(text, type=list[str | _Server] | str | _Server)
    except msgspec.DecodeError as error:
        # A secret may be in it, so that the text is not quoted.
        raise ValueError(
            f'it is no JSON of authorization servers ({_place(error)}), such as ["https://idp.example.com"] or '
            '[{"issuer": "https://idp.example.com", "audiences": ["api"]}]'
        ) from None
    entries = content if isinstance(content, list) else [content]
    if not entries:
        raise ValueError("it is an empty list, so that nobody could be let in")
    return [_server(entry) for entry in entries]


def _server(entry: str | _Server) -> AuthorizationServer:
    if isinstance(entry, str):
        return AuthorizationServer(entry)
    members: dict[str, Any] = msgspec.to_builtins(entry)
    return AuthorizationServer(members.pop("issuer"), **members)


def _place(error: msgspec.DecodeError) -> str:
    """Return what is wrong, without a value of the text."""
    message = str(error)
    return message if "`$" in message else "it cannot be parsed"


def _checked(setting: str, make: Callable[[], T]) -> T:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise _invalid(setting, str(error)) from None


def _invalid(setting: str, problem: str) -> SettingsError:
    return SettingsError(
        f"Invalid settings: {setting} (ENFILADE_{setting.upper()}): {problem}", {setting: problem}
    )
