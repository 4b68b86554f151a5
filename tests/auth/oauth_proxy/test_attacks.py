"""Attacks on a login: on its code, its `state`, its browser, its redirects and its tokens (R-708, RFC 9700)."""

import secrets
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from support.authorization.proxy_client import REDIRECT_URI, ProxyClient, call, caller
from support.authorization.visitor import Page, Visitor


def test_a_code_is_redeemed_once(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """X-AUTH-23: whoever presents it again, with all that its client has, ends what it gave."""
    code = client.code(visitor)
    tokens = client.redeem(code).json()
    again = client.redeem(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert call(public_url, tokens["access_token"]).status_code == 401


def test_a_stolen_code_is_of_no_use(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """X-AUTH-23: not without the verifier, not to another client, not with another redirect URI, or resource."""
    code = client.code(visitor)
    thief = ProxyClient.registered(public_url)
    assert client.redeem(code, code_verifier="v" * 43).json()["error"] == "invalid_grant"
    assert client.redeem(code, code_verifier=None).json()["error"] == "invalid_request"
    assert thief.redeem(code, code_verifier=client.verifier).json()["error"] == "invalid_grant"
    assert client.redeem(code, redirect_uri="http://127.0.0.1:2/callback").json()["error"] == "invalid_grant"
    assert client.redeem(code, resource="https://other.example.com/mcp").json()["error"] == "invalid_target"
    assert client.redeem(code[:-2]).json()["error"] == "invalid_grant"
    tokens = client.redeem(code)
    assert tokens.status_code == 200, "nothing of that has used it up"
    assert client.redeem(code, code_verifier="v" * 43).json()["error"] == "invalid_grant"
    assert client.refresh(tokens.json()["refresh_token"]).status_code == 200, "a code alone ends no login"


def test_a_code_of_somebody_else_is_injected(client: ProxyClient, visitor: Visitor) -> None:
    """X-AUTH-23: the code of an attacker's login is of another PKCE than that of the victim's client."""
    with Visitor("mallory") as attacker:
        stolen = ProxyClient(client.public_url, client.client_id).code(attacker)
    client.code(visitor)
    assert client.redeem(stolen).json()["error"] == "invalid_grant"


def test_a_login_goes_on_in_its_own_browser(client: ProxyClient, visitor: Visitor) -> None:
    """R-708: neither the consent nor the way back is taken from another browser."""
    page = visitor.open(client.authorization_url())
    with Visitor() as other:
        foreign = other.press(page, decision="allow")
        assert foreign.status == 403
        assert "another browser" in foreign.text
        other.open(client.authorization_url())  # which has a cookie of its own then
        assert other.press(page, decision="allow").status == 403
    callback = _callback_of(visitor, page, client)
    with Visitor() as other:
        other.open(client.authorization_url())
        assert other.open(callback).status == 403
    assert "code" in client.returned(visitor.open(callback, client.redirect_uri))


@pytest.mark.parametrize("state", ["", "?state=", "?state=invented&code=c", "?code=c"])
def test_a_callback_that_nobody_has_asked_for(public_url: str, visitor: Visitor, state: str) -> None:
    """R-708: no login, no redirect."""
    page = visitor.open(f"{public_url}/oauth/callback{state}")
    assert page.status == 400
    assert "location" not in page.response.headers


def test_a_state_that_the_user_has_not_agreed_to(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """R-616: what the consent page has in its form is no `state` of the provider."""
    page = visitor.open(client.authorization_url())
    request = page.forms[0].fields["request"]
    answer = visitor.open(str(httpx.URL(f"{public_url}/oauth/callback", params={"state": request, "code": "c"})))
    assert answer.status == 400


def test_a_state_gives_one_code(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """R-708: with the same response of the provider another login at it begins, and that not for ever."""
    callback = _callback_of(visitor, visitor.open(client.authorization_url()), client)
    first = client.returned(visitor.open(callback, client.redirect_uri))["code"]
    for _ in range(2):
        page = visitor.open(callback, client.redirect_uri)
        assert client.returned(page)["code"] != first
        callback = next(url for url in reversed(page.trail) if "/oauth/callback" in url)
    assert visitor.open(callback, client.redirect_uri).status == 400
    stolen_code = parse_qs(urlsplit(callback).query)["state"][0]
    forged = str(httpx.URL(f"{public_url}/oauth/callback", params={"state": stolen_code, "code": "invented"}))
    assert visitor.open(forged).status == 400


def test_the_response_of_another_provider(client: ProxyClient, visitor: Visitor) -> None:
    """X-AUTH-23, RFC 9207: a mix-up is told by `iss`."""
    callback = _callback_of(visitor, visitor.open(client.authorization_url()), client)
    url = httpx.URL(callback).copy_set_param("iss", "https://evil.example.com")
    answer = client.returned(visitor.open(str(url), client.redirect_uri))
    assert answer["error"] == "server_error"
    assert "evil" not in str(answer)


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "https://evil.example.com/callback",
        "http://127.0.0.1:1/callback/../evil",
        "http://127.0.0.1:1/callback?more",
        "http://127.0.0.1:1/callback#fragment",
        "http://127.0.0.1:1@evil.example.com/callback",
        "http://127.0.0.1.evil.example.com:1/callback",
        "http://localhost:1/callback",
        "https://127.0.0.1:1/callback",
        "http://127.0.0.1:1/Callback",
        "javascript:alert(1)",
        "http://127.0.0.1:1/callback\r\nX: y",
        "//evil.example.com",
    ],
)
def test_nobody_is_sent_elsewhere(client: ProxyClient, visitor: Visitor, redirect_uri: str | None) -> None:
    """R-708: an exact match of what is registered, or a page and no redirect."""
    page = visitor.open(client.authorization_url(redirect_uri=redirect_uri))
    assert page.status == 400
    assert "location" not in page.response.headers
    assert "evil" not in page.html


def test_a_program_may_take_any_port(client: ProxyClient, visitor: Visitor) -> None:
    """X-AUTH-23, RFC 8252 §7.3."""
    client.redirect_uri = "http://127.0.0.1:45678/callback"
    assert client.redeem(client.code(visitor)).status_code == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"resource": "https://other.example.com/mcp"}, "invalid_target"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://evil.example.com"}, "request_uri_not_supported"),
        ({"state": "s" * 3000}, "invalid_request"),
    ],
)
def test_a_request_that_is_not_valid(
    public_url: str, client: ProxyClient, visitor: Visitor, changed: dict[str, str | None], error: str
) -> None:
    """X-AUTH-23: the client is told, with its `state` and with `iss`."""
    answer = client.returned(visitor.open(client.authorization_url(**changed), client.redirect_uri))
    assert (answer["error"], answer["iss"]) == (error, public_url)
    assert answer["state"] == changed.get("state", client.state)


@pytest.mark.parametrize("changed", [{"scope": "admin"}, {"prompt": "none"}, {"response_type": "token"}])
def test_a_link_leads_nowhere_by_itself(public_url: str, visitor: Visitor, changed: dict[str, str]) -> None:
    """RFC 9700 §4.11.2: whoever registers a site cannot send users of this server there with a bad request."""
    client = ProxyClient.registered(public_url, redirect_uris=["https://evil.example.com/back"])
    page = visitor.open(client.authorization_url(**changed))
    assert page.status == 400
    assert "location" not in page.response.headers
    assert "go back to evil.example.com" in page.text
    assert 'href="https://evil.example.com/back?error=' in page.html


def test_a_parameter_is_there_twice(client: ProxyClient, visitor: Visitor) -> None:
    """R-708: two readers could read two requests."""
    page = visitor.open(client.authorization_url() + "&redirect_uri=https%3A%2F%2Fevil.example.com")
    assert page.status == 400
    assert "location" not in page.response.headers


def test_refresh_tokens_rotate_and_reuse_ends_them(
    public_url: str, client: ProxyClient, visitor: Visitor
) -> None:
    """A23: the token before the last has been used by somebody else."""
    first = client.tokens(visitor)
    second = client.refresh(first["refresh_token"]).json()
    third = client.refresh(second["refresh_token"]).json()
    assert len({each["refresh_token"] for each in (first, second, third)}) == 3
    assert client.refresh(first["refresh_token"]).json()["error"] == "invalid_grant"
    assert client.refresh(third["refresh_token"]).json()["error"] == "invalid_grant"
    assert call(public_url, third["access_token"]).status_code == 401


def test_a_response_that_was_lost(client: ProxyClient, visitor: Visitor) -> None:
    """A23: the token before is taken once more, for a while, and has the same successor."""
    first = client.tokens(visitor)
    lost = client.refresh(first["refresh_token"])
    assert lost.status_code == 200
    second = client.refresh(first["refresh_token"])
    assert second.status_code == 200
    assert client.refresh(second.json()["refresh_token"]).status_code == 200


def test_refresh_tokens_are_of_their_client(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    tokens = client.tokens(visitor, scope="notes:read notes:write")
    thief = ProxyClient.registered(public_url)
    assert thief.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert client.refresh(tokens["refresh_token"], scope="admin").json()["error"] == "invalid_scope"
    narrowed = client.refresh(tokens["refresh_token"], scope="notes:read").json()
    assert narrowed["scope"] == "notes:read"
    whole = client.refresh(narrowed["refresh_token"]).json()
    assert caller(public_url, whole["access_token"])["scopes"] == ["notes:read", "notes:write"]


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_client_logs_out(public_url: str, client: ProxyClient, visitor: Visitor, kind: str) -> None:
    """A23, RFC 7009: with either token; another client ends nothing."""
    tokens = client.tokens(visitor)
    thief = ProxyClient.registered(public_url)
    for one in (thief, client):
        form = {"client_id": one.client_id, "token": tokens[kind]}
        assert httpx.post(f"{public_url}/oauth/revoke", data=form).status_code == 200
        expected = 200 if one is thief else 401
        assert call(public_url, tokens["access_token"]).status_code == expected
    assert client.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("kind", ["code", "refresh_token", "client_id"])
def test_what_is_no_access_token(public_url: str, client: ProxyClient, visitor: Visitor, kind: str) -> None:
    """R-610: nothing else that is sealed opens as one."""
    code = client.code(visitor)
    sealed = {
        "code": code,
        "client_id": client.client_id,
        "refresh_token": client.redeem(code).json()["refresh_token"],
    }
    token = "enf_at_" + sealed[kind].rpartition("_")[2]
    assert call(public_url, token).status_code == 401
    assert call(public_url, sealed[kind]).status_code == 401


def test_what_a_stranger_writes_is_in_no_header(public_url: str, client: ProxyClient, visitor: Visitor) -> None:
    """R-711: a `state` with line breaks comes back as it was, and is no header."""
    state = "a\r\nSet-Cookie: x=y\n" + secrets.token_hex(4)
    page = visitor.open(client.authorization_url(state=state, scope="admin"), REDIRECT_URI)
    assert client.returned(page)["state"] == state
    assert "x=y" not in str(page.response.headers.get_list("set-cookie"))
    name = ProxyClient.registered(public_url, client_name="<script>alert(1)</script>\r\nX: y\u202egnp.exe\x00")
    shown = visitor.open(name.authorization_url())
    assert "<script>" not in shown.html
    assert not {"\u202e", "\x00"} & set(shown.html)


def _callback_of(visitor: Visitor, page: Page, client: ProxyClient) -> str:
    """Let a user agree and log in, and return the URL of the way back, which is not opened."""
    callback = f"{client.public_url}/oauth/callback"
    return visitor.press(page, callback, decision="allow").trail[-1]
