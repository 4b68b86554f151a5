"""A visitor of a page proves to be a user of the proxy: by a login at the same provider (A9)."""

from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_proxy.upstream import Upstream
from enfilade.serving.principal import Principal


class ProviderLogin:
    """The `VisitorLogin` of a proxy.

    Args:
        provider: knows the users; the callback of these pages is registered there as well.
        issuer: of the proxy, whose principals they are.
    """

    def __init__(self, provider: OAuth2, issuer: str) -> None:
        self._provider, self._issuer = provider, issuer
        self._upstream: Upstream | None = None

    @property
    def title(self) -> str:
        """The provider."""
        return self._provider.title

    def _at(self, redirect_uri: str) -> Upstream:
        """Return the provider, for the callback of these pages."""
        if self._upstream is None:
            self._upstream = Upstream(self._provider, redirect_uri)
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
        return Principal(user.subject, issuer=self._issuer).key

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if self._upstream is not None:
            await self._upstream.aclose()
