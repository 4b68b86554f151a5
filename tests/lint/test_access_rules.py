"""`enfilade check` knows of scopes, secrets and what lists hide."""

import asyncio
from typing import Any

import pytest

from enfilade import Context, MCPApp, Settings
from enfilade.assembly import warn_of_open_secrets
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from enfilade.client.surface import Surface, read_surface
from enfilade.lint import run
from enfilade.lint.run import check
from enfilade.testing import connect

KEYS = APIKeys({hash_key("key-of-a-test"): Principal("ci")})
AUTH = ResourceServer("https://mcp.example.com/mcp", verifiers=[KEYS])


def never(principal: object, peer: object) -> bool:
    return False


def text() -> str:
    """Return a text."""
    return "text"


def make_app(auth: ResourceServer | None = None, host: str = "127.0.0.1") -> MCPApp:
    app = MCPApp("checked", auth=auth, host=host)
    app.add_tool(
        text, requires_scopes=["notes:write"], requires_secrets=["KEY"], annotations={"readOnlyHint": True}
    )
    app.add_prompt(text, name="draft", requires_scopes=["a", "b"])
    return app


def found(app: MCPApp) -> list[tuple[str, str]]:
    return [(finding.rule, finding.where) for finding in asyncio.run(check(app)).findings]


SCOPES = [("scopes-without-auth", "tool text"), ("scopes-without-auth", "prompt draft")]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "mcp.example.com"])
def test_scopes_and_secrets_without_auth(host: str) -> None:
    """B9: nobody has scopes where nobody is known, and everybody has the secrets of an open port."""
    secrets = [] if host in ("127.0.0.1", "localhost") else [("secrets-without-auth", "tool text")]
    assert found(make_app(host=host)) == [*SCOPES, *secrets]
    assert found(make_app(AUTH, host)) == []


def test_a_cache_for_all_of_what_is_one_callers() -> None:
    app = MCPApp("cached", auth=AUTH)
    reads = {"annotations": {"read_only_hint": True}, "description": "Reads.", "cache": 60}

    async def mine(ctx: Context) -> str:
        return str(ctx.principal)

    async def reports(ctx: Context) -> str:
        await ctx.progress.report(1)
        return "text"

    app.add_tool(mine, **reads, cache_per="all")  # type: ignore[arg-type]
    app.add_tool(mine, name="own", **reads)  # type: ignore[arg-type]
    app.add_tool(reports, **reads, cache_per="all")  # type: ignore[arg-type]
    app.add_tool(text, **reads, cache_per="all")  # type: ignore[arg-type]
    assert found(app) == [("shared-cache", "tool mine")]


def hiding_app() -> MCPApp:
    app = MCPApp("hiding")
    app.add_tool(text, name="open")
    app.add_tool(lambda: "x", name="secret", visible=never)
    app.add_resource(lambda: "x", "a://b", name="b", visible=never)
    return app


HIDDEN = {("tool-description", "tool secret"), ("description", "resource a://b")}


@pytest.mark.anyio
async def test_what_lists_hide_is_checked_and_stays_hidden() -> None:
    """B14: from every other client, during the check and after it, with the pages that the check made ready."""
    app = hiding_app()
    async with connect(app) as before:
        findings = (await check(app)).findings
        assert {(finding.rule, finding.where) for finding in findings} >= HIDDEN
        async with connect(app) as after:
            for client in (before, after):
                assert [tool.name for tool in (await client.list_tools()).tools] == ["open"]


@pytest.mark.anyio
async def test_a_client_during_the_check_sees_its_own_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """B14: what the check may see is a property of its requests, not of the server."""
    app = hiding_app()
    seen: list[list[str]] = []

    async def read(client: Any) -> Surface:
        surface = await read_surface(client)
        async with connect(app) as other:
            seen.append([tool.name for tool in (await other.list_tools()).tools])
        return surface

    monkeypatch.setattr(run, "read_surface", read)
    async with app.running():
        findings = (await check(app)).findings
    assert {(finding.rule, finding.where) for finding in findings} >= HIDDEN
    assert seen == [["open"]] * 2


def test_the_start_warns_of_secrets_on_an_open_port(caplog: pytest.LogCaptureFixture) -> None:
    """B9: where other machines reach it, over HTTP, and nobody is asked who they are."""
    app = make_app()
    for transport, host, warned in (("http", "127.0.0.1", 0), ("stdio", "0.0.0.0", 0), ("http", "0.0.0.0", 1)):
        caplog.clear()
        warn_of_open_secrets(app, Settings(transport="http" if transport == "http" else "stdio", host=host))
        assert caplog.text.count("text: with the secrets of this server") == warned, (transport, host)
