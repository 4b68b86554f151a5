"""What an extension adds to an app, over HTTP and over a pipe, in both eras."""

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw

from enfilade import Context, MCPApp, ToolError, connect
from enfilade.extensions import Extension, Message, MethodHandler, Request, RequestParams, RpcError
from enfilade.serving.channel import Peer
from enfilade.serving.dispatcher import MOST_NOTIFIED
from enfilade.wire.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_CLIENT_CAPABILITY
from support.http_client.asgi_calls import AsgiClient, AsgiReply
from support.http_client.connection import modern_headers, request_of, stateless_meta

pytestmark = pytest.mark.anyio

NOTES = "com.example/notes"
DECLARED = {"extensions": {NOTES: {"color": "red"}}}


class ReadParams(RequestParams, kw_only=True):
    """Which note."""

    note_id: str


def notes_app() -> tuple[MCPApp, list[Any]]:
    """Return an app with an extension, and what it is told."""
    app = MCPApp("Notes", instructions="Notes.")
    told: list[Any] = []
    notes = Extension(NOTES, settings={"maxNotes": 3})

    @notes.method("notes/search")
    async def search(text: str, ctx: Context, limit: int = 2) -> dict[str, Any]:
        """Search notes."""
        return {"notes": [text] * limit, "settings": ctx.client_extension(NOTES)}

    async def read(request: Request) -> dict[str, Any]:
        return {"note": request.params.note_id}

    @notes.notification("notifications/notes/seen")
    async def seen(params: dict[str, Any], peer: Any) -> None:
        told.append((params, peer.revision))

    @notes.around_tool_calls
    async def around(request: Request, call_next: MethodHandler) -> Message:
        told.append(request.params.name)
        return await call_next(request)

    notes.add_method("notes/read", read, params=ReadParams, name_header="noteId", requires_declaration=True)
    app.add_extension(notes)

    @app.tool
    async def write(ctx: Context) -> str:
        """Write a note."""
        ctx.notify("notifications/notes/written", {"id": 1})
        return "written"

    return app, told


async def modern(
    client: AsgiClient,
    method: str,
    params: dict[str, Any],
    capabilities: dict[str, Any] = DECLARED,
    **headers: Any,
) -> AsgiReply:
    message = request_of(method, params, 1, stateless_meta(clientCapabilities=capabilities))
    return await client.post(message, **{**modern_headers(message), **headers})


class TestMethods:
    async def test_a_function_answers(self) -> None:
        """X-EXT-1, X-EXT-2."""
        client = AsgiClient(notes_app()[0])
        reply = await modern(client, "notes/search", {"text": "milk"})
        assert reply.status == 200
        result = reply.result
        assert result.pop("_meta")["io.modelcontextprotocol/serverInfo"]["name"] == "Notes"
        assert result == {"resultType": "complete", "notes": ["milk", "milk"], "settings": {"color": "red"}}

    async def test_wrong_arguments_are_invalid_params(self) -> None:
        client = AsgiClient(notes_app()[0])
        for params, said in (
            ({}, "text"),
            ({"text": 1}, "text"),
            ({"text": "a", "limit": "many"}, "limit"),
            ({"text": "a", "other": 1}, "other"),
        ):
            error = (await modern(client, "notes/search", params)).error
            assert error["code"] == INVALID_PARAMS
            assert said in error["message"]

    async def test_the_header_is_compared_before_the_declaration_and_the_params(self) -> None:
        """R-571."""
        client = AsgiClient(notes_app()[0])
        params = {"noteId": "n1"}
        assert (await modern(client, "notes/read", params, mcp_name="n1")).result["note"] == "n1"
        for capabilities in (DECLARED, {}):
            reply = await modern(client, "notes/read", params, capabilities, mcp_name="n2")
            assert (reply.status, reply.error["code"]) == (400, -32020)
            assert "params.noteId" in reply.error["message"]
            reply = await modern(client, "notes/read", params, capabilities)
            assert (reply.status, reply.error["code"]) == (400, -32020)
        reply = await modern(client, "notes/read", params, {}, mcp_name="n1")
        assert (reply.status, reply.error["code"]) == (400, MISSING_CLIENT_CAPABILITY)
        assert reply.error["data"] == {"requiredCapabilities": {"extensions": {NOTES: {}}}}
        assert (await modern(client, "notes/read", {}, {})).error["code"] == MISSING_CLIENT_CAPABILITY
        assert (await modern(client, "notes/read", {})).error["code"] == INVALID_PARAMS
        assert (await modern(client, "notes/read", {"noteId": 4})).error["code"] == INVALID_PARAMS

    async def test_metadata_of_the_wrong_type_is_refused(self) -> None:
        client = AsgiClient(notes_app()[0])
        message = {"jsonrpc": "2.0", "id": 1, "method": "notes/search", "params": {"text": "a", "_meta": 5}}
        reply = await client.post(message, mcp_protocol_version="2026-07-28", mcp_method="notes/search")
        assert reply.status == 400

    async def test_a_session_of_2025_11_25_has_them_and_older_ones_do_not(self) -> None:
        """R-570, X-EXT-2."""
        app, _ = notes_app()
        async with connect(app, era="session") as client:
            assert client.server_capabilities.extensions == {NOTES: {"maxNotes": 3}}
        client_of = AsgiClient(app)
        for revision, has in (("2025-11-25", True), ("2025-06-18", False), ("2024-11-05", False)):
            opened = await client_of.initialize(revision, DECLARED)
            token = str(opened.header("mcp-session-id"))
            assert ("extensions" in opened.result["capabilities"]) is has
            reply = await client_of.ask(token, "notes/search", {"text": "a"})
            if has:
                assert reply.result == {"notes": ["a", "a"], "settings": {"color": "red"}}
            else:
                assert reply.error["code"] == METHOD_NOT_FOUND

    async def test_without_the_extension_they_are_unknown(self) -> None:
        client = AsgiClient(MCPApp("Plain"))
        reply = await modern(client, "notes/search", {"text": "a"})
        assert (reply.status, reply.error["code"]) == (404, METHOD_NOT_FOUND)
        discovered = (await modern(client, "server/discover", {})).result
        assert "extensions" not in discovered["capabilities"]

    async def test_what_a_function_raises(self) -> None:
        app = MCPApp("Failing")
        failing = Extension("com.example/failing")

        @failing.method("fail/said")
        def said() -> dict[str, Any]:
            raise ToolError("there is no more paper", meta={"paper": 0})

        @failing.method("fail/masked")
        async def hidden() -> dict[str, Any]:
            raise ValueError("secret")

        @failing.method("fail/list")
        async def no_object() -> Any:
            return [1]

        app.add_extension(failing)
        client = AsgiClient(app)
        error = (await modern(client, "fail/said", {})).error
        assert (error["message"], error["data"]) == ("there is no more paper", {"paper": 0})
        error = (await modern(client, "fail/masked", {})).error
        assert "secret" not in str(error)
        assert "Internal error (id " in error["message"]
        assert (await modern(client, "fail/list", {})).error["code"] == -32603


class TestNotifications:
    async def test_a_client_may_send_them_in_both_eras(self) -> None:
        app, told = notes_app()
        client = AsgiClient(app)
        message = request_of("notifications/notes/seen", {"id": 7}, None, stateless_meta())
        del message["id"]
        assert (await client.post(message, **modern_headers(message))).status == 202
        token = str((await client.initialize()).header("mcp-session-id"))
        old = {"jsonrpc": "2.0", "method": "notifications/notes/seen", "params": {"id": 8}}
        assert (await client.post(old, mcp_session_id=token)).status == 202
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told == [({"id": 7}, "2026-07-28"), ({"id": 8}, "2025-11-25")]

    async def test_a_tool_may_send_them(self) -> None:
        app, told = notes_app()
        reply = await modern(AsgiClient(app), "tools/call", {"name": "write", "arguments": {}})
        sent = [message for message in reply.messages if "method" in message]
        assert [(message["method"], message["params"]) for message in sent] == [
            ("notifications/notes/written", {"id": 1})
        ]
        assert told == ["write"]

    async def test_those_of_the_protocol_are_refused(self) -> None:
        app = MCPApp("App")

        @app.tool
        async def wrong(ctx: Context) -> None:
            """Send what the server itself sends."""
            for method in ("notifications/progress", "tools/list"):
                with pytest.raises(ValueError, match="notifications of extensions"):
                    ctx.notify(method)

        async with connect(app) as client:
            assert not (await client.call_tool("wrong")).is_error


class TestLife:
    async def test_it_starts_and_stops_with_the_server(self) -> None:
        steps: list[str] = []

        class Clock(Extension):
            async def start(self) -> None:
                steps.append("start")

            async def stop(self) -> None:
                steps.append("stop")

            def attach(self, app: Any) -> None:
                app.add_text_resource("clock://now", "noon")

        app = MCPApp("Clock")
        app.add_extension(Clock("com.example/clock"))
        async with connect(app) as client:
            assert steps == ["start"]
            await client.read_resource("clock://now")
        assert steps == ["start", "stop"]

    async def test_settings_may_depend_on_the_client(self) -> None:
        app = MCPApp("App")
        app.add_extension(
            Extension("com.example/red", settings=lambda peer: {} if peer.capabilities.extensions else None)
        )
        client = AsgiClient(app)
        for capabilities, declared in ((DECLARED, {"com.example/red": {}}), ({}, None)):
            result = (await modern(client, "server/discover", {}, capabilities)).result
            assert result["capabilities"].get("extensions") == declared


def nothing() -> None:
    """Be a function without parameters."""


class TestRegistration:
    def test_what_cannot_be_is_refused(self) -> None:
        for id in ("notes", "com.example/", "/notes", "com.example/no tes", ""):
            with pytest.raises(ValueError, match="prefix and a name"):
                Extension(id)
        with pytest.raises(ValueError, match="no revision '2030-01-01'"):
            Extension(NOTES, revisions=["2030-01-01"])
        notes = Extension(NOTES)
        for name in ("search", "notifications/notes", "notes/ search"):
            with pytest.raises(ValueError, match="notes/search"):
                notes.method(name)
        with pytest.raises(TypeError, match=r"write @extension\.method"):
            notes.method(nothing)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="name_header of notes/none is a parameter"):
            notes.method("notes/none", name_header="id")(nothing)
        with pytest.raises(ValueError, match="begins with notifications/"):
            notes.notification("notes/seen")

    def test_two_with_one_id_or_method_are_refused(self) -> None:
        app = MCPApp("App")
        one, other = Extension(NOTES), Extension("com.example/other")

        async def read(request: Request) -> dict[str, Any]:
            return {}

        one.add_method("notes/read", read)
        with pytest.raises(ValueError, match="has a handler already"):
            one.add_method("notes/read", read)
        one.add_method("notes/write", read, revisions=["2026-07-28"])
        one.add_method("notes/write", read, revisions=["2025-11-25"])
        other.add_method("notes/read", read)
        app.add_extension(one)
        with pytest.raises(ValueError, match="already"):
            app.add_extension(Extension(NOTES))
        with pytest.raises(ValueError, match="both have the method notes/read"):
            app.add_extension(other)
        with pytest.raises(TypeError, match="takes an Extension"):
            app.add_extension("notes")  # type: ignore[type-var]

    def test_methods_of_the_protocol_are_refused(self) -> None:
        app = MCPApp("App")
        extension = Extension(NOTES)

        async def call(request: Request) -> dict[str, Any]:
            return {}

        extension.add_method("tools/call", call)
        app.add_extension(extension)
        with pytest.raises(ValueError, match="tools/call is a method of the server already"):
            app.dispatcher

    def test_too_late(self) -> None:
        app = MCPApp("App")
        app.dispatcher
        with pytest.raises(RuntimeError, match="before the server is first used"):
            app.add_extension(Extension(NOTES))


class TestFloods:
    async def test_notifications_without_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """Handlers are not waited for: those that are under way are bounded, and end with the server."""
        app, ended = MCPApp("Flood"), []
        flooded = Extension("com.example/flood")

        @flooded.notification("notifications/flood")
        async def slow(params: dict[str, Any], peer: Any) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(params["number"])

        app.add_extension(flooded)
        async with app.running():
            peer = Peer(revision="2026-07-28")
            for number in range(MOST_NOTIFIED + 10):
                params = Raw(b'{"number":%d}' % number)
                app.dispatcher.take_notification("notifications/flood", params, peer)
            await asyncio.sleep(0)
        assert sorted(ended) == list(range(MOST_NOTIFIED))
        assert "notifications/flood of a client was dropped" in caplog.text

    async def test_an_error_that_cannot_be_sent_has_the_id_of_its_request(self) -> None:
        """R-719: an outcome all the same, and one for that request."""
        app, broken = MCPApp("Broken"), Extension("com.example/broken")

        @broken.method("broken/raise")
        async def fail() -> dict[str, Any]:
            raise RpcError(-32000, "bad", {"why": object()})

        app.add_extension(broken)
        reply = await modern(AsgiClient(app), "broken/raise", {})
        assert (reply.status, json.loads(reply.body)["id"], reply.error["code"]) == (200, 1, -32603)
        assert "bad" not in reply.error["message"]
