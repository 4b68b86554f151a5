"""A visitor of a page proves to be a user of the proxy: by a login at the same provider (A9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from enfilade.auth.oauth_proxy.upstream import Upstream
from enfilade.serving.principal import Principal

if TYPE_CHECKING:
    from enfilade.auth.oauth_proxy.proxy import OAuthProxy


class ProviderLogin:
    """The `VisitorLogin` of a proxy.

    Args:
        proxy: its provider knows the users; the callback of these pages is registered there as well.
    """

    def __init__(self, proxy: OAuthProxy) -> None:
        self._proxy = proxy
        self._upstream: Upstream | None = None

    @property
    def title(self) -> str:
        """The provider."""
        return self._proxy.provider.title

    def _at(self, redirect_uri: str) -> Upstream:
        """Return the provider, for the callback of these pages."""
        if self._upstream is None:
            self._upstream = Upstream(self._proxy.provider, redirect_uri)
        return self._upstream

    async def url(self, *, redirect_uri: str, state: str, verifier: str, nonce: str) -> str:
        """Return where the visitor logs in. PKCE and `state` bind the code to it, so no nonce is needed."""
        return await self._at(redirect_uri).consent_url(state, verifier)

    async def principal_key(
        self, *, code: str, issuer: str | None, redirect_uri: str, verifier: str, nonce: str
    ) -> str:
        """Return the key of the principal that a visitor is."""
        upstream = self._at(redirect_uri)
        await upstream.check_issuer(issuer)
        _, user = await upstream.log_in(code, verifier)
        return Principal(user.subject, issuer=self._proxy.issuer).key
