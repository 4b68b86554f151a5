"""What a client takes and what it sends, over real sockets: Accept, Content-Type, and the form of the answer."""

from collections.abc import Iterator

import pytest

from enfilade import Settings
from support.harness import Http, Serving
from support.http_client.connection import BOTH, HeaderValue
from support.servers.probe_server import ProbeServer

INVALID = -32600

JSON, SSE, NEITHER = "application/json", "text/event-stream", None

ACCEPT: list[tuple[HeaderValue, str | None, str | None]] = [
    # what is sent; what comes at once; what comes when the tool streams
    (BOTH, JSON, SSE),
    ("text/event-stream, application/json", JSON, SSE),
    ("application/json", JSON, JSON),
    ("text/event-stream", SSE, SSE),
    ("*/*", JSON, SSE),
    ("application/*", JSON, JSON),
    ("text/*", SSE, SSE),
    ("application/*, text/*", JSON, SSE),
    ("Application/JSON, Text/Event-Stream", JSON, SSE),
    ("application/json;q=0.5, text/event-stream;q=0.9", JSON, SSE),
    ("application/json; charset=utf-8,text/event-stream", JSON, SSE),
    ("*/*;q=0.1", JSON, SSE),
    ("text/html, */*;q=0.8", JSON, SSE),
    ("application/json;q=0, */*", SSE, SSE),
    ("text/event-stream;q=0, */*", JSON, JSON),
    (["application/json", "text/event-stream"], JSON, SSE),
    (None, JSON, SSE),
    ("", NEITHER, NEITHER),
    ("application/jsonlines", NEITHER, NEITHER),
    ("application/json-seq, text/event-stream-2", NEITHER, NEITHER),
    ("text/html", NEITHER, NEITHER),
    ("*/*;q=0", NEITHER, NEITHER),
    ("application/json;q=0", NEITHER, NEITHER),
    ("json", NEITHER, NEITHER),
    ("application/json;q=high", NEITHER, NEITHER),
    (b"\xff\xfe", NEITHER, NEITHER),
]


class TestMediaTypes:
    """R-208, R-265, R-328, D19, S27…S30."""

    @pytest.mark.parametrize("era", ["session", "stateless"])
    @pytest.mark.parametrize(("accept", "at_once", "streaming"), ACCEPT, ids=str)
    def test_accept(
        self, http: Http, era: str, accept: HeaderValue, at_once: str | None, streaming: str | None
    ) -> None:
        for tool, arguments, expected in (("echo", {"text": "x"}, at_once), ("report", {"steps": 1}, streaming)):
            params = {"name": tool, "arguments": arguments}
            if era == "stateless":
                log_level = {"io.modelcontextprotocol/logLevel": "info"}
                reply = http.modern("tools/call", params, meta=log_level, accept=accept)
            else:
                reply = http.initialize().ask("tools/call", params, accept=accept)
            if expected is NEITHER:
                assert (reply.status, reply.error["code"]) == (406, INVALID)
                assert "Accept must allow application/json or text/event-stream" in reply.error["message"]
            else:
                assert (reply.status, reply.header("content-type")) == (200, expected)
                assert reply.result["content"][0]["type"] == "text"
                assert len(reply.messages) == (2 if tool == "report" and expected == SSE else 1)

    @pytest.mark.parametrize(
        ("content_type", "allowed"),
        [
            ("application/json", True),
            ("Application/JSON; charset=utf-8", True),
            ('application/json;charset="UTF-8"', True),
            ("application/json ; foo=bar", True),
            ("application/json; charset=latin-1", False),
            ("application/jsonlines", False),
            ("application/json-rpc", False),
            ("text/plain", False),
            ("text/plain; application/json", False),
            ("multipart/form-data", False),
            ("", False),
            (None, False),
        ],
    )
    @pytest.mark.parametrize("accept", [JSON, SSE, BOTH])
    def test_content_type(self, http: Http, content_type: str | None, allowed: bool, accept: str) -> None:
        """E-37, S28, S30: the same whatever form the answer would have."""
        reply = http.modern("tools/list", content_type=content_type, accept=accept)
        assert reply.status == (200 if allowed else 415)
        if not allowed:
            assert "application/json" in reply.error["message"]

    @pytest.mark.parametrize(
        ("coding", "allowed"),
        [("gzip", False), ("br", False), ("gzip, identity", False), ("identity", True), ("Identity", True)],
    )
    def test_content_encoding(self, http: Http, coding: str, allowed: bool) -> None:
        """RFC 9110 §15.5.16: the client learns that it must not compress, in place of a parse error."""
        reply = http.modern("tools/list", content_encoding=coding)
        assert reply.status == (200 if allowed else 415)
        if not allowed:
            assert "Content-Encoding" in reply.error["message"]

    def test_two_content_types(self, http: Http) -> None:
        """R-238: what a proxy sees first must not differ from what is read."""
        reply = http.modern("tools/list", content_type=["application/json", "text/plain"])
        assert reply.status == 400

    def test_the_head_of_a_stream(self, http: Http) -> None:
        """R-269, S37, R-204: nothing buffers it, and no event has an id."""
        log_level = {"io.modelcontextprotocol/logLevel": "info"}
        call = {"name": "report", "arguments": {"steps": 1}}
        reply = http.modern("tools/call", call, meta=log_level)
        assert reply.header("x-accel-buffering") == "no"
        assert reply.header("cache-control") == "no-cache, no-transform"
        assert reply.header("content-length") == str(len(reply.body)), "it was whole before it was begun"
        assert all(line.split(b":")[0] in (b"event", b"data", b"") for line in reply.body.split(b"\n"))

    def test_the_head_of_a_stream_that_is_begun_before_its_end(self, http: Http) -> None:
        """R-269: nobody knows its length."""
        log_level = {"io.modelcontextprotocol/logLevel": "info"}
        call = {"name": "tell", "arguments": {"name": "head"}}
        waiting = http.start_modern("tools/call", call, meta=log_level)
        http.modern_call("release", name="head")
        reply = waiting.read()
        assert len(reply.messages) == 3
        assert reply.header("content-length") is None
        assert reply.header("transfer-encoding") == "chunked"


@pytest.fixture(scope="module")
def json_only() -> Iterator[Http]:
    with Serving(ProbeServer(settings=Settings(json_response=True))) as serving:
        yield serving.http


class TestJsonOnly:
    """`json_response=True`: R-272, S5."""

    @pytest.mark.parametrize("era", ["session", "stateless"])
    @pytest.mark.parametrize(("accept", "expected"), [(BOTH, JSON), (JSON, JSON), ("*/*", JSON), (SSE, SSE)])
    def test_never_a_stream_for_who_takes_json(
        self, json_only: Http, era: str, accept: str, expected: str
    ) -> None:
        params = {"name": "report", "arguments": {"steps": 2}}
        if era == "stateless":
            meta = {"progressToken": 1, "io.modelcontextprotocol/logLevel": "debug"}
            reply = json_only.modern("tools/call", params, meta=meta, accept=accept)
        else:
            reply = json_only.initialize().ask("tools/call", params, meta={"progressToken": 1}, accept=accept)
        assert (reply.status, reply.header("content-type")) == (200, expected)
        assert reply.result["content"][0]["text"] == "2 steps"
        assert (len(reply.messages) == 1) == (expected == JSON), "there is no room for notifications in JSON"
