"""B8: authorization by `ENFILADE_AUTH_RESOURCE`, `ENFILADE_AUTH_SERVERS` and the other variables of its kind."""

import asyncio
import logging
from typing import Any

import pytest

from enfilade import MCPApp, SettingsError
from enfilade.auth import ResourceServer
from enfilade.auth.from_settings import configured
from enfilade.cli.run import greet
from enfilade.setting_sources import load
from enfilade.settings import Settings
from enfilade.startup import gc_pause
from enfilade.testing import Issuer
from support.http_client.asgi_calls import AsgiClient

RESOURCE = "https://mcp.example.com/mcp"
IN_CODE = ResourceServer(RESOURCE, ["https://a.example"], scopes=["one"], list_by_scope=True)


def settings(**values: Any) -> Settings:
    return Settings(**values)


def test_the_variables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: a server whose code says nothing of authorization asks for tokens."""
    monkeypatch.setenv("ENFILADE_AUTH_RESOURCE", RESOURCE)
    monkeypatch.setenv("ENFILADE_AUTH_SERVERS", '["https://idp.example.com"]')
    monkeypatch.setenv("ENFILADE_AUTH_SCOPES", "notes:read,notes:write")
    reply = asyncio.run(AsgiClient(MCPApp("x")).modern("tools/list"))
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == (
        'Bearer resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", '
        'scope="notes:read notes:write"'
    )


def test_what_the_settings_say_replaces_what_the_code_says() -> None:
    """B8: the rest of it stays."""
    servers = (
        '[{"issuer": "https://b.example", "audiences": ["api"], "client_id": "me", "client_secret": "hush"}, '
        '{"issuer": "https://c.example", "clients_without_audience": ["app"]}]'
    )
    made = configured(IN_CODE, settings(auth_servers=servers))
    assert [server.issuer for server in made.authorization_servers] == ["https://b.example", "https://c.example"]
    assert made.authorization_servers[0].audiences == ("api",)
    assert made.authorization_servers[1].clients_without_audience == ("app",)
    assert (made.resource, made.scopes, made.list_by_scope) == (RESOURCE, ("one",), True)
    assert (
        configured(IN_CODE, settings(auth_resource="https://b.example/mcp")).resource == "https://b.example/mcp"
    )
    assert configured(IN_CODE, settings(auth_scopes=["two"])).scopes == ("two",)
    assert configured(IN_CODE, settings()).authorization_servers[0].issuer == "https://a.example"


#: For a setting of the details: its text, the argument that it replaces, and what that is then.
DETAILS: dict[str, tuple[str, str, Any]] = {
    "ENFILADE_AUTH_SCOPE_HIERARCHY": (
        '{"notes:write": ["notes:read"]}',
        "scope_hierarchy",
        {"notes:write": ("notes:read",)},
    ),
    "ENFILADE_AUTH_LIST_BY_SCOPE": ("true", "list_by_scope", True),
    "ENFILADE_AUTH_LEEWAY": ("0", "leeway", 0.0),
    "ENFILADE_AUTH_JWKS_STALE": ("60.5", "jwks_stale", 60.5),
    "ENFILADE_AUTH_DPOP": ("required", "dpop", "required"),
    "ENFILADE_AUTH_DPOP_NONCE": ("1", "dpop_nonce", True),
}
#: The other value of each, as code has it.
DETAILED = ResourceServer(
    RESOURCE,
    ["https://a.example"],
    scope_hierarchy={"a": ["b"]},
    list_by_scope=True,
    leeway=5,
    jwks_stale=5,
    dpop="required",
    dpop_nonce=True,
)


@pytest.mark.parametrize("variable", DETAILS)
def test_each_detail_replaces_what_the_code_says(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: and nothing else of it."""
    text, argument, expected = DETAILS[variable]
    monkeypatch.setenv(variable, text)
    made = configured(IN_CODE, load({}))
    assert getattr(made, argument) == expected
    rest = [name for _, name, _ in DETAILS.values() if name != argument]
    assert [getattr(made, name) for name in rest] == [getattr(IN_CODE, name) for name in rest]
    assert (made.scopes, made.resource) == (IN_CODE.scopes, IN_CODE.resource)


def test_a_detail_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: what is set to nothing is not the same as what is not set."""
    assert configured(DETAILED, load({})).dpop_nonce
    for variable, text in (
        ("SCOPE_HIERARCHY", "{}"),
        ("LIST_BY_SCOPE", "false"),
        ("JWKS_STALE", "0"),
        ("DPOP", "Off"),
        ("DPOP_NONCE", "off"),
    ):
        monkeypatch.setenv(f"ENFILADE_AUTH_{variable}", text)
    made = configured(DETAILED, load({}))
    assert (made.scope_hierarchy, made.list_by_scope, made.jwks_stale) == ({}, False, 0)
    assert (made.leeway, made.dpop, made.dpop_nonce) == (5, "off", False)


#: Variables with a text that each cannot have, and what is said of it.
IMPOSSIBLE = {
    "ENFILADE_AUTH_LIST_BY_SCOPE": ("some", "valid boolean"),
    "ENFILADE_AUTH_LEEWAY": ("61", "less than or equal to 60"),
    "ENFILADE_AUTH_JWKS_STALE": ("-1", "greater than or equal to 0"),
    "ENFILADE_AUTH_DPOP": ("always", "'off', 'allowed' or 'required'"),
    "ENFILADE_AUTH_DPOP_NONCE": ("5", "valid boolean"),
}


@pytest.mark.parametrize("variable", IMPOSSIBLE)
def test_an_impossible_detail_is_refused_when_it_is_read(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected = IMPOSSIBLE[variable]
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError, match=rf"\({variable}\): .*{expected}"):
        load({})


@pytest.mark.parametrize("variable", DETAILS)
def test_a_detail_alone_does_not_start_an_open_server(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: who sets one expects that callers are checked."""
    monkeypatch.setenv(variable, DETAILS[variable][0])
    app = MCPApp("x", transport="http", port=0)
    assert app.has_auth
    with pytest.raises(SettingsError, match=r"auth_resource \(ENFILADE_AUTH_RESOURCE\): it is missing"):
        app.run()


def test_the_scopes_of_a_hierarchy_count_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """B8, R-607: with the variables alone, and a token of a real issuer."""
    issuer = Issuer("https://idp.example.com", audience=RESOURCE)
    auth = ResourceServer(RESOURCE, [issuer.server()], scopes=["notes:read"])
    token = f"Bearer {issuer.token('ada', scope='notes:write')}"
    for variable, status in (("", 403), ('{"notes:write": ["notes:read"]}', 200)):
        monkeypatch.setenv("ENFILADE_AUTH_SCOPE_HIERARCHY", variable)
        app = MCPApp("x", auth=auth, settings=Settings(allowed_hosts=["mcp.example.com"]))
        assert asyncio.run(AsgiClient(app).modern("tools/list", authorization=token)).status == status


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"auth_servers": "hush"}, "auth_servers"),
    "a number": ({"auth_servers": "5"}, "auth_servers"),
    "a member that is none": ({"auth_servers": '[{"issuer": "https://a.example", "hush": 1}]'}, "auth_servers"),
    "an issuer that is no URL": ({"auth_servers": '["a.example"]'}, "auth_servers"),
    "an issuer over http": ({"auth_servers": '["http://a.example"]'}, "auth_servers"),
    "nobody": ({"auth_servers": "[]"}, "auth_servers"),
    "an algorithm that is none": (
        {"auth_servers": '{"issuer": "https://a.example", "algorithms": ["HS256"]}'},
        "auth_servers",
    ),
    "a resource over http": ({"auth_resource": "http://mcp.example.com/mcp"}, "auth_resource"),
    "a scope that is none": ({"auth_scopes": ["a b"]}, "auth_scopes"),
    "a hierarchy that is no JSON": ({"auth_scope_hierarchy": "a: b"}, "auth_scope_hierarchy"),
    "a hierarchy that is a list": ({"auth_scope_hierarchy": '["a"]'}, "auth_scope_hierarchy"),
    "a hierarchy of texts": ({"auth_scope_hierarchy": '{"a": "b"}'}, "auth_scope_hierarchy"),
    "a hierarchy of what is no scope": ({"auth_scope_hierarchy": '{"a": ["b c"]}'}, "auth_scope_hierarchy"),
    "a nonce without proofs": ({"auth_dpop": "off", "auth_dpop_nonce": True}, "auth_dpop_nonce"),
}


@pytest.mark.parametrize(("values", "setting"), WRONG.values(), ids=WRONG)
def test_wrong_settings_name_the_field(values: dict[str, Any], setting: str) -> None:
    """B8: and nothing of the text, which may hold a secret."""
    complete = {"auth_resource": RESOURCE, "auth_servers": '["https://a.example"]'} | values
    with pytest.raises(SettingsError, match=rf"{setting} \(ENFILADE_{setting.upper()}\): ") as raised:
        configured(None, settings(**complete))
    assert "hush" not in str(raised.value).replace("$.hush", "").replace("`hush`", "")


def test_no_proofs_for_the_nonce_of_the_code() -> None:
    with pytest.raises(SettingsError, match=r"auth_dpop \(ENFILADE_AUTH_DPOP\): dpop_nonce=True needs"):
        configured(DETAILED, settings(auth_dpop="off"))


@pytest.mark.parametrize("missing", ["auth_resource", "auth_servers"])
def test_one_without_the_other(missing: str) -> None:
    values = {"auth_resource": RESOURCE, "auth_servers": '["https://a.example"]'}
    del values[missing]
    with pytest.raises(SettingsError, match=rf"{missing} .*it is missing"):
        configured(None, settings(**values))


def test_the_start_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: before anybody calls."""
    monkeypatch.setenv("ENFILADE_AUTH_RESOURCE", RESOURCE)
    monkeypatch.setenv("ENFILADE_AUTH_SERVERS", "{")
    with pytest.raises(SettingsError, match="auth_servers"):
        MCPApp("x", transport="http", port=0).run()


@pytest.mark.parametrize("name", ["ENFILADE_AUTH_ISSUER", "ENFILADE_AUTH_RESOURCES"])
def test_a_misspelled_variable_does_not_open_the_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B8: to start without it would let everybody in."""
    monkeypatch.setenv(name, "https://idp.example.com")
    with pytest.raises(SettingsError, match=f"{name} is no setting.*ENFILADE_AUTH_SERVERS"):
        MCPApp("x", transport="http", port=0).run()


@pytest.mark.parametrize(("resource", "warns"), [(RESOURCE, False), ("https://mcp.example.com", True)])
def test_a_resource_without_the_path_of_the_endpoint(
    resource: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """R-612: clients compare the resource with the URL that they call."""
    app = MCPApp("x", transport="http", auth=ResourceServer(resource, ["https://a.example"]))
    app.tool(name="one")(lambda: 1)
    with caplog.at_level(logging.WARNING):
        app._prepare()
    gc_pause.resume()
    assert ("does not end in the path of the endpoint, /mcp" in caplog.text) == warns


def test_the_greeting_says_who_may_call(capsys: pytest.CaptureFixture[str]) -> None:
    greet(MCPApp("x", auth=IN_CODE), "http://127.0.0.1:8000/mcp")
    shown = capsys.readouterr().err
    assert f"{RESOURCE}, which is to lead to http://127.0.0.1:8000/mcp" in shown
    assert "Callers need a token of https://a.example (scope one)." in shown
    assert f"claude mcp add --transport http x {RESOURCE}" in shown


def test_a_secret_of_a_server_is_in_no_repr() -> None:
    text = '[{"issuer": "https://a.example", "client_secret": "hush-hush"}]'
    made = configured(None, settings(auth_resource=RESOURCE, auth_servers=text))
    for shown in (repr(settings(auth_servers=text)), repr(made), repr(made.authorization_servers)):
        assert "hush" not in shown


def test_stdio_says_that_it_has_no_tokens(caplog: pytest.LogCaptureFixture) -> None:
    """B9: one line, and no token is asked for."""
    app = MCPApp("x", auth=IN_CODE)

    @app.tool
    def one() -> int:
        """Return 1."""
        return 1

    with caplog.at_level(logging.WARNING):
        app._prepare()
    gc_pause.resume()
    assert [record.message for record in caplog.records if "stdio" in record.message] == [
        "auth= is for HTTP: over stdio the client is a user of this machine, without a token"
    ]
