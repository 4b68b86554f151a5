"""`OAuth2`: a provider of tokens as data. Presets are instances of it, in `presets.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from enfilade.auth.urls import check_url
from enfilade.primitives.access import PROVIDER_ID, AuthRequirement, check_scopes

if TYPE_CHECKING:
    import httpx

_URLS: Final = ("authorize_url", "token_url", "revoke_url", "user_info_url", "issuer", "resource")
#: Parameters of an authorization request that are ours to set (RFC 6749, RFC 7636, RFC 8707).
_RESERVED: Final = frozenset(
    (
        *("response_type", "client_id", "redirect_uri", "state", "scope"),
        *("code_challenge", "code_challenge_method", "resource", "nonce"),
    )
)


@dataclass(frozen=True)
class OAuth2:
    """A provider of tokens by OAuth 2: `OAuth2("corp", "https://…/authorize", "https://…/token")`.

    Called, it says what a tool needs: `@app.tool(requires_auth=corp(scopes=["read"]))`. With `client` it has the
    credentials of this server there: `MCPApp(tool_auth=[corp.client(id="…", secret="…")])`. Without, they come
    from `ENFILADE_AUTH_CORP_CLIENT_ID` and `ENFILADE_AUTH_CORP_CLIENT_SECRET`.

    Args:
        id: names it in code, in the variables and in the store: small letters, digits, `-` and `_`.
        authorize_url: where users consent.
        token_url: where codes become tokens.
        revoke_url: where tokens are revoked (RFC 7009); None if there is no such place.
        scopes: what is asked for in any case.
        title: its name for people; the id by default.
        issuer: what `iss` must be in its responses (RFC 9207), if it sends one.
        resource: the service that tokens are for (RFC 8707), at providers that take it.
        user_info_url: what says who the user is (OpenID Connect, or the API's own).
        scope_separator: between the scopes of a request.
        granted_separator: between the scopes of a response, if it is another one.
        scope_parameter: the parameter that has the scopes.
        scope_includes: for a scope those that it includes, and other names of the same.
        scope_texts: what scopes mean, in words, for the page on which users consent.
        authorize_parameters: more parameters of authorization requests.
        token_auth: how this server authenticates at `token_url`: `basic`, `post` or `none`.
        token_body: how the parameters of token requests are sent.
        token_path: the members of a token response below which the token of the user is.
        client_id: the id of this server there.
        client_secret: its secret.
        http_client: makes the HTTP client by which it is asked; by default one with limits of time and size.
        discovered_from: the issuer whose metadata has the URLs; `OAuth2.discover` sets it.

    Raises:
        TypeError, ValueError: a URL is not https and not on this machine, or an argument has no such value.
    """

    id: str
    authorize_url: str
    token_url: str
    revoke_url: str | None = None
    scopes: Sequence[str] = ()
    title: str = ""
    issuer: str | None = field(default=None, kw_only=True)
    resource: str | None = field(default=None, kw_only=True)
    user_info_url: str | None = field(default=None, kw_only=True)
    scope_separator: str = field(default=" ", kw_only=True)
    granted_separator: str | None = field(default=None, kw_only=True)
    scope_parameter: str = field(default="scope", kw_only=True)
    scope_includes: Mapping[str, Sequence[str]] = field(default_factory=dict, kw_only=True, repr=False)
    scope_texts: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    authorize_parameters: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    token_auth: Literal["basic", "post", "none"] = field(default="basic", kw_only=True)
    token_body: Literal["form", "json"] = field(default="form", kw_only=True)
    token_path: Sequence[str] = field(default=(), kw_only=True, repr=False)
    client_id: str | None = field(default=None, kw_only=True)
    client_secret: SecretStr | str | None = field(default=None, kw_only=True, repr=False)
    http_client: Callable[[], httpx.AsyncClient] | None = field(default=None, kw_only=True, repr=False)
    discovered_from: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not PROVIDER_ID.fullmatch(str(self.id)):
            raise ValueError(
                f"the id of a provider is small letters, digits, - and _, such as 'corp'; not {self.id!r}"
            )
        for name in _URLS:
            url = getattr(self, name)
            if url is not None and not (name in _URLS[:2] and self.discovered_from):
                check_url(url, f"{name} of {self.id}")
        if self.discovered_from is not None:
            check_url(self.discovered_from, f"the issuer of {self.id}")
        if self.token_auth not in ("basic", "post", "none"):
            raise ValueError(f"token_auth= of {self.id} is basic, post or none; not {self.token_auth!r}")
        if self.token_body not in ("form", "json"):
            raise ValueError(f"token_body= of {self.id} is form or json; not {self.token_body!r}")
        reserved = sorted(_RESERVED.intersection(self.authorize_parameters))
        if reserved:
            raise ValueError(f"authorize_parameters= of {self.id}: {reserved[0]} is set by this package")
        object.__setattr__(self, "scopes", check_scopes(self.scopes, f"scopes of {self.id}", of_others=True))
        object.__setattr__(self, "title", self.title or self.id)
        if isinstance(self.client_secret, str):
            object.__setattr__(self, "client_secret", SecretStr(self.client_secret))

    @classmethod
    def discover(
        cls, issuer: str, *, id: str | None = None, scopes: Sequence[str] = (), **options: Any
    ) -> OAuth2:
        """Return a provider whose URLs are in its metadata (RFC 8414, OpenID Connect); read at the first use.

        Args:
            issuer: its issuer URL, exactly as its metadata has it.
            id: names it; by default the host, as `login-example-com`.
            scopes: what is asked for in any case.
            options: others of `OAuth2`.

        Raises:
            TypeError, ValueError: as `OAuth2`.
        """
        check_url(issuer, "the issuer of a provider")
        host = (urlsplit(issuer).hostname or "").lower()
        name = id or "".join(c if c.isascii() and c.isalnum() else "-" for c in host)
        name = name if id or name[:1].isalpha() else f"host-{name}"
        return cls(name, "", "", scopes=scopes, issuer=issuer, discovered_from=issuer, **options)

    def __call__(self, scopes: Sequence[str] = ()) -> AuthRequirement:
        """Return what a tool needs of this provider.

        Args:
            scopes: what its token must allow.

        Raises:
            TypeError, ValueError: these are no scopes.
        """
        return AuthRequirement(
            self.id, self.title, check_scopes(scopes, f"scopes of {self.id}", of_others=True), self
        )

    def as_requirement(self) -> AuthRequirement:
        """Return a requirement without scopes: `requires_auth=GitHub`."""
        return self()

    def client(self, id: str | None = None, secret: SecretStr | str | None = None, **options: Any) -> OAuth2:
        """Return this provider with the credentials of this server there.

        Args:
            id: its client id; by default `ENFILADE_AUTH_<ID>_CLIENT_ID` has it.
            secret: its client secret; by default `ENFILADE_AUTH_<ID>_CLIENT_SECRET` has it, if there is one.
            options: other values for arguments of `OAuth2`.

        Raises:
            TypeError, ValueError: as `OAuth2`.
        """
        return replace(self, client_id=id, client_secret=secret, **options)

    def scope_text(self, scope: str) -> str:
        """Return what a scope means, in words; empty if nobody has said it."""
        return self.scope_texts.get(scope, "")
