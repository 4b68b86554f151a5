"""Who may knock, and with how much, over real sockets: Host, Origin, CORS, and the size of a body."""

import contextlib
import json
import shlex
import socket
from collections.abc import Iterator

import pytest

from enfilade import Settings
from enfilade.transports.http11.protocol import HttpProtocol
from support.harness import Http, Serving
from support.http_client.connection import HeaderValue, Reply, modern_headers, request_of, stateless_meta
from support.servers.probe_server import ProbeServer

INVALID = -32600

LOOPBACK = [
    "localhost",
    "localhost:{port}",
    "127.0.0.1:{port}",
    "127.1.2.3",
    "[::1]:{port}",
    "[::1]",
    "[0:0:0:0:0:0:0:1]:1",
    "LocalHost:1",
    "localhost:65535",
    "localhost:",
    "a.localhost",
    "my_app.localhost",
    "localhost.",
    "localhost.:{port}",
    "a.localhost.",
    "127.0.0.1.",
]
#: What is no host, although a name of this machine can be read out of it (RFC 9110 §7.2, RFC 3986 §3.2.2).
NO_HOSTS: list[str | bytes] = [
    "[::1]evil.example",
    "[::1].evil.example",
    "[::1]:80.evil.example",
    "[::1]:80:80",
    "[::1%evil.example]",
    "[::1%25lo]",
    "[::1",
    "::1]",
    "::1",
    "[127.0.0.1]",
    "[localhost]",
    "[[::1]]",
    "127.0.0.1%lo",
    "localhost:80@evil.example",
    "localhost:65536",
    "localhost:000080",
    "localhost:+80",
    "localhost:-1",
    "localhost:8 0",
    b"localhost:\xb2",
    "localhost:80:80",
    b"localhost\xa0",
    b"\xa0localhost",
    b"localhost\x85",
    "localhost/",
    "localhost/evil",
    "localhost?x",
    "localhost#x",
    "evil@localhost",
    "http://localhost",
    "localhost,evil.example",
    "evil.example localhost",
    "evil.example/.localhost",
    "evil.example\t.localhost",
    ".localhost",
    "a..localhost",
    "%6cocalhost",
]

#: The same in an Origin (RFC 6454 §7).
NO_ORIGINS: list[str | bytes] = [
    "http://evil@localhost",
    "http://evil:secret@localhost",
    "http://@localhost",
    "http://[::1]evil",
    "http://[::1%lo]",
    "http://[localhost]",
    "http://localhost/evil",
    "http://localhost//",
    "http://localhost?evil",
    "http://localhost#evil",
    "http://localhost\\evil",
    "http://localhost:65536",
    "http://localhost:evil",
    b"http://localhost\xa0",
    b"http://localhost:\xb2",
    "http:localhost",
    "http:///localhost",
    "http://evil.example/.localhost",
    "http://localhost http://evil.example",
    "http://evil.example http://localhost",
    "http://localhost,http://evil.example",
    "blob:http://localhost",
    "//localhost",
]

FOREIGN: list[str | bytes] = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.1",
    "0.0.0.0",
    "",
    "[::2]",
    "localhost@evil.example",
    *NO_HOSTS,
]


class TestHostAndOrigin:
    """R-205, R-701, E-34, E-35, D15: on every method."""

    VERBS = ("POST", "DELETE", "GET", "OPTIONS")

    @pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
    @pytest.mark.parametrize(
        ("wrong", "status"),
        [
            ({"host": "evil.example"}, 421),
            ({"origin": "https://evil.example"}, 403),
            ({"mcp_protocol_version": "1999-01-01"}, 400),
        ],
        ids=["host", "origin", "version"],
    )
    def test_s44_a_session_id_excuses_no_wrong_header(
        self, http: Http, revision: str, wrong: dict[str, HeaderValue], status: int
    ) -> None:
        session = http.initialize(revision)
        reply = session.ask("tools/list", **wrong)
        assert (reply.status, reply.error["code"]) == (status, INVALID)
        assert session.ask("tools/list").status == 200

    @pytest.mark.parametrize("host", LOOPBACK)
    def test_loopback_hosts(self, http: Http, host: str) -> None:
        assert http.modern("tools/list", host=host.format(port=http.port)).status == 200

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("host", FOREIGN)
    def test_foreign_hosts(self, http: Http, verb: str, host: str | bytes) -> None:
        if isinstance(host, str):
            host = host.format(port=http.port)
        reply = http.request(verb, b"", {"host": host, "origin": "http://localhost"})
        assert (reply.status, reply.error["code"]) == (421, INVALID)
        text = host if isinstance(host, str) else host.decode("latin-1")
        shown = "".join(c if c.isprintable() else "?" for c in text)
        message = reply.error["message"]
        if (
            host in ("", "localhost@evil.example", *NO_HOSTS) and host != "::1"
        ):  # an entry may be an IPv6 address without brackets
            assert message == f"Host {shown[:100]!r} is not allowed. It is malformed."
            return
        typed = shlex.quote(shown[:100])
        for way_out in (
            f"ENFILADE_ALLOWED_HOSTS={typed},",
            f"settings=Settings(allowed_hosts=[{shown[:100]!r}]),",
            f"`enfilade run --allowed-hosts {typed}`",
        ):
            assert way_out in message

    @pytest.mark.parametrize(
        "origin",
        [
            "http://localhost",
            "http://localhost:6274",
            "https://127.0.0.1:1",
            "http://[::1]:80",
            "HTTP://LOCALHOST",
        ],
    )
    def test_loopback_origins(self, http: Http, origin: str) -> None:
        """R-720: and the browser is told that it may read the answer."""
        reply = http.modern("tools/list", origin=origin)
        assert reply.status == 200
        assert reply.header("access-control-allow-origin") == origin
        assert "mcp-session-id" in (reply.header("access-control-expose-headers") or "").lower()
        assert reply.header("vary") == "Origin"

    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "file://",
            "localhost",
            "http://",
            "http://[::1",
            "chrome-extension://localhost",
            "",
            b"\xff",
            *NO_ORIGINS,
        ],
    )
    def test_foreign_origins(self, http: Http, verb: str, origin: str | bytes) -> None:
        reply = http.request(verb, b"", {"origin": origin})
        assert (reply.status, reply.error["code"]) == (403, INVALID)
        assert reply.header("access-control-allow-origin") is None
        ways = ("--allowed-origins ", "ENFILADE_ALLOWED_ORIGINS=", "settings=Settings(allowed_origins=[")
        may_be_allowed = origin in (
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "chrome-extension://localhost",
        )
        message = reply.error["message"]
        assert all(way_out in message for way_out in ways) if may_be_allowed else message.endswith("malformed.")

    @pytest.mark.parametrize("header", ["host", "origin"])
    def test_twice(self, http: Http, header: str) -> None:
        """R-238: whichever is looked at, another one may be meant."""
        value = "localhost" if header == "host" else "http://localhost"
        assert http.modern("tools/list", **{header: [value, value]}).status == 400

    def test_no_origin_and_no_cors(self, http: Http) -> None:
        reply = http.modern("tools/list")
        assert [name for name, _ in reply.headers if name.startswith("access-control")] == []


@pytest.fixture(scope="module")
def public() -> Iterator[Http]:
    """A server that is told its names, and a small limit."""
    settings = Settings(
        allowed_hosts=(
            "api.example",
            "*.wild.example",
            "port.example:8443",
            "*.wild-port.example.:8443",
            "2001:DB8::1",
            "[2001:db8:0:0::2]:8443",
        ),
        allowed_origins=("https://app.example", "https://Port.example:443/", "chrome-extension://abcdef"),
        body_limit=2048,
    )
    with Serving(ProbeServer(settings=settings)) as serving:
        yield serving.http


class TestNamedHosts:
    @pytest.mark.parametrize(
        ("host", "origin", "status"),
        [
            ("api.example", None, 200),
            ("API.example:8443", None, 200),
            ("sub.wild.example", None, 200),
            ("wild.example", None, 421),
            ("notwild.example", None, 421),
            ("api.example.evil", None, 421),
            ("api.example.", None, 200),
            ("sub.wild.example.:80", None, 200),
            ("api.example..", None, 421),
            ("port.example:9", None, 200),
            ("port.wild-port.example", None, 200),
            ("[2001:db8:0::1]:80", None, 200),
            ("[2001:db8::2]", None, 200),
            ("[2001:db8::3]", None, 421),
            ("api.example", "https://port.example", 200),
            ("api.example", "chrome-extension://abcdef", 200),
            ("api.example", "https://app.example", 200),
            ("api.example", "https://APP.example/", 200),
            ("api.example", "http://app.example", 403),
            ("api.example", "https://app.example:444", 403),
            ("api.example", "https://api.example", 200),
            ("api.example", "https://sub.wild.example", 403),
        ],
    )
    def test_what_is_named_is_served(self, public: Http, host: str, origin: str | None, status: int) -> None:
        """R-205: names as told; a page served under the server's own name is its own."""
        assert public.modern("tools/list", host=host, origin=origin).status == status

    def test_any(self) -> None:
        settings = Settings(allowed_hosts=("*",), allowed_origins=("*",))
        with Serving(ProbeServer(settings=settings)) as serving:
            reply = serving.http.modern("tools/list", host="any.example", origin="https://other.example")
            assert reply.status == 200
            assert reply.header("access-control-allow-origin") == "https://other.example", "R-720: never * "


class TestPreflight:
    """R-720, S43."""

    def ask(self, http: Http, origin: str) -> Reply:
        wanted = "content-type, mcp-session-id, mcp-protocol-version, last-event-id, authorization"
        return http.request(
            "OPTIONS",
            b"",
            {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": wanted},
        )

    def test_an_allowed_origin(self, http: Http) -> None:
        reply = self.ask(http, "http://localhost:6274")
        assert (reply.status, reply.body) == (204, b"")
        assert reply.header("access-control-allow-origin") == "http://localhost:6274"
        assert "POST" in (reply.header("access-control-allow-methods") or "")
        allowed = (reply.header("access-control-allow-headers") or "").lower()
        assert "*" in allowed or "last-event-id" in allowed

    def test_a_foreign_origin(self, http: Http) -> None:
        assert self.ask(http, "https://evil.example").status == 403

    def test_a_text_post_without_preflight(self, http: Http) -> None:
        """D15: what a page may send unasked is refused by origin, and would be by its type."""
        simple: dict[str, HeaderValue] = {"content_type": "text/plain"}
        assert http.modern("tools/list", origin="https://evil.example", **simple).status == 403
        assert http.modern("tools/list", **simple).status == 415


class TestSizes:
    """E-38, S31, D20, R-714."""

    def body(self, size: int) -> bytes:
        body = b'{"jsonrpc":"2.0","id":1,"method":"nothing","params":{"x":""}}'
        return body.replace(b'"x":""', b'"x":"' + b"x" * (size - len(body)) + b'"')

    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    @pytest.mark.parametrize(("size", "status"), [(2048, 400), (2049, 413), (100_000, 413)])
    def test_the_limit(self, public: Http, chunked: bool, size: int, status: int) -> None:
        """400: the body was read, and no session was named in it."""
        body = self.body(size)
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        if chunked:
            parts = [body[at : at + 500] for at in range(0, size, 500)]
            whole = head + b"Transfer-Encoding: chunked\r\n\r\n"
            whole += b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        else:
            whole = head + b"Content-Length: %d\r\n\r\n" % size + body
        with public.raw(whole) as connection:
            answer = received(connection)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert (b"2048" in answer) == (status == 413), "it says what the limit is"

    @pytest.mark.parametrize("length", [b"-5", b"abc", b"1e3"])
    def test_a_length_that_is_none(self, public: Http, length: bytes) -> None:
        head = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "
        with public.raw(head + length + b"\r\n\r\n") as connection:
            assert received(connection).startswith(b"HTTP/1.1 400 ")
        assert public.modern("tools/list").status == 200


def received(connection: socket.socket) -> bytes:
    """Return everything up to the end; a reset counts as one."""
    chunks = []
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


@pytest.fixture(scope="module")
def run_by_us() -> Iterator[Http]:
    """A server as `run()` starts it: only its own protocol shows the application what a target names."""
    with Serving(ProbeServer(), http=HttpProtocol) as serving:
        yield serving.http


@pytest.mark.parametrize("host", [b"", b"Host: localhost\r\n"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    ("authority", "is_allowed"), [(b"localhost", True), (b"evil.example", False), (b"evil.example:80", False)]
)
def test_the_authority_of_an_absolute_target_counts_as_host(
    run_by_us: Http, authority: bytes, is_allowed: bool, version: bytes, host: bytes
) -> None:
    """Whatever Host says, and also without one (RFC 9112 §3.2.2)."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    fields = host + b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    head = b"POST http://%b/mcp HTTP/%b\r\n" % (authority, version) + fields % len(body)
    with run_by_us.raw(head + body) as connection:
        status = int(received(connection).split(b" ", 2)[1])
    if version == b"1.1" and not host:
        assert status == 400
    else:
        assert (status == 421) is not is_allowed


def test_other_paths_say_where_the_endpoint_is(http: Http) -> None:
    """S51: also a wrong path has a JSON-RPC body."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    for path in ("/", "/mcp/x", "/mcps", "/MCP"):
        reply = http.request("POST", body, {"content-type": "application/json"}, path=path)
        assert reply.status == 404
        assert "/mcp" in reply.error["message"]


def test_the_whole_request_by_hand(http: Http) -> None:
    """The bytes as a client writes them."""
    message = request_of("tools/list", None, "a", stateless_meta())
    headers = {
        name.replace("_", "-").encode(): str(value).encode() for name, value in modern_headers(message).items()
    }
    head = b"".join(b"%s: %s\r\n" % pair for pair in headers.items())
    body = json.dumps(message).encode()
    start = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with http.raw(start + head + b"Content-Length: %d\r\n\r\n" % len(body) + body) as connection:
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"jsonrpc":"2.0","id":"a","result":' in answer
