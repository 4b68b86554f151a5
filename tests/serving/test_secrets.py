"""Secrets: where they come from, who sees them, and that their values stay in the process (P9, P10, D34)."""

import asyncio
import copy
import json
import logging
import os
import pickle
import random
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from enfilade import Context, MCPApp, ToolError, ToolResult
from enfilade.primitives.names import RESERVED, secret_names
from enfilade.serving.channel import Peer
from enfilade.serving.secrets import MASK, Redaction, Secrets
from enfilade.settings import PREFIX
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from support.servers.calls_in_process import called, messages, text

VALUE = 'p"ss/wörd with space\\'


# -- where they come from ------------------------------------------------------------------------------------


def telling(app: MCPApp, *names: str) -> MCPApp:
    """Add a tool that says how its secrets end."""

    @app.tool(requires_secrets=names)
    def whisper(ctx: Context) -> str:
        return " ".join(ctx.secret(name)[-4:] for name in names)

    return app


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("API_KEY", "OTHER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_from_the_environment_and_then_from_dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("API_KEY=in-the-file\nOTHER=also-file\n")
    monkeypatch.setenv("API_KEY", "in-the-room")
    assert text(called(telling(MCPApp(), "API_KEY", "OTHER"), "whisper")) == "room file"


@pytest.mark.parametrize("before", ["OTHER=1\n", None])
def test_dotenv_is_read_again_when_it_changes(folder: Path, before: str | None) -> None:
    app = telling(MCPApp(), "API_KEY")
    if before is not None:
        (folder / ".env").write_text(before)
    assert called(app, "whisper")["isError"]
    (folder / ".env").write_text("API_KEY=added-late\n")
    assert text(called(app, "whisper")) == "late"


def test_dotenv_that_cannot_be_read_is_logged_and_what_was_read_holds(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = telling(MCPApp(), "API_KEY")
    (folder / ".env").write_text("API_KEY=read-before\n")
    assert text(called(app, "whisper")) == "fore"
    (folder / ".env").write_bytes("API_KEY=café-later\n".encode("latin-1"))
    assert [text(called(app, "whisper")) for _ in range(2)] == ["fore", "fore"]
    assert [line for line in caplog.messages if "UTF-8" in line] == [
        f"secrets cannot be read: {folder / '.env'} is not UTF-8; save it as UTF-8"
    ]


def test_a_missing_one_is_named_with_what_to_do(folder: Path) -> None:
    """Reference §2.3: `isError`, before the tool runs."""
    app = MCPApp()
    ran: list[bool] = []

    @app.tool(requires_secrets=["API_KEY", "OTHER"])
    def work() -> str:
        ran.append(True)
        return "done"

    result = called(app, "work")
    assert result["isError"]
    assert text(result) == (
        "Tool 'work' needs the secrets API_KEY, OTHER, which nobody has set. "
        "Set them in the environment of the server, or in its .env file, and call again."
    )
    assert ran == []


def test_an_empty_one_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "")
    assert "the secret API_KEY" in text(called(telling(MCPApp(), "API_KEY"), "whisper"))


def by_key(name: str, peer: Peer) -> str | None:
    assert peer.revision == "2026-07-28"
    return {"API_KEY": "the-plain-one"}.get(name)


async def by_key_async(name: str, peer: Peer) -> str | None:
    await asyncio.sleep(0)
    return by_key(name, peer)


@pytest.mark.parametrize(
    "provider",
    [
        pytest.param({"API_KEY": "a-mapped-one"}, id="mapping"),
        pytest.param(by_key, id="def"),
        pytest.param(by_key_async, id="async def"),
    ],
)
def test_from_a_provider(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the place of the environment."""
    monkeypatch.setenv("OTHER", "not asked")
    app = telling(MCPApp(secrets=provider), "API_KEY")
    assert text(called(app, "whisper")) == "-one"
    lacking = text(called(telling(MCPApp(secrets=provider), "OTHER"), "whisper"))
    assert lacking == (
        "Tool 'whisper' needs the secret OTHER, which the server's own source of secrets does not have. "
        "Set it there, and call again."
    )


def test_a_failing_provider_fails_the_call_alone(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str, peer: Peer) -> str:
        raise OSError("the vault is at 10.0.0.7")

    result = called(telling(MCPApp(secrets=broken), "API_KEY"), "whisper")
    assert result["isError"]
    assert "10.0.0.7" not in text(result)
    assert "internal error" in text(result)


def test_a_provider_that_returns_no_text_is_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    result = called(telling(MCPApp(secrets={"API_KEY": 5}), "API_KEY"), "whisper")  # type: ignore[dict-item]
    assert "internal error" in text(result)
    assert "returned int for 'API_KEY', not a string" in caplog.text


# -- who sees them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["API_KEY", "api_key", "Api_Key"])
def test_names_are_found_in_any_case(spelling: str) -> None:
    """Reference §2.5: `get_secret` is case-insensitive."""
    app = MCPApp(secrets={"API_KEY": "abcdef"})

    @app.tool(requires_secrets=["API_KEY"])
    def work(ctx: Context) -> bool:
        return ctx.secret(spelling) == ctx.get_secret(spelling) == "abcdef"

    assert text(called(app, "work")) == "true"


def test_what_was_not_declared_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """A tool sees its own declared secrets only; the author is told in the log, and in the reference's type."""
    app = MCPApp(secrets={"API_KEY": "abcdef", "OTHER": "ghijkl"})

    @app.tool(requires_secrets=["API_KEY"])
    def work(ctx: Context) -> str:
        with pytest.raises(ValueError, match="'OTHER' is not among those that this tool declares"):
            ctx.get_secret("OTHER")
        return ctx.secret("OTHER")

    assert "internal error" in text(called(app, "work"))
    assert "add it: @app.tool(requires_secrets=['OTHER'])" in caplog.text


def test_the_servers_own_settings_are_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference §2.8 offered its own keys to tools; ours cannot even be declared."""
    assert RESERVED == PREFIX
    monkeypatch.setenv("ENFILADE_SECRET", "0123456789abcdef" * 2)
    for name in ("ENFILADE_SECRET", "enfilade_secret"):
        with pytest.raises(ValueError, match="are the server's own settings"):
            telling(MCPApp(), name)


@pytest.mark.parametrize("names", ["API_KEY", [""], [" "], ["A=B"], ["A\0B"]])
def test_names_that_cannot_be_are_refused(names: Any) -> None:
    with pytest.raises(ValueError):
        secret_names(names)


def test_names_are_declared_once() -> None:
    assert secret_names(["API_KEY", "api_key", "OTHER"]) == ("API_KEY", "OTHER")


def chain_of_tools() -> MCPApp:
    """A server whose tools each have one secret, tell what they see, and call each other by a plan."""
    app = MCPApp(secrets={f"KEY_{i}": f"value-{i}" for i in range(4)})

    def add(i: int) -> None:
        @app.tool(name=f"tool_{i}", requires_secrets=[f"KEY_{i}"])
        async def work(plan: list[Any], pauses: int, ctx: Context) -> list[Any]:
            seen = []

            def look() -> None:
                for other in range(4):
                    try:
                        seen.append((other, ctx.secret(f"KEY_{other}")))
                    except ValueError:
                        continue

            look()
            for _ in range(pauses):
                await asyncio.sleep(0)
            calls = [ctx.tools.call(f"tool_{who}", {"plan": rest, "pauses": p}) for who, p, rest in plan]
            below = await asyncio.gather(*calls)
            look()
            return [i, seen, below]

    for i in range(4):
        add(i)
    return app


def check(told: list[Any]) -> None:
    who, seen, below = told
    assert seen == [[who, f"value-{who}"]] * 2
    for each in below:
        check(each)


plans = st.recursive(
    st.just([]),
    lambda below: st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), below), max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), plans), min_size=1, max_size=3))
def test_any_interleaving_sees_exactly_its_own(plan: list[Any]) -> None:
    """P9, P10, D34: concurrent and chained calls, each looking before and after the others ran."""
    app = chain_of_tools()

    async def all_at_once() -> list[dict[str, Any]]:
        calls = [messages(app, f"tool_{who}", plan=rest, pauses=pauses) for who, pauses, rest in plan]
        return [each[-1]["result"] for each in await asyncio.gather(*calls)]

    for (who, _, _), result in zip(plan, asyncio.run(all_at_once()), strict=True):
        told = json.loads(text(result))
        assert told[0] == who
        check(told)


def test_a_tool_calls_another_whose_secrets_it_does_not_have() -> None:
    """P9: they are resolved for the called tool, and missing ones are its own message."""
    app = MCPApp(secrets={"API_KEY": "abcdef"})
    telling(app, "API_KEY")

    @app.tool(requires_secrets=["OTHER"])
    def needy() -> str:
        return "never"

    @app.tool
    async def caller(name: str, ctx: Context) -> str:
        return f"it said {await ctx.tools.call(name)}"

    assert text(called(app, "caller", name="whisper")) == "it said cdef"
    assert text(called(app, "caller", name="needy")).startswith("Tool 'needy' needs the secret OTHER")


# -- the values stay here ------------------------------------------------------------------------------------


def leaky() -> MCPApp:
    app = MCPApp(secrets={"API_KEY": VALUE})

    @app.tool(requires_secrets=["API_KEY"])
    async def leak(how: str, ctx: Context) -> Any:
        key = ctx.secret("API_KEY")
        match how:
            case "exception":
                raise OSError(f"401 for {key}")
            case "repr":
                raise KeyError(key)
            case "cause":
                try:
                    raise OSError(f"GET https://api.example/?key={urllib.parse.quote_plus(key)}")
                except OSError as error:
                    raise RuntimeError("no answer") from error
            case "tool error":
                raise ToolError(f"401 for {key}", meta={"example.org/key": [key]})
            case "error result":
                return ToolResult(content=f"401 for {key}", is_error=True, structured_content={"key": key})
            case "protocol error":
                raise RpcError(INVALID_PARAMS, f"401 for {key}", {"key": key})
            case "log":
                await ctx.log.info(f"using {key}", extra={"key": key})
            case "progress":
                await ctx.progress.report(1, message=f"using {key}")
            case "context":
                return f"{ctx!r} {ctx._secrets!r}"
        return "done"

    @app.tool(requires_secrets=["API_KEY"])
    async def pass_on(how: str, ctx: Context) -> str:
        await ctx.tools.call(how, {"key": ctx.secret("API_KEY")})
        return "done"

    @app.tool
    def careless(key: str) -> str:
        raise OSError(f"401 for {key}")

    @app.tool
    def strict(key: int) -> str:
        return str(key)

    return app


@pytest.mark.parametrize("how", ["exception", "repr", "cause", "tool error", "error result", "protocol error"])
def test_no_error_says_a_value(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """D33: neither to the client nor in the log, however it was escaped on the way into the text."""
    said = json.dumps(asyncio.run(messages(leaky(), "leak", how=how)), ensure_ascii=False)
    assert MASK in said + caplog.text
    for spelling in (VALUE, repr(VALUE)[1:-1], json.dumps(VALUE)[1:-1], urllib.parse.quote_plus(VALUE)):
        assert spelling not in said
        assert json.dumps(spelling)[1:-1] not in said
        assert spelling not in caplog.text


def test_the_log_keeps_the_rest_of_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """What is left out is the value, and nothing that leads to the fault."""
    called(leaky(), "leak", how="exception")
    assert "Traceback" in caplog.text
    assert f"OSError: 401 for {MASK}" in caplog.text


@pytest.mark.parametrize("how", ["log", "progress"])
def test_no_notification_says_a_value(how: str) -> None:
    found = asyncio.run(messages(leaky(), "leak", how=how))
    assert len(found) == 2
    assert MASK in json.dumps(found)
    assert json.dumps(VALUE)[1:-1] not in json.dumps(found)


@pytest.mark.parametrize("how", ["careless", "strict"])
def test_what_was_handed_on_to_another_tool_stays_here_too(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The called tool has no such secret, and still its errors do not say it."""
    said = text(called(leaky(), "pass_on", how=how))
    assert VALUE not in said
    assert VALUE not in caplog.text


def test_no_repr_says_a_value() -> None:
    secrets = Secrets({"API_KEY": VALUE})
    shown = [repr(secrets), str(secrets), repr(vars(Secrets)), repr(Redaction([VALUE])), f"{secrets}"]
    assert repr(secrets) == "Secrets(API_KEY)"
    assert [each for each in shown if VALUE in each] == []
    assert text(called(leaky(), "leak", how="context")).count(VALUE) == 0


def test_the_secrets_of_a_call_cannot_be_changed_or_carried_off() -> None:
    secrets = Secrets({"API_KEY": VALUE})
    with pytest.raises(AttributeError):
        secrets._values = {}
    with pytest.raises(TypeError):
        secrets._values["other"] = ("other", "x")  # type: ignore[index]
    for way in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            way(secrets)


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_redaction_finds_every_value(values: list[str], chance: random.Random) -> None:
    """Also where one value is part of another."""
    parts = [f"<{value}>" for value in values]
    chance.shuffle(parts)
    shown = Redaction(values).text("".join(parts)).replace(MASK, "")
    rest = shown.replace("<", "").replace(">", "")
    for value in values:
        if not set(value) <= {"<", ">"}:
            assert value not in rest


def test_what_a_tool_returns_on_purpose_is_returned() -> None:
    app = MCPApp(secrets={"API_KEY": "abcdef"})

    @app.tool(requires_secrets=["API_KEY"])
    def reveal(ctx: Context) -> str:
        return ctx.secret("API_KEY")

    assert text(called(app, "reveal")) == "abcdef"


def test_a_tool_without_secrets_pays_nothing() -> None:
    app = MCPApp(secrets=lambda name, peer: pytest.fail("asked"))

    @app.tool
    def work() -> str:
        return "done"

    assert text(called(app, "work")) == "done"
    assert "API_KEY" not in os.environ
    assert logging.getLogger("enfilade").name == "enfilade"


def test_a_redaction_of_nothing_changes_nothing() -> None:
    for values in ((), ("",)):
        assert Redaction(values).text("a text") == "a text"
