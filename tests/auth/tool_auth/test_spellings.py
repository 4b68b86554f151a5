"""Tokens under the names of `arcade-mcp-server`, static tokens, and several providers (A2, A20)."""

from collections.abc import Iterator

import pytest

from enfilade import Context, MCPApp, text_of
from enfilade.auth import GitHub, Slack, StaticToken
from enfilade.settings import Settings
from enfilade.testing import connect
from support.authorization.oauth_service import OAuthService
from support.authorization.tool_app import CLIENT, SECRET, consenting, provider_at
from support.harness import Serving

pytestmark = pytest.mark.anyio


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


async def test_the_names_of_arcade(service: OAuthService) -> None:
    corp = provider_at(service)
    app = MCPApp("Files", tool_auth=[corp.client(id=CLIENT, secret=SECRET)])

    @app.tool(requires_auth=corp(scopes=["read"]))
    async def whoami(context: Context) -> str:
        assert context.get_auth_token_or_empty() == context.authorization.token == context.auth.token
        return str(context.authorization.user_info["login"])

    @app.tool
    async def nothing(context: Context) -> str:
        return repr(context.get_auth_token_or_empty())

    async with connect(app, answers=consenting("ada")) as client:
        assert text_of(await client.call_tool("whoami")) == "ada"
        assert text_of(await client.call_tool("nothing")) == "''"


async def test_several_providers(service: OAuthService) -> None:
    """A2: each is asked for, one after the other, and the tool names which it means."""
    corp, second = provider_at(service), provider_at(service).client(CLIENT, SECRET)
    other = type(second)(**{**vars(second), "id": "other", "title": "Other"})
    app = MCPApp("Files", tool_auth=[corp.client(id=CLIENT, secret=SECRET), other])

    @app.tool(requires_auth=[corp(scopes=["read"]), other(scopes=["write"])])
    async def both(ctx: Context) -> str:
        grants = [service.grants.grant_of(ctx.auth[name].token) for name in ctx.auth]
        return " ".join(scope for grant in grants if grant for scope in grant.scopes)

    @app.tool(requires_auth=[corp(scopes=["read"]), other(scopes=["write"])])
    async def vague(ctx: Context) -> str:
        return ctx.auth.token

    for era in ("session", "stateless"):
        async with connect(app, era=era, answers=consenting("ada")) as client:
            assert text_of(await client.call_tool("both")) == "read write"
            assert len(client.questions) == (2 if era == "session" else 0)
            result = await client.call_tool("vague")
            assert result.is_error
            assert 'ctx.auth["…"]' in text_of(result)


def test_a_provider_that_is_named_twice() -> None:
    app = MCPApp("twice")

    def work() -> str:
        return "done"

    with pytest.raises(ValueError, match="names github twice"):
        app.tool(requires_auth=[GitHub(scopes=["repo"]), GitHub(scopes=["gist"])])(work)
    with pytest.raises(ValueError, match="tool_auth= has github twice"):
        MCPApp("twice", tool_auth=[GitHub.client(id="a"), StaticToken("github", env="GITHUB_TOKEN")])


async def test_a_token_that_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """A20: for one's own machine, and nobody else's."""
    app = MCPApp(
        "Own",
        tool_auth=[StaticToken("github", env="GITHUB_TOKEN"), StaticToken("slack", token="of slack")],
        settings=Settings(allowed_hosts=["mcp.example.com"]),
    )

    @app.tool(requires_auth=[GitHub(scopes=["repo"]), Slack()])
    async def tokens(ctx: Context) -> str:
        return f"{len(ctx.auth['github'].token)} {ctx.auth['github'].scopes} {len(ctx.auth['slack'].token)}"

    async with connect(app) as client:
        result = await client.call_tool("tokens")
        assert "GitHub" in text_of(result)
        assert "is not set" in text_of(result)
        monkeypatch.setenv("GITHUB_TOKEN", "of github")
        assert text_of(await client.call_tool("tokens")) == "9 ('repo',) 8"
    with Serving(app) as serving:
        url = f"http://127.0.0.1:{serving.port}/mcp"
        async with connect(url, headers={"Host": "mcp.example.com"}) as client:
            result = await client.call_tool("tokens")
            assert result.is_error
            assert "for its own user" in text_of(result)
    assert "of slack" not in repr(app._tool_auth_given)
