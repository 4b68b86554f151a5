"""What the endpoints of one proxy have in common."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from enfilade.auth.claims import is_same_url
from enfilade.auth.oauth_proxy.browser import Browsers
from enfilade.auth.oauth_proxy.clients import Clients
from enfilade.auth.oauth_proxy.grants import Grants
from enfilade.auth.oauth_proxy.proxy import OAuthProxy
from enfilade.auth.oauth_proxy.sealed import Codec
from enfilade.auth.oauth_proxy.upstream import ProviderUser, Upstream
from enfilade.auth.pages.requests import OAuthError, Parameters
from enfilade.serving.failures import masked

#: Scopes that clients of OpenID Connect ask for by habit, and that mean nothing here.
_OF_OPENID = frozenset(("openid", "profile", "email", "offline_access"))


@dataclass(frozen=True)
class Services:
    """What the endpoints of one proxy have in common.

    Args:
        proxy: as it was configured.
        server: the name of the server, for people.
        needed_scopes: returns what operations of the app need besides what every caller needs.
    """

    proxy: OAuthProxy
    codec: Codec
    clients: Clients
    grants: Grants
    upstream: Upstream
    browsers: Browsers
    server: str
    needed_scopes: Callable[[], Iterable[str]]

    def scopes(self) -> tuple[str, ...]:
        """Return all scopes that there are."""
        of_hierarchy = (scope for pair in self.proxy.scope_hierarchy.items() for scope in (pair[0], *pair[1]))
        return tuple(dict.fromkeys((*self.proxy.scopes, *self.needed_scopes(), *of_hierarchy)))

    def granted_scopes(self, parameters: Parameters) -> list[str]:
        """Return the scopes that a request gets: those that it asks for and that there are.

        Raises:
            OAuthError: `invalid_scope`, there is none of them.
        """
        asked = [scope for scope in parameters.scopes() if scope not in _OF_OPENID]
        if not asked:
            return list(self.proxy.scopes)
        there = self.scopes()
        granted = [scope for scope in asked if scope in there]
        if not granted:
            raise OAuthError("invalid_scope", "there is none of these scopes here")
        return granted

    async def allowed_scopes(self, user: ProviderUser, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return the scopes that a user gets of those that were asked for.

        Raises:
            OAuthError: `access_denied`, the user may not use this server; `server_error`, the function of the
                author has failed that says so.
        """
        try:
            allowed = await self.proxy.allowed_scopes(user, scopes)
        except Exception as error:
            masked(error, "allow= of OAuthProxy failed")
            raise OAuthError(
                "server_error", "the server could not find out if the user may use it", 500
            ) from None
        if allowed is None:
            raise OAuthError("access_denied", "this user may not use this server", 403)
        return allowed

    def check_resource(self, parameters: Parameters) -> None:
        """Check that a request names no other resource than ours (RFC 8707).

        Raises:
            OAuthError: `invalid_target`.
        """
        if not all(is_same_url(resource, self.proxy.resource) for resource in parameters.resources):
            raise OAuthError("invalid_target", "the resource is none of this server")
