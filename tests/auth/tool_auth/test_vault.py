"""What is kept of tokens: at rest, before they end, when they are refused or revoked (A2, A12 to A17)."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from enfilade import Context, MCPApp, text_of
from enfilade.auth import GitHub, OAuth2
from enfilade.testing import connect
from support.authorization.oauth_service import REVOKE, TOKEN, OAuthService
from support.authorization.tool_app import CLIENT, SECRET, consenting, provider_at, tool_app
from support.servers.scripted_http_server import Answer

pytestmark = pytest.mark.anyio
OLD, NEW = "o" * 40, "n" * 40


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


async def called(app: MCPApp, tool: str = "whoami", principal: str | None = "ada", login: str = "ada") -> Any:
    async with connect(app, transport="http", principal=principal, answers=consenting(login)) as client:
        result = await client.call_tool(tool)
    return result, len(client.questions)


# -- at rest ----------------------------------------------------------------------------------------------------


async def test_no_token_is_in_the_database(service: OAuthService, database: str, tmp_path: Path) -> None:
    """A12: neither in the file nor in its log, and not the secret of the client."""
    app = tool_app(service, store=database, secret=OLD)
    result, asked = await called(app, principal=None)
    assert (text_of(result), asked) == ("ada: read", 1)
    await app.store.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert len(content) > 1000
    for secret in service.secrets:
        assert secret.encode() not in content
    assert b"ada" not in content


async def test_a_token_survives_the_process(service: OAuthService, database: str) -> None:
    await called(tool_app(service, store=database, secret=OLD), principal=None)
    result, asked = await called(tool_app(service, store=database, secret=OLD), principal=None)
    assert (text_of(result), asked) == ("ada: read", 0)


async def test_rows_that_were_swapped_are_unreadable(
    service: OAuthService, database: str, tmp_path: Path
) -> None:
    """A12: of two clients of one user, so that no user gets another one's token."""
    corp = provider_at(service)
    service.clients["other"] = SECRET
    apps = [
        tool_app(service, store=database, secret=OLD, tool_auth=[corp.client(id=id, secret=SECRET)])
        for id in (CLIENT, "other")
    ]
    for app, user in zip(apps, ("ada", "bob"), strict=True):
        await called(app, principal=None, login=user)
        await app.store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as rows, rows:
        table, key, value = table_of_keys(rows)
        found = rows.execute(f"SELECT {key}, {value} FROM {table} WHERE {key} LIKE 'tool_token:%'").fetchall()
        assert len(found) == 2
        for (name, _), (_, content) in zip(found, reversed(found), strict=True):
            rows.execute(f"UPDATE {table} SET {value} = ? WHERE {key} = ?", (content, name))
    for id in (CLIENT, "other"):
        app = tool_app(service, store=database, secret=OLD, tool_auth=[corp.client(id=id, secret=SECRET)])
        result, asked = await called(app, principal=None, login="carol")
        assert (text_of(result), asked) == ("carol: read", 1)


def table_of_keys(rows: sqlite3.Connection) -> tuple[str, str, str]:
    """Return the table with the keys of the store, and its columns for key and value."""
    for (table,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [column[1] for column in rows.execute(f"PRAGMA table_info({table})")]
        if {"key", "value"} <= set(columns):
            return table, "key", "value"
    raise AssertionError("there is no table of keys")


async def test_a_change_of_secrets(service: OAuthService, database: str) -> None:
    """A12: old entries are read, and encrypted with the new secret when they are written."""
    await called(tool_app(service, store=database, secret=OLD), principal=None)
    service.grants.end_access_tokens()  # so that it is refreshed, and written
    result, asked = await called(tool_app(service, store=database, secret=[NEW, OLD]), principal=None)
    assert (text_of(result), asked) == ("ada: read", 0)
    result, asked = await called(tool_app(service, store=database, secret=[NEW]), principal=None)
    assert (text_of(result), asked) == ("ada: read", 0)


# -- refresh ----------------------------------------------------------------------------------------------------


async def test_a_token_that_ends_soon_is_refreshed(service: OAuthService) -> None:
    """A14: before the tool runs, once for all calls that need it; a refresh token that rotates is replaced."""
    service.expires_in = 30
    app = tool_app(service)
    async with connect(app, answers=consenting("ada")) as client:
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        service.expires_in = 3600
        before = len(service.token_requests("refresh_token"))
        results = await asyncio.gather(*(client.call_tool("whoami") for _ in range(20)))
        assert {text_of(result) for result in results} == {"ada: read"}
        assert len(service.token_requests("refresh_token")) == before + 1
        service.grants.end_access_tokens()
        assert text_of(await client.call_tool("whoami")) == "ada: read"  # by the refresh token that came then
    assert service.grants.replayed_refresh_tokens == 0


async def test_a_grant_that_has_ended(service: OAuthService) -> None:
    """A14: `invalid_grant` deletes the entry, and the user is asked anew."""
    app = tool_app(service)
    async with connect(app, answers=consenting("ada")) as client:
        await client.call_tool("whoami")
        service.grants.end()
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert len(client.questions) == 2


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_provider_that_is_away(service: OAuthService, status: int) -> None:
    """A14: the old token while it is good, or else told to try again."""
    service.expires_in = 45
    app = tool_app(service)
    async with connect(app, answers=consenting("ada")) as client:
        await client.call_tool("whoami")
        service.faults[TOKEN] = Answer(b"down", status)
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        service.grants.end_access_tokens()
        result = await client.call_tool("whoami")
        assert result.is_error
        assert "try again in a minute" in text_of(result)
        del service.faults[TOKEN]
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert len(client.questions) == 1


async def test_a_token_that_the_service_refuses(service: OAuthService) -> None:
    """A15: one forced refresh and one rerun."""
    app = tool_app(service)
    async with connect(app, answers=consenting("ada")) as client:
        await client.call_tool("whoami")
        service.grants.end_access_tokens()
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert len(client.questions) == 1
    assert len(service.token_requests("refresh_token")) == 1


@pytest.mark.parametrize("says_first", [True, False])
async def test_a_tool_that_always_refuses(service: OAuthService, says_first: bool) -> None:
    """A15: never a loop, and no rerun once the client was sent something."""
    app, runs = tool_app(service), 0

    @app.tool(requires_auth=provider_at(service)(scopes=["read"]))
    async def refuse(ctx: Context) -> str:
        nonlocal runs
        runs += 1
        if says_first:
            ctx.log.info("at work")
        raise ctx.auth.rejected()

    async with connect(app, era="session", answers=consenting("ada")) as client:
        result = await client.call_tool("refuse")
    assert result.is_error
    assert "refuse" in text_of(result)
    assert runs == (1 if says_first else 2)
    assert len(service.token_requests("refresh_token")) == 1


# -- revocation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
async def test_a_token_is_revoked(service: OAuthService, fails: bool) -> None:
    """A17: at the provider, and forgotten even if that fails."""
    app = tool_app(service)

    @app.tool(requires_auth=provider_at(service)(scopes=["read"]))
    async def forget(ctx: Context) -> str:
        await ctx.auth.revoke()
        return "forgotten"

    async with connect(app, answers=consenting("ada")) as client:
        await client.call_tool("whoami")
        if fails:
            service.faults[REVOKE] = Answer(b"", 500)
        assert text_of(await client.call_tool("forget")) == "forgotten"
        (request,) = service.visits_of(REVOKE)
        assert request.form["token_type_hint"] == "refresh_token"
        assert [entry async for entry in app.tool_authorization.vault.entries()] == []
        assert text_of(await client.call_tool("whoami")) == "ada: read"
        assert len(client.questions) == 2


# -- what is not configured -------------------------------------------------------------------------------------


async def test_a_provider_that_nobody_has_configured(
    service: OAuthService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2: the start warns, a call is told the same, and two variables are enough."""
    app = tool_app(service, tool_auth=[])
    app.tool_authorization.check_start(is_memory=True)
    lines = [record.getMessage() for record in caplog.records]
    for part in ("'whoami'", "Corp", "ENFILADE_AUTH_CORP_CLIENT_ID", "ENFILADE_AUTH_CORP_CLIENT_SECRET"):
        assert part in lines[0]
    assert "ENFILADE_STORE" in lines[-1]  # A12: memory:// loses it
    async with connect(app, answers=consenting("ada")) as client:
        result = await client.call_tool("whoami")
        assert result.is_error
        assert "ENFILADE_AUTH_CORP_CLIENT_ID" in text_of(result)
        monkeypatch.setenv("ENFILADE_AUTH_CORP_CLIENT_ID", CLIENT)
        monkeypatch.setenv("ENFILADE_AUTH_CORP_CLIENT_SECRET", SECRET)
        assert text_of(await client.call_tool("whoami")) == "ada: read"


@pytest.mark.parametrize("wrong", ["github", object(), [1], OAuth2, dict])
def test_what_cannot_be_required(wrong: Any) -> None:
    """A2."""

    def work() -> str:
        return "done"

    with pytest.raises(TypeError, match="requires_auth takes a provider"):
        MCPApp("wrong").tool(requires_auth=wrong)(work)


@pytest.mark.parametrize("wrong", ["github", [1], {"github": 1}, GitHub, [GitHub(scopes=["repo"])]])
def test_what_cannot_be_a_provider_of_an_app(wrong: Any) -> None:
    with pytest.raises(TypeError, match="tool_auth= takes a list of providers"):
        MCPApp("wrong", tool_auth=wrong)


async def test_what_was_done_is_not_done_again(service: OAuthService) -> None:
    """A15: no rerun of a tool that has had another one do something."""
    app, paid = tool_app(service), 0

    @app.tool
    async def pay() -> str:
        nonlocal paid
        paid += 1
        return "paid"

    @app.tool(requires_auth=provider_at(service)(scopes=["read"]))
    async def order(ctx: Context) -> str:
        await ctx.tools.call("pay")
        raise ctx.auth.rejected()

    for era in ("session", "stateless"):
        async with connect(app, era=era, answers=consenting("ada")) as client:
            result = await client.call_tool("order")
            assert result.is_error
            assert "refused the token" in text_of(result)
    assert paid == 2


def test_results_of_one_user_are_not_for_all() -> None:
    app = MCPApp("shared")

    def work() -> str:
        return "done"

    with pytest.raises(ValueError, match="would give what is made with the token of one user to all others"):
        app.tool(
            requires_auth=GitHub(scopes=["repo"]),
            cache=60,
            cache_per="all",
            annotations={"read_only_hint": True},
        )(work)


async def test_calls_that_overlap(service: OAuthService) -> None:
    """However many tools with tokens a tool has called, a message to its client passes one watcher."""
    app, gate = tool_app(service), asyncio.Event()

    @app.tool(requires_auth=provider_at(service)(scopes=["read"]))
    async def wait(ctx: Context) -> str:
        await gate.wait()
        return "done"

    @app.tool
    async def many(ctx: Context) -> int:
        calls = [asyncio.create_task(ctx.tools.call("wait")) for _ in range(1200)]
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*calls)
        await ctx.progress.report(1)
        return len(calls)

    async with connect(app, auth={"corp": "token"}) as client:
        assert text_of(await client.call_tool("many")) == "1200"
