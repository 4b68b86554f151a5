"""`OAuthProxy`: the server as its own authorization server, as configured.

What runs is made of it (`endpoints.py`); nothing is fetched before the first login.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from enfilade.auth.oauth_providers.provider import OAuth2
from enfilade.auth.oauth_proxy.clients import ProxyClient
from enfilade.auth.oauth_proxy.paths import ENDPOINTS, PREFIX
from enfilade.auth.oauth_proxy.redirects import CLIENT_SCHEMES
from enfilade.auth.resource_server import ResourceServer, check_servers
from enfilade.auth.servers import AuthorizationServer, TokenVerifier
from enfilade.auth.urls import check_url
from enfilade.primitives.access import check_scopes

if TYPE_CHECKING:
    from enfilade.auth.oauth_proxy.upstream import ProviderUser
    from enfilade.auth.oauth_proxy.verifier import OwnTokens
    from enfilade.auth.oauth_proxy.visitor import ProviderLogin
    from enfilade.auth.safe_fetch.fetch import SafeFetcher
    from enfilade.state.tokens import Seal

_ARGUMENTS: Final = (
    *("scopes", "verifiers", "scope_hierarchy", "list_by_scope", "leeway", "allow", "scope_texts", "clients"),
    *("identity_providers", "redirect_schemes", "access_token_time", "login_time"),
)
_MINUTE, _DAY = 60, 86_400


class OAuthProxy(ResourceServer):
    """Logins at a provider that registers no clients: `OAuthProxy(GitHub.client(…), public_url="https://…")`.

    The server is its own authorization server. Clients register, or are known by their documents, users agree to
    each client on a page of the server, log in at the provider, and the client gets tokens of this server alone.

    Args:
        provider: where users log in, with the credentials of this server there: `GitHub.client(id="…",
            secret="…")`. The callback to register there is `<public_url>/oauth/callback`.
        public_url: the URL under which clients reach the server, without the path of the endpoint. It is the
            issuer of all tokens.
        scopes: what every caller must have.
        allow: says who may log in: a function, `async` or not, of a `ProviderUser` with `subject`, `claims` and
            `info`. It returns True or False, or the scopes that this user may have. Without it everybody may
            who has an account at the provider.
        scope_texts: what scopes mean, in words, for the page on which users agree.
        verifiers: as for a `ResourceServer`, such as `APIKeys`.
        scope_hierarchy: as for a `ResourceServer`.
        list_by_scope: as for a `ResourceServer`.
        leeway: as for a `ResourceServer`.
        clients: `ProxyClient`s that neither register nor have a document.
        identity_providers: issuers whose assertions (ID-JAG) confidential clients may exchange for tokens,
            without a login (enterprise-managed authorization).
        redirect_schemes: private-use schemes without a dot that clients may redirect to, such as `cursor`.
        access_token_time: seconds that an access token is valid; a revoked one may be so until then, if a worker
            has not heard of it.
        login_time: seconds after its last use that a login ends.

    Raises:
        TypeError, ValueError: a URL is not https (http is for loopback addresses alone), the provider has no
            client id, or another argument is none of what it may be.
        ModuleNotFoundError: `enfilade[auth]` is not installed.
    """

    def __init__(
        self,
        provider: OAuth2,
        *,
        public_url: str,
        scopes: Sequence[str] = (),
        allow: Callable[[ProviderUser], Any] | None = None,
        scope_texts: Mapping[str, str] = {},
        verifiers: Iterable[TokenVerifier] = (),
        scope_hierarchy: Mapping[str, Sequence[str]] = {},
        list_by_scope: bool = False,
        leeway: float = 30.0,
        clients: Iterable[ProxyClient] = (),
        identity_providers: Iterable[str | AuthorizationServer] = (),
        redirect_schemes: Iterable[str] = CLIENT_SCHEMES,
        access_token_time: int = 10 * _MINUTE,
        login_time: int = 30 * _DAY,
        _fetcher: SafeFetcher | None = None,
        _resource: str | None = None,
    ) -> None:
        if find_spec("jinja2") is None:
            raise ModuleNotFoundError(
                "the pages of a login need jinja2: pip install 'enfilade[auth]'", name="jinja2"
            )
        issuer = check_url(public_url, "public_url of an OAuthProxy").rstrip("/")
        if "?" in issuer:
            raise ValueError("public_url of an OAuthProxy has a query (?...)")
        super().__init__(
            _resource or issuer,
            [issuer],
            scopes=scopes,
            verifiers=verifiers,
            scope_hierarchy=scope_hierarchy,
            list_by_scope=list_by_scope,
            leeway=leeway,
            dpop="off",
        )
        self.provider = _provider(provider)
        self.issuer = issuer
        self.public_url = public_url
        self.path = urlsplit(issuer).path
        self.is_secure = issuer.startswith("https:")
        self.allow = allow
        if allow is not None and not callable(allow):
            raise TypeError(f"allow= is a function of a ProviderUser, not {type(allow).__name__}")
        self.scope_texts = {str(scope): str(text) for scope, text in dict(scope_texts).items()}
        self.clients = _clients(clients)
        self.identity_providers = check_servers(identity_providers)
        self.redirect_schemes = frozenset(redirect_schemes)
        self.access_token_time = _seconds(access_token_time, "access_token_time", 1, _DAY)
        self.login_time = _seconds(login_time, "login_time", _MINUTE, 400 * _DAY)
        self.fetcher = _fetcher

    def placed(self, path: str) -> OAuthProxy:
        """Return the same for an endpoint at a path below the public URL: the resource that tokens are for."""
        return self._made(resource=self.issuer + path.rstrip("/"))

    @property
    def visitor_login(self) -> ProviderLogin:
        """By which a visitor of a page proves to be one of the users."""
        from enfilade.auth.oauth_proxy.visitor import ProviderLogin

        return ProviderLogin(self.provider, self.issuer)

    def reserved_paths(self) -> dict[str, str]:
        """Return the endpoints of OAuth, by path."""
        return {PREFIX + name: "the login of clients (auth=OAuthProxy)" for name in ENDPOINTS}

    def own_tokens(self, seal: Seal) -> OwnTokens:
        """Return what verifies the tokens of this proxy."""
        from enfilade.auth.oauth_proxy.verifier import OwnTokens

        return OwnTokens(seal, self.issuer, self.resource, self.leeway)

    def replaced(self, **changed: Any) -> ResourceServer:
        """Return one with other values for some arguments.

        Raises:
            ValueError: the authorization servers would be others, or DPoP would be on.
        """
        servers = changed.pop("authorization_servers", self.authorization_servers)
        resource = changed.pop("resource", self.resource)
        if [server.issuer for server in servers] != [self.issuer]:
            raise ValueError("the server is its own authorization server by OAuthProxy: name no other")
        if changed.pop("dpop", "off") != "off" or changed.pop("dpop_nonce", False):
            raise ValueError("tokens of an OAuthProxy are not bound by DPoP")
        changed.pop("jwks_stale", None)
        return self._made(resource=resource, **changed)

    def _made(self, *, resource: str, **changed: Any) -> OAuthProxy:
        arguments: dict[str, Any] = {name: getattr(self, name) for name in _ARGUMENTS}
        arguments |= {"_fetcher": self.fetcher, "_resource": resource, **changed}
        return OAuthProxy(self.provider, public_url=self.public_url, **arguments)

    def url(self, name: str) -> str:
        """Return the URL of one of the endpoints of OAuth."""
        return f"{self.issuer}{PREFIX}{name}"

    @property
    def consent_url(self) -> str:
        """Where the consent page sends what the user decides."""
        return self.url("consent")

    async def allowed_scopes(self, user: ProviderUser, scopes: Sequence[str]) -> tuple[str, ...] | None:
        """Return the scopes that a user gets of those that were asked for; None if they may not log in at all.

        Raises:
            TypeError: `allow` has returned something else.
        """
        if self.allow is None:
            return tuple(scopes)
        verdict = self.allow(user)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        if isinstance(verdict, bool) or verdict is None:
            return tuple(scopes) if verdict else None
        allowed = check_scopes(verdict, "what allow= returns")
        return tuple(scope for scope in scopes if scope in allowed)

    def __repr__(self) -> str:
        return f"OAuthProxy({self.provider.id!r}, public_url={self.public_url!r}, scopes={list(self.scopes)!r})"


def _provider(provider: object) -> OAuth2:
    if not isinstance(provider, OAuth2):
        kind = type(provider).__name__
        raise TypeError(f'an OAuthProxy takes a provider, as GitHub.client(id="…", secret="…"), not {kind}')
    if not provider.client_id:
        raise ValueError(
            f"{provider.id} has no client id: register this server there, and write .client(id=..., secret=...)"
        )
    return provider


def _clients(clients: Iterable[ProxyClient]) -> tuple[ProxyClient, ...]:
    made = tuple(clients)
    for client in made:
        if not isinstance(client, ProxyClient):
            raise TypeError(f"clients= takes a list of ProxyClient, not of {type(client).__name__}")
    if len({client.client_id for client in made}) < len(made):
        raise ValueError("a client id is there twice in clients=")
    return made


def _seconds(value: int, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}= is a whole number of seconds, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}= is a number of seconds from {least} to {most}, not {value!r}")
    return value
