"""`ResourceServer`: the endpoint as a resource server of OAuth 2.1 (MCP authorization, RFC 9728), as configured.

What runs is made of it; nothing is fetched before the first token comes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, Literal

from enfilade.auth.servers import AuthorizationServer, TokenVerifier
from enfilade.auth.urls import check_url, normalized
from enfilade.primitives.access import check_scopes
from enfilade.primitives.other_frameworks import advice_on_arguments

if TYPE_CHECKING:
    from enfilade.auth.limits.known_tokens import OwnTokens
    from enfilade.auth.tool_auth.visitor import VisitorLogin
    from enfilade.state.tokens import Seal

_ARGUMENTS: Final = (
    *("resource", "authorization_servers", "scopes", "verifiers", "scope_hierarchy", "list_by_scope"),
    *("leeway", "jwks_stale", "dpop", "dpop_nonce"),
)
_DPOP: Final = ("off", "allowed", "required")


class ResourceServer:
    """Who may call the endpoint: `MCPApp(auth=ResourceServer("https://mcp.example.com/mcp", ["https://idp…"]))`.

    Args:
        resource: the public URL of the endpoint, as clients call it. It is the audience that tokens must have,
            and is never guessed from a request.
        authorization_servers: issuers whose tokens are accepted: a URL, or an `AuthorizationServer`.
        scopes: what every caller must have.
        verifiers: are asked in order for tokens whose issuer is none of these: `Introspection`, `APIKeys`, or any
            object with `async def verify_token(self, token)`, also of the official SDK or FastMCP.
        scope_hierarchy: for a scope those that it includes: `{"notes:write": ["notes:read"]}` (R-607).
        list_by_scope: leave out of lists what the caller lacks the scopes for.
        leeway: seconds by which clocks may differ, at most 60.
        jwks_stale: seconds for which known keys are used while an authorization server does not answer.
        dpop: whether tokens may be bound to a key of their client (RFC 9449): `allowed` besides others,
            `required` of all that come in the header `Authorization`, or `off`.
        dpop_nonce: proofs need a nonce of this server, which it gives with a refusal, good for 5 minutes.

    Raises:
        TypeError, ValueError: a URL is not https (http is for loopback addresses alone), a scope is none, nobody
            could be let in, users of two `Introspection` could not be told apart, a number is out of range, or
            `dpop` is none of the three.
        ModuleNotFoundError: `enfilade[auth]` is not installed.
    """

    @advice_on_arguments("resource server")
    def __init__(
        self,
        resource: str,
        authorization_servers: Iterable[str | AuthorizationServer] = (),
        *,
        scopes: Sequence[str] = (),
        verifiers: Iterable[TokenVerifier] = (),
        scope_hierarchy: Mapping[str, Sequence[str]] = {},
        list_by_scope: bool = False,
        leeway: float = 30.0,
        jwks_stale: float = 3600.0,
        dpop: Literal["off", "allowed", "required"] = "allowed",
        dpop_nonce: bool = False,
    ) -> None:
        _check_installed()
        self.resource = normalized(check_url(resource, "the resource of a ResourceServer"))
        self.authorization_servers = check_servers(authorization_servers)
        self.scopes = check_scopes(scopes, "scopes")
        self.verifiers = _verifiers(verifiers)
        self.scope_hierarchy = {
            check_scopes([scope], "scope_hierarchy")[0]: check_scopes(included, "scope_hierarchy")
            for scope, included in dict(scope_hierarchy).items()
        }
        self.list_by_scope = list_by_scope
        self.leeway = _seconds(leeway, "leeway", 60)
        self.jwks_stale = _seconds(jwks_stale, "jwks_stale", 7 * 86_400)
        if dpop not in _DPOP:
            raise ValueError(f"dpop= is one of {', '.join(_DPOP)}; not {dpop!r}")
        if not isinstance(dpop_nonce, bool):
            raise TypeError(f"dpop_nonce= is True or False, not {dpop_nonce!r}")
        if dpop_nonce and dpop == "off":
            raise ValueError("dpop_nonce=True needs dpop='allowed' or 'required': nonces are for its proofs")
        self.dpop = dpop
        self.dpop_nonce = dpop_nonce
        if not self.authorization_servers and not self.verifiers:
            raise ValueError(
                "nobody could be let in: name an authorization server, or give verifiers= such as APIKeys(...)"
            )

    def placed(self, path: str) -> ResourceServer:
        """Return the same for an endpoint at a path of the app; only where the resource follows from it."""
        return self

    def reserved_paths(self) -> dict[str, str]:
        """Return what has a path in the app besides the metadata, by path."""
        return {}

    @property
    def visitor_login(self) -> VisitorLogin | None:
        """By which a visitor of a page proves to be a user; None for the logins of the authorization servers."""
        return None

    def own_tokens(self, seal: Seal) -> OwnTokens | None:
        """Return what verifies tokens that this server itself has issued; None if it issues none."""
        return None

    def replaced(self, **changed: Any) -> ResourceServer:
        """Return one with other values for some arguments."""
        arguments: dict[str, Any] = {name: getattr(self, name) for name in _ARGUMENTS}
        return ResourceServer(**(arguments | changed))

    def __repr__(self) -> str:
        issuers = [server.issuer for server in self.authorization_servers]
        return f"ResourceServer({self.resource!r}, {issuers!r}, scopes={list(self.scopes)!r})"


def _check_installed() -> None:
    missing = [name for name in ("httpx", "joserfc") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"authorization needs {' and '.join(missing)}: pip install 'enfilade[auth]'", name=missing[0]
        )


def check_servers(servers: Iterable[str | AuthorizationServer]) -> tuple[AuthorizationServer, ...]:
    """Return authorization servers, each issuer once.

    Raises:
        TypeError: it is one text, or one of them is something else.
        ValueError: an issuer is there twice.
    """
    if isinstance(servers, str | AuthorizationServer):
        raise TypeError(f"authorization_servers= takes a list: [{servers!r}]")
    made = [AuthorizationServer(server) if isinstance(server, str) else server for server in servers]
    for server in made:
        if not isinstance(server, AuthorizationServer):
            raise TypeError(f"an authorization server is a URL or an AuthorizationServer, not {server!r}")
    issuers = [server.issuer for server in made]
    if len(set(issuers)) < len(issuers):
        raise ValueError("an issuer is there twice in authorization_servers=")
    return tuple(made)


def _verifiers(verifiers: Iterable[TokenVerifier]) -> tuple[TokenVerifier, ...]:
    if hasattr(verifiers, "verify_token"):
        raise TypeError("verifiers= takes a list of them")
    made = tuple(verifiers)
    for verifier in made:
        if not callable(getattr(verifier, "verify_token", None)):
            raise TypeError(
                f"a verifier has `async def verify_token(self, token)`, and {type(verifier).__name__} has not"
            )
    _check_users_are_told_apart(made)
    return made


def _check_users_are_told_apart(verifiers: Sequence[TokenVerifier]) -> None:
    """Refuse two introspection servers whose users could not be told apart (R-703).

    Others are told apart: by the issuer, or by the name that the authenticator gives to each verifier.

    Raises:
        ValueError: the text names both, and says what to write.
    """
    if len(verifiers) < 2:
        return
    from enfilade.auth.introspection import Introspection

    asked = [verifier for verifier in verifiers if isinstance(verifier, Introspection)]
    for first, second in combinations(asked, 2):
        if first.mixes_up(second):
            raise ValueError(
                f"{first!r} and {second!r} are on one host, and their users would be the same where answers name "
                "no issuer: give each its own, Introspection(..., issuer=...), or to both the same one if it is "
                "one authorization server"
            )


def _seconds(value: float, name: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}= is a number of seconds, not {value!r}")
    if not 0 <= value <= most:
        raise ValueError(f"{name}= is a number of seconds from 0 to {most:g}, not {value!r}")
    return float(value)
