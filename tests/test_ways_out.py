"""What authors who come from elsewhere reach for in objects, modules and settings says what to write."""

import importlib
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from enfilade import MCPApp, SettingsError
from enfilade.settings import Settings
from support.servers.calls_in_process import called


def component(module: str, name: str, *bases: type) -> Any:
    """Return an object of a class of another framework."""
    return type(name, bases, {"__module__": module})()


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (
            lambda app: app.add_tool(component("fastmcp.tools.base", "Tool")),
            "a Tool of fastmcp cannot be registered here: give its function: app.add_tool(fn, name=...)",
        ),
        (
            lambda app: app.add_tool(component("own", "Own", type(component("fastmcp.tools.base", "Tool")))),
            "a Tool of fastmcp cannot",
        ),
        (
            lambda app: app.add_prompt(component("mcp.server.mcpserver.prompts.base", "Prompt")),
            "a Prompt of the official SDK cannot be registered here: give its function: app.add_prompt(fn,",
        ),
        (
            lambda app: app.add_resource(component("fastmcp.resources.types", "TextResource")),
            "a TextResource of fastmcp cannot be registered here: app.add_text_resource(uri, text)",
        ),
        (
            lambda app: app.add_resource(component("fastmcp.resources.types", "TextResource"), "a://b"),
            "a TextResource of fastmcp cannot",
        ),
    ],
    ids=["tool", "own-tool", "prompt", "resource", "resource-with-uri"],
)
def test_components_of_other_frameworks(register: Callable[[MCPApp], Any], words: str) -> None:
    with pytest.raises(
        TypeError, match=re.escape(words) + r".*\(see docs/from-fastmcp\.md\)|" + re.escape(words)
    ):
        register(MCPApp())


def test_the_transport_of_2024() -> None:
    with pytest.raises(
        SettingsError,
        match="Input should be 'http': HTTP\\+SSE of 2024 is not served, and Streamable HTTP replaces it",
    ):
        MCPApp().run("sse")


def test_settings() -> None:
    with pytest.raises(AttributeError, match=r"Settings has no 'stateless_http': clients with and without"):
        _ = MCPApp().settings.stateless_http  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"^Settings has no 'prot'"):
        _ = Settings().prot  # type: ignore[attr-defined]
    assert not hasattr(Settings(), "nothing")


@pytest.mark.parametrize(
    ("name", "words"), [("auth", "who calls is ctx.principal"), ("_tool_manager", "look at app.tools")]
)
def test_attributes_of_the_app(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=words):
        getattr(MCPApp(), name)


def test_names_and_modules() -> None:
    with pytest.raises(ImportError, match=r"'Client' from 'enfilade\.client': connect\(app\) and connect\(url\)"):
        exec("from enfilade.client import Client")
    with pytest.raises(AttributeError, match=r"has no attribute 'Clint'"):
        _ = importlib.import_module("enfilade.client").Clint
    with pytest.raises(ModuleNotFoundError, match="providers are not there"):
        importlib.import_module("enfilade.contrib")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("from enfilade.auth import JWTVerifier", r"AuthorizationServer\(issuer, jwks_uri=\.\.\., audiences="),
        ("from enfilade.auth import RemoteAuthProvider", r"names authorization servers to clients"),
        ("from enfilade.auth import StaticTokenVerifier", r"APIKeys\("),
        ("from enfilade.auth import IntrospectionTokenVerifier", r"Introspection\(url, client_id"),
        ("from enfilade.auth import require_scopes", r"requires_scopes=\["),
        ("from enfilade.auth import get_access_token", r"ctx\.principal says who calls"),
        ("from enfilade.auth import GitHubProvider", r"OAuthProxy\(GitHub\.client\(id="),
        ("from enfilade.auth import AuthMiddleware", r"nothing is to be put around the app"),
        ("from enfilade.auth.providers.jwt import JWTVerifier", r"MCPApp\(auth=ResourceServer\("),
        ("from enfilade import ResourceServer", r"it is in enfilade\.auth"),
    ],
    ids=lambda value: value if value.startswith("from") else "",
)
def test_names_of_authorization(line: str, words: str) -> None:
    with pytest.raises(ImportError, match=rf"{words}.*\(see docs/from-fastmcp\.md\)"):
        exec(line)


def test_names_that_nobody_knows_are_missing_from_authorization() -> None:
    module = importlib.import_module("enfilade.auth")
    with pytest.raises(AttributeError, match=r"^module 'enfilade\.auth' has no attribute 'Nothing'$"):
        _ = module.Nothing
    with pytest.raises(AttributeError, match=r"OAuthProxy\(GitHub\.client"):
        _ = module.OIDCProxy


def of_fastmcp(name: str) -> Any:
    """Return an object of a class with the name and the module of one of FastMCP's."""

    async def verify_token(self: object, token: str) -> None: ...

    return type(name, (), {"__module__": "fastmcp.server.auth", "verify_token": verify_token})()


def test_objects_that_say_who_may_call() -> None:
    with pytest.raises(
        TypeError, match=r"auth= takes no OAuthProxy: OAuthProxy\(GitHub\.client\(.*of enfilade\.auth"
    ):
        MCPApp(auth=of_fastmcp("OAuthProxy"))
    with pytest.raises(TypeError, match=r"a JWTVerifier goes into its verifiers=\[...\]"):
        MCPApp(auth=of_fastmcp("JWTVerifier"))
    with pytest.raises(TypeError, match="middleware= takes no AuthMiddleware: nothing is to be put around"):
        MCPApp(middleware=[of_fastmcp("AuthMiddleware")])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("token_verifier", r"verifiers=\[verifier\]\) of enfilade\.auth takes it as it is"),
        ("auth_server_provider", r"OAuthProxy\(GitHub\.client"),
    ],
)
def test_options_of_authorization(option: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        MCPApp(**{option: object()})


def test_middleware_that_returns_no_result(caplog: pytest.LogCaptureFixture) -> None:
    async def only_names(request: Any, call_next: Any) -> Any:
        result = await call_next(request)
        return ["a"] if request.method == "tools/call" else result

    app = MCPApp(middleware=[only_names])

    @app.tool
    def one() -> int:
        return 1

    with caplog.at_level(logging.ERROR, "enfilade"), pytest.raises(KeyError):
        called(app, "one")  # which looks for the result in an error
    assert (
        "middleware only_names() returned list for tools/call where CallToolResult or ToolResult is due"
        in caplog.text
    )
