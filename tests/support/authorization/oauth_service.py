"""An OAuth 2.0 provider for tests, such as GitHub, Slack and Google are: on a real socket, with faults by switch.

Users agree at once: who visits, is the cookie `login`, or else the attribute `user`. It is an OpenID Connect
provider as well, so it can prove who a visitor is.

Easy to get wrong: a service that is stricter or kinder than real ones. Codes and refresh tokens end with their
first use, PKCE is verified where the authorization request has a challenge, and redirect URIs must be equal.
"""

import base64
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from enfilade.testing import Issuer
from support.authorization.oauth_grants import Grant, GrantError, Grants
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer

AUTHORIZE = "/authorize"
TOKEN = "/token"
REVOKE = "/revoke"
USERINFO = "/userinfo"
WHOAMI = "/api/whoami"
JWKS = "/jwks"
OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ON_BEHALF = "urn:ietf:params:oauth:grant-type:jwt-bearer"

Fault = Answer | Callable[["Visit"], Answer | None]


@dataclass(frozen=True)
class Visit:
    """A request that has come, with its parameters."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]

    @classmethod
    def of(cls, request: Received) -> "Visit":
        path, _, query = request.path.partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        form = dict(parse_qsl(request.body.decode("utf-8", "replace")))
        return cls(request.method, path, dict(parse_qsl(query)), form, headers)

    @property
    def bearer(self) -> str:
        """The access token that came with it; empty if there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme.lower() == "bearer" else ""


class OAuthService(ScriptedHttpServer):
    """The provider, for the length of a `with` block.

    Args:
        clients: the secret of each client; empty for one without.

    Attributes:
        user: who visits a browser that has no cookie `login`.
        denies: whether the user says no.
        iss: what the redirect to the client has as `iss` (RFC 9207); None for none. By default its own issuer.
        redirect_uris: where it sends users; None for any.
        granted: which scopes it grants, whatever is asked for; None for those that are asked for.
        scope_separator: between scopes in a token response; GitHub has a comma there.
        expires_in: seconds for which access tokens are valid; None for ever, and no such member.
        gives_refresh_tokens: whether there are refresh tokens.
        form_by_default: whether a token response is form-encoded unless JSON is asked for, as GitHub's.
        errors_with_200: whether a refusal of the token endpoint has status 200, as GitHub's and Slack's.
        reshape: what becomes of a token response, such as `lambda it: {"ok": True, "authed_user": it}`.
        client_authentication: how clients may authenticate at the token endpoint.
        faults: what is answered in place of the right answer, by path, or by grant type at the token endpoint:
            `faults["refresh_token"] = failing(503)`. A function that returns None lets the right answer through.
        gates: an event to be waited for before a request has any effect, by path or grant type.
        grants: codes and tokens, and how often each was used again.
        visits: every request.
    """

    def __init__(self, clients: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.clients = dict(clients if clients is not None else {"app": "s3cret-of-app"})
        self.issuer = Issuer(self.origin)
        self.iss: str | None = self.origin
        self.user = "ada"
        self.denies = False
        self.redirect_uris: set[str] | None = None
        self.granted: list[str] | None = None
        self.scope_separator = " "
        self.expires_in: float | None = 3600
        self.gives_refresh_tokens = True
        self.form_by_default = self.errors_with_200 = False
        self.reshape: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self.client_authentication: Iterable[str] = ("client_secret_basic", "client_secret_post")
        self.faults: dict[str, Fault] = {}
        self.gates: dict[str, threading.Event] = {}
        self.grants = Grants()
        self.visits: list[Visit] = []
        self._lock = threading.Lock()
        self._right: dict[str, Callable[[Visit], Answer]] = {
            AUTHORIZE: self._authorize,
            TOKEN: self._token,
            REVOKE: self._revoke,
            USERINFO: self._whoami,
            WHOAMI: self._whoami,
            JWKS: lambda _: Answer(self.issuer.jwks()),
            OPENID: lambda _: Answer(self.metadata()),
            OAUTH: lambda _: Answer(self.metadata()),
        }

    def url(self, path: str) -> str:
        return self.origin + path

    def metadata(self) -> dict[str, Any]:
        """Return what discovery finds (RFC 8414, OpenID Connect)."""
        return {
            "issuer": self.origin,
            "authorization_endpoint": self.url(AUTHORIZE),
            "token_endpoint": self.url(TOKEN),
            "revocation_endpoint": self.url(REVOKE),
            "userinfo_endpoint": self.url(USERINFO),
            "jwks_uri": self.url(JWKS),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", EXCHANGE],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(self.client_authentication),
            "authorization_response_iss_parameter_supported": self.iss is not None,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.issuer.algorithm],
        }

    # -- what has come ---------------------------------------------------------------------------------------

    def visits_of(self, path: str) -> list[Visit]:
        """Return the requests for a path."""
        return [visit for visit in list(self.visits) if visit.path == path]

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return len(self.visits_of(path))

    def token_requests(self, grant_type: str) -> list[Mapping[str, str]]:
        """Return the parameters of the token requests of a grant type."""
        return [visit.form for visit in self.visits_of(TOKEN) if visit.form.get("grant_type") == grant_type]

    @property
    def secrets(self) -> set[str]:
        """Every code, token and client secret, none of which may be read anywhere."""
        return {*self.grants.issued, *filter(None, self.clients.values())}

    # -- answers ---------------------------------------------------------------------------------------------

    def answer(self, request: Received) -> Answer:
        """Return what is answered to a request, as soon as it may be."""
        visit = Visit.of(request)
        self.visits.append(visit)
        keys = [key for key in (visit.form.get("grant_type"), visit.path) if key]
        for key in keys:
            if (gate := self.gates.get(key)) is not None:
                gate.wait(30)
        for key in keys:
            fault = self.faults.get(key)
            answer = fault(visit) if callable(fault) else fault
            if answer is not None:
                if answer.gate is not None:
                    answer.gate.wait(30)
                return answer
        return self.right(visit)

    def right(self, visit: Visit) -> Answer:
        """Return the right answer to a request, which has its effect."""
        with self._lock:
            right = self._right.get(visit.path)
            return Answer({}, 404) if right is None else right(visit)

    def stop(self) -> None:
        """Close the port, and let those go who wait."""
        for gate in self.gates.values():
            gate.set()
        super().stop()

    def _authorize(self, visit: Visit) -> Answer:
        query = visit.query
        redirect_uri = query.get("redirect_uri", "")
        is_allowed = self.redirect_uris is None or redirect_uri in self.redirect_uris
        if query.get("client_id") not in self.clients or not redirect_uri or not is_allowed:
            return _page("No such client, or no such redirect URI.", 400)
        if query.get("response_type") != "code" or query.get("code_challenge_method", "S256") != "S256":
            answer = {"error": "invalid_request"}
        elif self.denies:
            answer = {"error": "access_denied", "error_description": "The user said no."}
        else:
            answer = {"code": self._code(visit, redirect_uri)}
        more = {"state": query.get("state"), "iss": self.iss}
        given = {name: value for name, value in {**answer, **more}.items() if value is not None}
        separator = "&" if "?" in redirect_uri else "?"
        return Answer(b"", 302, {"Location": f"{redirect_uri}{separator}{urlencode(given)}"})

    def _code(self, visit: Visit, redirect_uri: str) -> str:
        query = visit.query
        login = SimpleCookie(visit.headers.get("cookie", "")).get("login")
        asked = query.get("scope", "").replace(",", " ").split()
        grant = Grant(
            login.value if login is not None else self.user,
            query["client_id"],
            asked if self.granted is None else list(self.granted),
            query.get("resource"),
            query.get("nonce"),
        )
        return self.grants.new_code(grant, redirect_uri, query.get("code_challenge", ""))

    def _token(self, visit: Visit) -> Answer:
        try:
            answer = self._token_response(visit.form, self._client_of(visit))
        except GrantError as refusal:
            status = 401 if str(refusal) == "invalid_client" else 400
            return self._encoded(visit, {"error": str(refusal)}, 200 if self.errors_with_200 else status)
        return self._encoded(visit, self.reshape(answer), 200)

    def _encoded(self, visit: Visit, answer: dict[str, Any], status: int) -> Answer:
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if self.form_by_default and "application/json" not in visit.headers.get("accept", ""):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            return Answer(urlencode(answer).encode(), status, headers)
        return Answer(answer, status, headers)

    def _client_of(self, visit: Visit) -> str:
        """Return the id of the client that asks.

        Raises:
            GrantError: it is not known, its secret is another one, or this is not how clients authenticate here.
        """
        client_id, secret = visit.form.get("client_id", ""), visit.form.get("client_secret", "")
        method = "client_secret_post" if secret else "none"
        scheme, _, credentials = visit.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            method = "client_secret_basic"
            client_id, _, secret = map(unquote_plus, base64.b64decode(credentials).decode().partition(":"))
        known = self.clients.get(client_id)
        if known is None or known != secret or (known and method not in self.client_authentication):
            raise GrantError("invalid_client")
        return client_id

    def _token_response(self, form: Mapping[str, str], client_id: str) -> dict[str, Any]:
        match form.get("grant_type"):
            case "authorization_code":
                grant = self.grants.redeem(
                    form.get("code", ""), client_id, form.get("redirect_uri", ""), form.get("code_verifier", "")
                )
                refresh_token = self.grants.new_refresh_token(grant) if self.gives_refresh_tokens else None
                return self._response(grant, refresh_token)
            case "refresh_token":
                return self._response(*self.grants.use_refresh_token(form.get("refresh_token", ""), client_id))
            case "urn:ietf:params:oauth:grant-type:token-exchange":
                kind = "urn:ietf:params:oauth:token-type:access_token"
                if form.get("subject_token_type") != kind:
                    raise GrantError("invalid_request")
                answer = self._exchanged(form, client_id, "subject_token")
                return {**answer, "issued_token_type": kind}
            case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                if form.get("requested_token_use") != "on_behalf_of":
                    raise GrantError("invalid_request")
                return self._exchanged(form, client_id, "assertion")
        raise GrantError("unsupported_grant_type")

    def _exchanged(self, form: Mapping[str, str], client_id: str, member: str) -> dict[str, Any]:
        """Return a token for the user of a token of its own `issuer`."""
        try:
            keys = KeySet.import_key_set({"keys": self.issuer.jwks()["keys"]})
            claims = jwt.decode(form.get(member, ""), keys, algorithms=[self.issuer.algorithm]).claims
        except (JoseError, ValueError):
            raise GrantError("invalid_grant") from None
        scopes = form.get("scope", "").split() if self.granted is None else list(self.granted)
        return self._response(Grant(claims["sub"], client_id, scopes, form.get("audience")), None)

    def _response(self, grant: Grant, refresh_token: str | None) -> dict[str, Any]:
        answer = {
            "access_token": self.grants.new_access_token(grant, self.expires_in),
            "token_type": "Bearer",
            "scope": self.scope_separator.join(grant.scopes),
            "expires_in": self.expires_in,
            "refresh_token": refresh_token,
        }
        if "openid" in grant.scopes:
            answer["id_token"] = self.id_token(grant.user, grant.client_id, nonce=grant.nonce)
        return {name: value for name, value in answer.items() if value is not None}

    def id_token(self, user: str, client_id: str, **claims: Any) -> str:
        """Return an ID token (OpenID Connect Core §2)."""
        options: dict[str, Any] = {"header": {"typ": "JWT"}, "client_id": None, "scope": None, **claims}
        token = self.issuer.token(user, audience=client_id, **options)
        self.grants.issued.add(token)
        return token

    def _revoke(self, visit: Visit) -> Answer:
        try:
            self._client_of(visit)
        except GrantError as refusal:
            return Answer({"error": str(refusal)}, 401)
        self.grants.revoke(visit.form.get("token", ""))
        return Answer(b"", 200)

    def _whoami(self, visit: Visit) -> Answer:
        grant = self.grants.grant_of(visit.bearer)
        if grant is None:
            return Answer(
                {"message": "Bad credentials"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        return Answer({"sub": grant.user, "login": grant.user, "scopes": grant.scopes})


def _page(text: str, status: int) -> Answer:
    return Answer(f"<!doctype html><p>{text}".encode(), status, {"Content-Type": "text/html"})
