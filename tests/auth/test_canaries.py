"""Credentials are in no log line at any level, and in nothing that a client gets back.

Servers are real processes that log as much as they can. They are sent good and bad credentials wherever clients
put them, and everything in them that may fail fails with a credential at hand. Each credential is a text that is
nowhere else: whoever prints it is found.

Easy to get wrong: a canary that never came near the place. So each test checks that the failure is in the log.
"""

import base64
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from enfilade.testing.issuer import Issuer
from support.harness import Serving
from support.http_client.connection import Http, Reply
from support.http_client.plain_http import fetch
from support.servers.canary_server import API_KEY, CLIENT_SECRET, RESOURCE
from support.servers.processes import ServerProcess, enfilade_command
from support.waiting import eventually

FILE = "tests/support/servers/canary_server.py"
COMMANDS = {
    "run": ("run", FILE, "--transport", "http", "--port", "{port}", "--log-level", "debug"),
    "dev": ("dev", FILE, "--port", "{port}", "--log-level", "debug"),
}


@dataclass
class Nest:
    """A server, and the texts that must not come out of it.

    Attributes:
        received: whatever clients got back: heads and bodies.
    """

    process: ServerProcess
    http: Http
    issuer: Issuer
    canaries: set[str] = field(default_factory=set)
    received: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def canary(self, kind: str = "unknown") -> str:
        """Return a new text that looks like an opaque token."""
        text = f"{kind}-canary-{next(self._numbers)}-0fQ7"
        self.canaries.add(text)
        return text

    def token(self, **claims: Any) -> str:
        """Return a new access token."""
        token = self.issuer.token("ada", **claims)
        self.canaries |= {token, token.rpartition(".")[2]}
        return token

    def ask(self, method: str = "tools/list", params: Any = None, *, path: str = "/mcp", **headers: Any) -> Reply:
        """Send a stateless request."""
        http = Http(self.http.port, path)
        return self.noted(http.modern(method, params, **headers))

    def noted(self, reply: Reply) -> Reply:
        self.received += [reply.body.decode(), repr(reply.headers)]
        return reply

    def logged(self, text: str) -> None:
        """Wait for a text in the log."""
        eventually(lambda: text in self.process.output, f"nothing is logged of {text!r}: {self.process.output}")

    def check(self) -> None:
        """Check that nothing has come out."""
        assert self.canaries
        for text in (self.process.output, *self.received):
            found = [canary for canary in self.canaries if canary in text]
            assert not found, text


@pytest.fixture(scope="module", params=COMMANDS)
def nest(request: pytest.FixtureRequest) -> Iterator[Nest]:
    issuers: list[Issuer] = []

    async def issuing(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await issuers[0].app(scope, receive, send)

    with Serving(issuing, lifespan="off") as authorization_server:
        url = f"http://127.0.0.1:{authorization_server.port}"
        issuers.append(Issuer(url, audience=RESOURCE))
        env = {"ISSUER": url, "PYTHONPATH": "tests", "NO_COLOR": "1", "PYTHONASYNCIODEBUG": "1"}
        with ServerProcess(enfilade_command(*COMMANDS[request.param]), env=env) as process:
            yield Nest(process, Http(process.port), issuers[0])


@pytest.fixture(autouse=True)
def nothing_comes_out(nest: Nest) -> Iterator[None]:
    secret = base64.b64encode(f"notes:{CLIENT_SECRET}".encode()).decode()
    nest.canaries |= {API_KEY, CLIENT_SECRET, secret}
    yield
    nest.ask("tools/list", authorization=f"Bearer {nest.token()}")  # what came before is in the log by now
    nest.check()


FAILURES = {
    "raises": (500, "verify_token of Failing failed"),
    "group": (500, "ExceptionGroup"),
    "wrong": (500, "TypeError: verify_token of Failing has returned dict"),
    "refuses": (401, ""),
    "away": (503, "a token could not be checked"),
    "unknown": (503, "cannot be asked about a token"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failing_verifier(nest: Nest, kind: str) -> None:
    """B2, R-712, R-719: the client gets an id under which the traceback is, without the token in it."""
    status, logged = FAILURES[kind]
    reply = nest.ask("tools/list", authorization=f"Bearer {nest.canary(kind)}")
    assert reply.status == status, reply.body
    nest.logged(logged)
    if status == 500:
        message = reply.error["message"]
        assert message.startswith("Internal error (id ")
        nest.logged(message.removeprefix("Internal error ").strip("()"))
        nest.logged("[secret]" if kind != "wrong" else logged)
    if kind == "refuses":
        assert reply.header("set-cookie") is None
        assert "not '[secret]'??set-cookie" in (reply.header("www-authenticate") or "")


BAD: dict[str, dict[str, Any]] = {
    "expired": {"expires_in": -100},
    "of another audience": {"audience": "https://elsewhere.example"},
    "of an unknown key": {"header": {"kid": "another"}},
    "of another type": {"header": {"typ": "id+jwt"}},
    "without times": {"exp": None},
}


@pytest.mark.parametrize("claims", BAD.values(), ids=BAD.keys())
def test_a_bad_token(nest: Nest, claims: dict[str, Any]) -> None:
    """B2, R-712."""
    assert nest.ask("tools/list", authorization=f"Bearer {nest.token(**claims)}").status == 401


def test_a_token_in_other_places(nest: Nest) -> None:
    """B2, R-611, R-712: in the query, with any method and any path; and in headers of other schemes."""
    for path in ("/mcp?access_token={}", "/mcp?token={}", "/healthz?access_token={}", "/elsewhere?key={}"):
        for verb in ("POST", "GET", "DELETE", "OPTIONS"):
            nest.received.append(repr(fetch(nest.http.port, verb, path.format(nest.canary()))))
    good = nest.token()
    assert nest.ask("tools/list", path=f"/mcp?access_token={good}").status == 401
    assert (
        nest.ask("tools/list", path=f"/mcp?token={nest.canary()}", authorization=f"Bearer {good}").status == 200
    )
    for scheme in ("Basic", "DPoP", "Token", "Bearer x", ""):
        nest.ask("tools/list", authorization=f"{scheme} {nest.canary()}", dpop=f"{nest.canary()}.x.y")
    nest.ask("tools/list", authorization=[f"Bearer {nest.canary()}", f"Bearer {good}"])
    nest.ask("tools/list", x_api_key=nest.canary(), cookie=nest.canary())
    nest.ask("tools/list", x_api_key=API_KEY)
    nest.ask("tools/list", authorization=f"Bearer {API_KEY}")


def test_a_token_in_broken_http(nest: Nest) -> None:
    """R-611, R-712: a request that is refused before anybody has read it as one."""
    canary = nest.canary()
    for data in (
        f"GET /mcp?access_token={canary} HTTP/9.9\r\n\r\n",
        f"GET /mcp?access_token={canary} HTTP/1.1\r\nauthorization {canary}\r\n\r\n",
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {canary}\x00\r\n\r\n",
        f"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {canary}\r\ncontent-length: x\r\n\r\n",
    ):
        with nest.http.raw(data.encode()) as connection:
            connection.settimeout(10)
            nest.received.append(connection.recv(65536).decode("latin-1"))


HANDLERS: dict[str, tuple[str, dict[str, Any], str]] = {
    **{
        kind: ("tools/call", {"name": "fail", "arguments": {"kind": kind}}, "")
        for kind in ("locals", "text", "told", "log")
    },
    "thread": ("tools/call", {"name": "fail_in_a_thread", "arguments": {}}, "fail_in_a_thread"),
    "prompt": ("prompts/get", {"name": "failing_prompt"}, "prompt 'failing_prompt' failed"),
    "resource": ("resources/read", {"uri": "canary://failing"}, "canary://failing"),
    "middleware": ("prompts/get", {"name": "in middleware"}, "prompts/get failed"),
}


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_failing_handler(nest: Nest, handler: str, era: str) -> None:
    """R-712, R-719: the token of the caller is masked as secrets of tools are."""
    method, params, logged = HANDLERS[handler]
    every: list[dict[str, Any]] = [{"authorization": f"Bearer {nest.token()}"}, {"x_api_key": API_KEY}]
    for credentials in every:
        if era == "stateless":
            reply = nest.ask(method, params, path="/mcp?access-key=x", **credentials)
        else:
            session = nest.http.initialize(**credentials)
            reply = nest.noted(session.ask(method, params, **credentials))
        assert reply.status in (200, 400, 500), reply.body
        if handler == "log":
            assert "Principal(" in reply.result["content"][0]["text"]
        nest.logged({"log": "Principal('ada'", "told": ""}.get(handler, logged or "tool 'fail' failed"))
