"""The OAuth provider of tests and its visitor: as strict as real ones, with the faults that a test chooses."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from support.authorization.faulty_server import failing
from support.authorization.oauth_service import (
    AUTHORIZE,
    EXCHANGE,
    ON_BEHALF,
    REVOKE,
    TOKEN,
    WHOAMI,
    OAuthService,
)
from support.authorization.visitor import Visitor
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer

CALLBACK = "http://127.0.0.1:9/callback"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
CLIENT = {"client_id": "app", "client_secret": "s3cret-of-app"}


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService() as service:
        yield service


def visit(service: OAuthService, login: str | None = None, **parameters: str) -> dict[str, str]:
    """Return what a user brings back to the client."""
    query = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": CALLBACK,
        "state": "s",
        "scope": "repo user",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **parameters,
    }
    with Visitor(login) as visitor:
        page = visitor.open(f"{service.url(AUTHORIZE)}?{urlencode(query)}", until=CALLBACK)
    return dict(parse_qsl(urlsplit(page.trail[-1]).query))


def ask(
    service: OAuthService, path: str = TOKEN, *, accept: str = "application/json", **form: str
) -> httpx.Response:
    return httpx.post(service.url(path), data={**CLIENT, **form}, headers={"Accept": accept}, timeout=30)


def redeem(service: OAuthService, code: str, **form: str) -> httpx.Response:
    values = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **form}
    return ask(service, grant_type="authorization_code", **values)


def whoami(service: OAuthService, token: str) -> httpx.Response:
    return httpx.get(service.url(WHOAMI), headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_a_code_gives_tokens_once(service: OAuthService) -> None:
    """RFC 6749 §4.1, RFC 7636: a second redemption is refused and ends what the first has given."""
    answer = visit(service, login="bob")
    assert (answer["state"], answer["iss"]) == ("s", service.origin)
    assert redeem(service, answer["code"], code_verifier="w" * 43).json() == {"error": "invalid_grant"}
    tokens = redeem(service, answer["code"]).json()
    assert (tokens["scope"], tokens["expires_in"]) == ("repo user", 3600)
    assert whoami(service, tokens["access_token"]).json()["login"] == "bob"
    assert redeem(service, answer["code"]).status_code == 400
    assert whoami(service, tokens["access_token"]).status_code == 401
    assert service.grants.replayed_codes == 1
    assert {tokens["access_token"], tokens["refresh_token"], answer["code"]} <= service.secrets


def test_a_refresh_token_is_used_once_where_they_rotate(service: OAuthService) -> None:
    first = redeem(service, visit(service)["code"]).json()["refresh_token"]
    second = ask(service, grant_type="refresh_token", refresh_token=first).json()
    assert second["refresh_token"] != first
    assert ask(service, grant_type="refresh_token", refresh_token=first).json() == {"error": "invalid_grant"}
    assert service.grants.replayed_refresh_tokens == 1
    assert whoami(service, second["access_token"]).status_code == 401
    assert len(service.token_requests("refresh_token")) == 2


def test_refresh_tokens_that_stay(service: OAuthService) -> None:
    service.grants.rotates = False
    first = redeem(service, visit(service)["code"]).json()["refresh_token"]
    for _ in range(2):
        assert "refresh_token" not in ask(service, grant_type="refresh_token", refresh_token=first).json()


def test_what_a_user_may_come_back_with(service: OAuthService) -> None:
    service.denies = True
    assert visit(service)["error"] == "access_denied"
    service.denies, service.iss = False, "https://other.test"
    assert visit(service)["iss"] == "https://other.test"
    service.iss = None
    assert "iss" not in visit(service)
    assert visit(service, response_type="token")["error"] == "invalid_request"
    service.redirect_uris = {"http://127.0.0.1:9/other"}
    with Visitor() as visitor:
        query = urlencode({"client_id": "app", "redirect_uri": CALLBACK, "response_type": "code"})
        page = visitor.open(f"{service.url(AUTHORIZE)}?{query}", until=CALLBACK)
    assert (page.status, len(page.trail)) == (400, 1)


def test_less_than_what_is_asked_for_and_other_forms(service: OAuthService) -> None:
    service.granted, service.scope_separator, service.form_by_default = ["gist", "user"], ",", True
    service.expires_in, service.gives_refresh_tokens = None, False
    answer = ask(
        service,
        grant_type="authorization_code",
        code=visit(service)["code"],
        redirect_uri=CALLBACK,
        code_verifier=VERIFIER,
        accept="*/*",
    )
    values = dict(parse_qsl(answer.text))
    assert values["scope"] == "gist,user"
    assert not {"expires_in", "refresh_token"} & set(values)
    service.errors_with_200 = True
    refused = redeem(service, "unknown")
    assert (refused.status_code, refused.json()) == (200, {"error": "invalid_grant"})


@pytest.mark.parametrize(("method", "is_post"), [("client_secret_basic", False), ("client_secret_post", True)])
def test_clients_authenticate_as_they_may(service: OAuthService, method: str, is_post: bool) -> None:
    service.client_authentication = (method,)
    basic = httpx.post(service.url(TOKEN), auth=(CLIENT["client_id"], CLIENT["client_secret"]))
    posted = httpx.post(service.url(TOKEN), data=CLIENT)
    assert [basic.json()["error"], posted.json()["error"]] == (
        ["invalid_client", "unsupported_grant_type"] if is_post else ["unsupported_grant_type", "invalid_client"]
    )


def test_faults_are_by_path_and_by_grant(service: OAuthService) -> None:
    tokens = redeem(service, visit(service)["code"]).json()
    service.faults["refresh_token"] = failing(503)
    assert ask(service, grant_type="refresh_token", refresh_token=tokens["refresh_token"]).status_code == 503
    assert service.grants.replayed_refresh_tokens == 0
    del service.faults["refresh_token"]
    service.faults[WHOAMI] = Answer({}, 429, {"Retry-After": "7"})
    assert whoami(service, tokens["access_token"]).status_code == 429
    del service.faults[WHOAMI]
    assert ask(service, REVOKE, token=tokens["refresh_token"]).status_code == 200
    assert whoami(service, tokens["access_token"]).status_code == 401


@pytest.mark.parametrize(
    "form",
    [
        {
            "grant_type": EXCHANGE,
            "token": "subject_token",
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "audience": "https://api.example.com",
        },
        {"grant_type": ON_BEHALF, "token": "assertion", "requested_token_use": "on_behalf_of"},
    ],
)
def test_tokens_are_exchanged(service: OAuthService, form: dict[str, Any]) -> None:
    """RFC 8693, and the form of it that Entra has."""
    form = {"scope": "read", **form}
    member = form.pop("token")
    tokens = ask(service, **form, **{member: service.issuer.token("carol")}).json()
    assert whoami(service, tokens["access_token"]).json() == {
        "sub": "carol",
        "login": "carol",
        "scopes": ["read"],
    }
    assert ask(service, **form, **{member: "stolen"}).json() == {"error": "invalid_grant"}


def test_it_proves_who_the_visitor_is(service: OAuthService) -> None:
    code = visit(service, login="dora", scope="openid", nonce="n-1")["code"]
    id_token = redeem(service, code).json()["id_token"]
    payload = id_token.split(".")[1]
    claims = httpx.Response(200, content=base64.urlsafe_b64decode(payload + "==")).json()
    assert (claims["iss"], claims["sub"], claims["aud"], claims["nonce"]) == (
        *(service.origin, "dora", "app", "n-1"),
    )


PAGE = (
    '<style>p{color:red}</style><p>May <b>notes</b> see it?<form method="post" action="/go">'
    '<input type="hidden" name="csrf" value="c-1"><button>Continue</button></form>'
)


@pytest.mark.parametrize(
    "policy", ["default-src 'none'; form-action 'self' http://127.0.0.1:*", "form-action 'self'"]
)
def test_a_visitor_presses_buttons_as_browsers_do(policy: str) -> None:
    """Chromium holds `form-action` against redirects as well, and sends `Origin: null` for `no-referrer`."""

    def start(_: Received) -> Answer:
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Set-Cookie": "own=1"}
        return Answer(PAGE.encode(), headers=headers)

    with ScriptedHttpServer() as ours, ScriptedHttpServer() as other, Visitor() as visitor:
        ours.answers["/start"] = start
        ours.answers["/go"] = Answer(b"", 303, {"Location": f"{other.origin}/end"})
        other.answers["/end"] = Answer(b"<p>done")
        page = visitor.open(f"{ours.origin}/start")
        assert page.text == "May notes see it? Continue"
        if "*" not in policy:
            with pytest.raises(AssertionError, match="form-action"):
                visitor.press(page)
            return
        done = visitor.press(page)
        assert (done.text, len(done.trail)) == ("done", 2)
        (sent,) = (request for request in ours.received if request.path == "/go")
        assert (sent.body, sent.headers["Origin"], sent.headers["Cookie"]) == (b"csrf=c-1", "null", "own=1")
