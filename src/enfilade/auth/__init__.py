"""Who is calling, and tokens by which tools act for them. Needs the extra `enfilade[auth]`.

Names are loaded at their first use: an app that has no `auth=` loads nothing of this.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from enfilade.auth.api_keys import APIKeys as APIKeys, hash_key as hash_key
    from enfilade.auth.errors import (
        InvalidTokenError as InvalidTokenError,
        ServerUnavailableError as ServerUnavailableError,
    )
    from enfilade.auth.introspection import Introspection as Introspection
    from enfilade.auth.oauth_providers.presets import (
        Asana as Asana,
        Atlassian as Atlassian,
        Discord as Discord,
        Dropbox as Dropbox,
        Figma as Figma,
        GitHub as GitHub,
        GitLab as GitLab,
        Google as Google,
        HubSpot as HubSpot,
        Linear as Linear,
        LinkedIn as LinkedIn,
        Microsoft as Microsoft,
        Notion as Notion,
        Reddit as Reddit,
        Slack as Slack,
        Spotify as Spotify,
        Twitch as Twitch,
        X as X,
        Zoom as Zoom,
    )
    from enfilade.auth.oauth_providers.provider import OAuth2 as OAuth2
    from enfilade.auth.oauth_proxy.clients import ProxyClient as ProxyClient
    from enfilade.auth.oauth_proxy.proxy import OAuthProxy as OAuthProxy
    from enfilade.auth.oauth_proxy.upstream import ProviderUser as ProviderUser
    from enfilade.auth.resource_server import ResourceServer as ResourceServer
    from enfilade.auth.servers import AuthorizationServer as AuthorizationServer, TokenVerifier as TokenVerifier
    from enfilade.auth.tool_auth.clients import StaticToken as StaticToken
    from enfilade.serving.principal import Principal as Principal

#: The public names by module. Type checkers read the imports above; a test compares the two.
_LAZY_EXPORTS: Final = {
    "APIKeys": "enfilade.auth.api_keys",
    "AuthorizationServer": "enfilade.auth.servers",
    "Introspection": "enfilade.auth.introspection",
    "InvalidTokenError": "enfilade.auth.errors",
    "Principal": "enfilade.serving.principal",
    "ResourceServer": "enfilade.auth.resource_server",
    "ServerUnavailableError": "enfilade.auth.errors",
    "TokenVerifier": "enfilade.auth.servers",
    "hash_key": "enfilade.auth.api_keys",
    "OAuth2": "enfilade.auth.oauth_providers.provider",
    "StaticToken": "enfilade.auth.tool_auth.clients",
    "OAuthProxy": "enfilade.auth.oauth_proxy.proxy",
    "ProviderUser": "enfilade.auth.oauth_proxy.upstream",
    "ProxyClient": "enfilade.auth.oauth_proxy.clients",
    **dict.fromkeys(
        (
            *("Asana", "Atlassian", "Discord", "Dropbox", "Figma", "GitHub", "GitLab", "Google", "HubSpot"),
            *("Linear", "LinkedIn", "Microsoft", "Notion", "Reddit", "Slack", "Spotify", "Twitch", "X", "Zoom"),
        ),
        "enfilade.auth.oauth_providers.presets",
    ),
}

if not TYPE_CHECKING:  # type checkers would accept every name
    __all__ = list(_LAZY_EXPORTS)

    def __getattr__(name: str) -> Any:
        if name not in _LAZY_EXPORTS:
            from enfilade.primitives.other_frameworks import refuse_name

            refuse_name(__name__, name, is_imported=sys._getframe(1).f_code.co_name == "_handle_fromlist")
        value = globals()[name] = getattr(importlib.import_module(_LAZY_EXPORTS[name]), name)
        return value


def __dir__() -> list[str]:
    return list(_LAZY_EXPORTS)
