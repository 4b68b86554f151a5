"""Who may use a link and a callback: attacks on the pages, each by a browser over real sockets (A8, A9, A10)."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from support.authorization.desk import Desk, desk
from support.authorization.oauth_service import AUTHORIZE
from support.authorization.visitor import Page, Visitor

TOOL = "whoami_corp"


@pytest.fixture
def local() -> Iterator[Desk]:
    with desk() as it:
        yield it


@pytest.fixture
def shared() -> Iterator[Desk]:
    with desk(users=True) as it:
        yield it


def at_provider(desk: Desk, visitor: Visitor, user: str | None = None) -> Page:
    """Return the redirect to the provider, behind the button and the login."""
    page = visitor.press(visitor.open(desk.link(TOOL, user)), until=desk.service.url(AUTHORIZE))
    assert page.trail[-1].startswith(desk.service.url(AUTHORIZE))
    return page


def callback_of(desk: Desk, visitor: Visitor, user: str | None = None) -> str:
    """Return the URL with a code at which the browser would come back, and which it does not open."""
    page = at_provider(desk, visitor, user)
    return visitor.open(page.trail[-1], until=f"{desk.origin}/auth/callback").trail[-1]


def changed(url: str, **parameters: str | None) -> str:
    """Return a URL with other parameters; None for without."""
    parts = urlsplit(url)
    query = {
        name: value for name, value in {**dict(parse_qsl(parts.query)), **parameters}.items() if value is not None
    }
    return parts._replace(query=urlencode(query)).geturl()


# -- the link --------------------------------------------------------------------------------------------------


def test_the_link_says_nothing(shared: Desk) -> None:
    """A8: it is at this server, and each is another one."""
    links = {shared.link(TOOL, "ada") for _ in range(3)}
    assert len(links) == 3
    for link in links:
        parts = urlsplit(link)
        assert f"{parts.scheme}://{parts.netloc}" == shared.origin
        assert (parts.query, parts.fragment) == ("", "")
        id = parts.path.removeprefix("/auth/start/")
        assert len(id) >= 22
        assert not {"/", "ada", "corp", "read"} & {id, *id.lower().split("-")}


def test_the_page_is_safe(local: Desk) -> None:
    """A8: what is named on it, and the headers of every page."""
    with Visitor() as visitor:
        page = visitor.open(local.link(TOOL))
        pages = [page, visitor.press(page), visitor.open(page.url), visitor.open(f"{local.origin}/auth/callback")]
    for name in ("Desk", TOOL, "Corp", "read"):
        assert name in page.text
    assert [each.status for each in pages] == [200, 200, 410, 400]
    for each in pages:
        headers = each.response.headers
        policy = {directive.strip() for directive in headers["content-security-policy"].split(";")}
        assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= policy
        assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
        assert headers["x-content-type-options"] == "nosniff"
        assert "<script" not in each.html


def test_a_link_is_used_once(local: Desk) -> None:
    """A8: a link that led to the provider is 410, for whoever opens it or sends its form again."""
    with Visitor() as visitor, Visitor() as other:
        page = visitor.open(local.link(TOOL))
        elsewhere = other.open(page.url)
        visitor.press(page, until=local.service.url(AUTHORIZE))
        assert visitor.open(page.url).status == 410
        assert visitor.press(page).status == 410
        assert other.press(elsewhere).status == 410
        assert other.open(page.url).status == 410
        assert visitor.open(f"{page.url}x").status == 410
        assert visitor.open(f"{local.origin}/auth/start/").status == 410
    assert not local.is_allowed(TOOL)


def test_an_abandoned_link_locks_nobody_out(local: Desk) -> None:
    """A8."""
    with Visitor() as visitor:
        at_provider(local, visitor)
        assert visitor.agree(local.link(TOOL)).text.startswith("Done")
    assert local.is_allowed(TOOL)


def test_opening_a_link_changes_nothing(local: Desk) -> None:
    """A8: previews of links, of chat programs and mail scanners, neither use it up nor consent."""
    link = local.link(TOOL)
    with Visitor() as robot:
        for _ in range(3):
            assert robot.open(link).status == 200
    for verb in ("HEAD", "OPTIONS", "PUT", "DELETE"):
        httpx.request(verb, link, trust_env=False)
    with Visitor() as visitor:
        assert visitor.agree(link).text.startswith("Done")


FORGED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "without a cookie": lambda form: {"data": form.fields},
    "another token": lambda form: {"data": {"token": "0" * 64}, "cookies": {"enfilade-auth": "x" * 43}},
    "without a token": lambda _: {"data": {}, "cookies": {"enfilade-auth": "x" * 43}},
    "a token of another browser": lambda form: {"data": form.fields, "cookies": {"enfilade-auth": "y" * 43}},
    "too long": lambda form: {"data": {**form.fields, "more": "x" * 100_000}},
    "no form": lambda _: {"content": b"\xff\x00{}", "cookies": {"enfilade-auth": "x" * 43}},
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_form_goes_nowhere(local: Desk, case: str) -> None:
    """A8: the form of another site, which has neither the cookie nor the token that belongs to it."""
    link = local.link(TOOL)
    with Visitor() as visitor:
        (form,) = visitor.open(link).forms
        reply = httpx.post(link, **FORGED[case](form), headers={"Origin": "https://evil.test"}, trust_env=False)
        assert reply.status_code in (403, 413)
        assert "location" not in reply.headers
        assert local.service.count(AUTHORIZE) == 0
        assert visitor.agree(link).text.startswith("Done")


def test_the_token_of_a_form_is_that_of_its_link(local: Desk) -> None:
    """A8."""
    with Visitor() as visitor:
        first, second = (visitor.open(local.link(TOOL)) for _ in range(2))
        assert visitor.press(first, token=second.forms[0].fields["token"]).status == 403


@pytest.mark.parametrize(
    "parameter", ["redirect_uri", "next", "return_to", "url", "redirect", "continue", "state", "iss"]
)
def test_no_redirect_goes_where_a_link_says(local: Desk, parameter: str) -> None:
    """A10: no open redirect at any of the pages."""
    evil = "https://evil.test/x"
    with Visitor() as visitor:
        page = visitor.open(f"{local.link(TOOL)}?{urlencode({parameter: evil})}")
        sent = visitor.press(page, until=local.service.url(AUTHORIZE)).trail[-1]
        query = dict(parse_qsl(urlsplit(sent).query))
        assert query["redirect_uri"] == f"{local.origin}/auth/callback"
        assert "evil" not in sent
        back = visitor.open(f"{local.origin}/auth/callback?{urlencode({parameter: evil, 'code': 'x'})}")
        assert back.status == 400
        assert "evil" not in back.html


@pytest.mark.parametrize("host", ["evil.test", "evil.test:80", "127.0.0.1.evil.test", "a@127.0.0.1"])
def test_another_host_gets_no_page(local: Desk, host: str) -> None:
    """A9: a name that was rebound to this machine."""
    link = local.link(TOOL)
    for url in (link, f"{local.origin}/auth/callback?state=x"):
        reply = httpx.get(url, headers={"Host": host}, trust_env=False)
        assert reply.status_code in (400, 403, 421)
        assert "<form" not in reply.text


@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_a_proxy_is_not_the_user_of_this_machine(local: Desk, name: str) -> None:
    """A9: whoever comes through a proxy on this machine may be anybody."""
    link, callback = local.link(TOOL), ""
    with Visitor() as visitor:
        callback = callback_of(local, visitor)
        reply = httpx.get(callback, headers={name: "10.0.0.9"}, cookies=visitor.cookies, trust_env=False)
        assert reply.status_code == 403
    assert httpx.get(link, headers={name: "10.0.0.9"}, trust_env=False).status_code == 403
    params = {"name": TOOL, "arguments": {}}
    called = local.http.modern("tools/call", params, **{name.lower().replace("-", "_"): "10.0.0.9"})
    assert "does not know who calls" in called.result["content"][0]["text"]


# -- the way to the provider -----------------------------------------------------------------------------------


def test_the_authorization_request(local: Desk) -> None:
    """A3: a code with PKCE, a `state` of its own for each, the exact redirect URI, and nothing of the user."""
    with Visitor() as visitor:
        queries = [dict(parse_qsl(urlsplit(at_provider(local, visitor).trail[-1]).query)) for _ in range(3)]
    for query in queries:
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert len(query["code_challenge"]) == 43
        assert len(query["state"]) >= 22
        assert query["redirect_uri"] == f"{local.origin}/auth/callback"
        assert query["scope"] == "read"
    assert len({query["state"] for query in queries}) == len({query["code_challenge"] for query in queries}) == 3


# -- the callback ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_cookie", [False, True])
def test_a_callback_of_another_browser(local: Desk, has_cookie: bool) -> None:
    """A10: CSRF of the callback, in both directions. Somebody's code in another browser keeps no token.

    Nor is it worth anything afterwards to whoever has made them open it, and is shown the URL with the code.
    """
    with Visitor() as attacker, Visitor() as victim:
        if has_cookie:
            at_provider(local, victim)
        callback = callback_of(local, attacker)
        assert victim.open(callback).status == 400
        assert attacker.open(callback).status == 400
        assert local.service.token_requests("authorization_code") == []
        assert not local.is_allowed(TOOL)
        assert attacker.agree(local.link(TOOL)).text.startswith("Done")  # a new link is a new beginning


def test_a_callback_is_used_once(local: Desk) -> None:
    """A10: its replay is refused, and the code does not go to the provider again."""
    with Visitor() as visitor:
        callback = callback_of(local, visitor)
        assert visitor.open(callback).status == 200
        assert [visitor.open(callback).status for _ in range(3)] == [400] * 3
    assert len(local.service.token_requests("authorization_code")) == 1
    assert local.service.grants.replayed_codes == 0
    assert local.is_allowed(TOOL)


def test_of_callbacks_at_once_one_wins(local: Desk) -> None:
    """A10."""
    with Visitor() as visitor:
        callback = callback_of(local, visitor)
        cookies = dict(visitor.cookies)
    meeting = threading.Barrier(8)

    def come_back(_: int) -> int:
        meeting.wait(10)
        return httpx.get(callback, cookies=cookies, trust_env=False, timeout=30).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(threads.map(come_back, range(8)))
    assert statuses == [200] + [400] * 7
    assert len(local.service.token_requests("authorization_code")) == 1


BAD_STATES: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "unknown": "x" * 43,
    "no base64": "\u00e9%\r\n",
    "long": "x" * 20_000,
}


@pytest.mark.parametrize("case", BAD_STATES)
def test_a_bad_state(local: Desk, case: str) -> None:
    """A10."""
    with Visitor() as visitor:
        callback = callback_of(local, visitor)
        assert visitor.open(changed(callback, state=BAD_STATES[case])).status in (400, 414, 431)
        truncated = dict(parse_qsl(urlsplit(callback).query))["state"][:-1]
        assert visitor.open(changed(callback, state=truncated)).status == 400
        assert local.service.token_requests("authorization_code") == []
        assert visitor.open(callback).status == 200


def test_a_parameter_that_comes_twice(local: Desk) -> None:
    """A10, RFC 6749 §3.1: neither of two codes is redeemed."""
    with Visitor() as visitor:
        callback = callback_of(local, visitor)
        assert visitor.open(f"{callback}&code=another").status == 400
        assert visitor.open(f"{callback}&state=another").status == 400
    assert local.service.token_requests("authorization_code") == []


def test_a_code_of_somebody_else_is_worth_nothing(local: Desk) -> None:
    """A10: code injection. The attacker's code, at the victim's callback, has another verifier."""
    with Visitor("mallory") as attacker, Visitor("ada") as victim:
        stolen = dict(parse_qsl(urlsplit(callback_of(local, attacker)).query))["code"]
        page = victim.open(changed(callback_of(local, victim), code=stolen))
    assert page.status == 502
    assert stolen not in page.html
    assert not local.is_allowed(TOOL)
    assert len(local.service.token_requests("authorization_code")) == 1


@pytest.mark.parametrize("iss", ["https://evil.test", "", "http://127.0.0.1"])
def test_another_issuer(local: Desk, iss: str) -> None:
    """A10, RFC 9207: the code goes nowhere."""
    local.service.iss = iss
    with Visitor() as visitor:
        page = visitor.agree(local.link(TOOL))
    assert page.status == 400
    assert "evil" not in page.html
    assert local.service.token_requests("authorization_code") == []
    assert not local.is_allowed(TOOL)


def test_mixed_up_providers() -> None:
    """A10: a code of one provider at the callback of another is sent to neither, or is refused there."""
    with desk("corp", "evil") as it, Visitor() as visitor:
        corp, evil = it.services["corp"], it.services["evil"]
        stolen = callback_of(it, visitor)
        page = visitor.press(visitor.open(it.link("whoami_evil")), until=evil.url(AUTHORIZE))
        state = dict(parse_qsl(urlsplit(page.trail[-1]).query))["state"]
        mixed = changed(stolen, state=state)  # with the `iss` of corp
        assert visitor.open(mixed).status == 400
        assert evil.token_requests("authorization_code") == []
        assert corp.token_requests("authorization_code") == []
        assert visitor.open(changed(stolen, iss=None)).status == 200  # whose it is; `iss` is optional here


def test_a_refusal_is_told_on_the_page(local: Desk) -> None:
    """A10."""
    local.service.denies = True
    with Visitor() as visitor:
        link = local.link(TOOL)
        page = visitor.agree(link)
        assert "no access" in page.text.lower()
        assert visitor.open(page.url).status == 400
        assert visitor.open(link).status == 410
    assert not local.is_allowed(TOOL)


MARKUP = "<script>alert(1)</script>\r\nSet-Cookie: x=y\x1b[31m\u202egnp"


@pytest.mark.parametrize("name", ["error", "error_description", "error_uri", "iss", "code", "state"])
def test_what_a_callback_says_is_no_markup(local: Desk, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A10, A18: neither on the page, nor in a header, nor in the log, nor told to the model."""
    with Visitor() as visitor:
        callback = changed(callback_of(local, visitor), code=None, iss=None)
        parameters = {"error": "server_error", name: MARKUP} if name != "code" else {"code": MARKUP}
        page = visitor.open(changed(callback, **parameters))
    for text in (page.html, repr(page.response.headers), caplog.text, local.call(TOOL).body.decode()):
        for bad in ("<script>alert", "\x1b", "\u202e", "x=y"):
            assert bad not in text


ODD_SCOPES = ["read", "a\x1b[31mb", "<script>alert(1)</script>", 'quo"te', "r\u202eead", "x" * 5000]


def test_what_a_provider_grants_is_no_text(local: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """A16, A18: what cannot be a scope comes neither to the model nor to a page, the log or the next request."""
    local.service.reshape = lambda answer: {**answer, "scope": ODD_SCOPES, "extra": {"\x1b": [1] * 1000}}
    assert local.consent(TOOL).status == 200
    assert local.text(TOOL) == "ada"
    told = local.call("write_corp").body.decode()
    with Visitor() as visitor:
        page = visitor.open(local.link("write_corp"))
        sent = visitor.press(page, until=local.service.url(AUTHORIZE)).trail[-1]
    assert set(dict(parse_qsl(urlsplit(sent).query))["scope"].split()) >= {"read", "write"}
    for text in (told, page.html, caplog.text, sent):
        for bad in ("\x1b", "\\u001b", "%1B", "\u202e", "\\u202e", "x" * 1000):
            assert bad not in text
    assert "<script>" not in page.html


def test_the_cookie_is_that_of_this_host() -> None:
    """A9: over https no other host of the domain can set it, and under another name it counts for nothing."""
    address = {"Host": "mcp.example.com", "X-Forwarded-Proto": "https"}
    with desk(users=True, public=True) as it:
        link = it.link(TOOL, "ada").replace("https://mcp.example.com", it.origin)
        page = httpx.get(link, headers=address, trust_env=False)
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-enfilade-auth=")
        assert {"Secure", "Path=/", "HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        value = cookie.partition("=")[2].partition(";")[0]
        (form,) = Page(page, ()).forms
        for name, status in (("enfilade-auth", 403), ("__Host-enfilade-auth", 303)):
            headers = {**address, "Cookie": f"{name}={value}"}
            assert httpx.post(link, data=form.fields, headers=headers, trust_env=False).status_code == status


# -- other users -----------------------------------------------------------------------------------------------


def test_only_the_user_who_asked_can_consent(shared: Desk) -> None:
    """A9, R-545, R-718: whoever else opens the link is told so; nobody gets a token, and the link goes on."""
    link = shared.link(TOOL, "ada")
    with Visitor("mallory") as other:
        page = other.agree(link)
        assert page.status == 403
        assert "somebody else" in page.text
        assert other.open(page.url).status == 400
    assert shared.service.count(AUTHORIZE) == 0
    assert not shared.is_allowed(TOOL, "ada")
    assert not shared.is_allowed(TOOL, "mallory")
    with Visitor("ada") as visitor:
        assert visitor.agree(link).text.startswith("Done")
    assert shared.text(TOOL, "ada") == "ada"
    assert not shared.is_allowed(TOOL, "mallory")


def test_nobody_is_led_to_give_their_token_away(shared: Desk) -> None:
    """R-545: the attacker has logged in, and sends the victim on to the provider."""
    with Visitor("mallory") as attacker, Visitor("ada") as victim:
        to_provider = at_provider(shared, attacker, "mallory").trail[-1]
        assert victim.open(to_provider).status == 400
        assert shared.service.token_requests("authorization_code") == []
        # Not even with a cookie of the attacker's choice under a name that is not that of this site.
        victim.cookies.set("enfilade-auth", "z" * 43, domain="127.0.0.1")
        assert victim.open(to_provider).status == 400
    assert not shared.is_allowed(TOOL, "mallory")


def test_the_login_is_for_one_link_and_one_browser(shared: Desk) -> None:
    """A9: neither the redirect of a login nor its code is good for another link, or another browser."""
    assert shared.issuer is not None
    with ExitStack() as stack:
        ada, bob = (stack.enter_context(Visitor(name)) for name in ("ada", "bob"))
        back = f"{shared.origin}/auth/login/callback"
        logins = []
        for visitor, user in ((ada, "ada"), (bob, "bob")):
            page = visitor.press(visitor.open(shared.link(TOOL, user)), until=shared.issuer.url(AUTHORIZE))
            logins.append(visitor.open(page.trail[-1], until=back).trail[-1])
        codes = [dict(parse_qsl(urlsplit(login).query))["code"] for login in logins]
        assert ada.open(logins[1]).status == 400  # of another browser
        assert bob.open(changed(logins[1], code=codes[0])).status == 400  # the code of another login
        assert bob.open(logins[1]).status == 400  # used up
        page = ada.open(logins[0], until=shared.service.url(AUTHORIZE))
        assert page.trail[-1].startswith(shared.service.url(AUTHORIZE))
        assert ada.open(logins[0]).status == 400
    assert not shared.is_allowed(TOOL, "bob")


LOGIN_FAULTS: dict[str, dict[str, Any]] = {
    "of another user": {"sub": "ada2"},
    "of another issuer": {"iss": "https://evil.test"},
    "for another client": {"audience": "another"},
    "of another login": {"nonce": "another"},
    "expired": {"expires_in": -600},
    "old": {"iat": 1_700_000_000},
    "without an end": {"exp": None},
    "without a user": {"sub": ""},
    "for others as well": {"azp": "another"},
}


@pytest.mark.parametrize("case", LOGIN_FAULTS)
def test_a_login_that_proves_nothing(shared: Desk, case: str) -> None:
    """A9, R-545: a bad ID token, of an issuer that answers."""
    assert shared.issuer is not None
    issuer, right = shared.issuer, shared.issuer.id_token
    numbers = itertools.count()

    def forged(user: str, client_id: str, **claims: Any) -> str:
        next(numbers)
        changes = dict(LOGIN_FAULTS[case])
        return right(user, changes.pop("audience", client_id), **{**claims, **changes})

    issuer.id_token = forged  # type: ignore[method-assign]
    with Visitor("ada") as visitor:
        page = visitor.agree(shared.link(TOOL, "ada"))
    assert page.status in (400, 403)
    assert next(numbers) == 1
    assert shared.service.count(AUTHORIZE) == 0
    assert not shared.is_allowed(TOOL, "ada")


def test_an_access_token_is_no_login(shared: Desk) -> None:
    """A9: the token by which a client calls is not the proof of a visitor."""
    link = shared.link(TOOL, "ada")
    with Visitor("mallory") as visitor:
        page = visitor.open(link)
        (form,) = page.forms
        reply = httpx.post(
            link, data=form.fields, headers=shared.headers("ada"), cookies=visitor.cookies, trust_env=False
        )
        assert shared.issuer is not None
        assert reply.headers["location"].startswith(shared.issuer.url(AUTHORIZE))
