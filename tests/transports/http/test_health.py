"""Probes: alive or not, ready or not, beside the endpoint, by any name, and no word too many.

The server's end, which makes it unready, is in `test_draining.py`.
"""

import http.client
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from enfilade import MCPApp
from enfilade.auth import AuthorizationServer, ResourceServer
from enfilade.setting_sources import load
from enfilade.settings import SettingsError
from enfilade.state.store import StoreError
from enfilade.testing import Issuer
from support.harness import Serving
from support.servers.processes import free_port

OK = b'{"status":"ok"}'


def ask(port: int, path: str, verb: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(verb, path, headers={} if host is None else {"host": host})
    response = connection.getresponse()
    found = response.status, response.read(), {key.lower(): value for key, value in response.getheaders()}
    connection.close()
    return found


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_is_answered_by_whatever_name_it_calls(path: str) -> None:
    with Serving(MCPApp()) as server:
        for host in (None, "10.1.2.3:8000", "evil.example.com"):
            status, body, headers = ask(server.port, path, host=host)
            assert (status, body) == (200, OK)
            assert headers["content-type"] == "application/json"
            assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_get_and_head_are_answered(path: str) -> None:
    with Serving(MCPApp()) as server:
        status, body, headers = ask(server.port, path, "HEAD")
        assert (status, body, headers["content-length"]) == (200, b"", str(len(OK)))
        for verb in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, _, headers = ask(server.port, path, verb)
            assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_the_paths_can_be_chosen_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_HEALTH_PATH", "/alive")
    monkeypatch.setenv("ENFILADE_READY_PATH", "")
    with Serving(MCPApp()) as server:
        assert ask(server.port, "/alive")[:2] == (200, OK)
        for path in ("/healthz", "/readyz", "/"):
            assert ask(server.port, path)[0] == 404


def test_a_path_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENFILADE_READY_PATH", "ready")
    with pytest.raises(SettingsError, match="ready_path"):
        load({})


@pytest.mark.parametrize("path", ["/tools", "/mcp"])
def test_within_a_host_they_are_where_the_app_is(path: str) -> None:
    """The host tells the app nothing of its lifespan; a probe may well be the first to ask."""
    opened = []

    @asynccontextmanager
    async def lifespan(_: MCPApp) -> AsyncIterator[None]:
        opened.append(1)
        yield

    with Serving(Starlette(routes=[Mount(path, MCPApp(lifespan=lifespan))])) as server:
        assert ask(server.port, f"{path}/healthz")[:2] == (200, OK)
        assert opened == []
        assert ask(server.port, f"{path}/readyz")[:2] == (200, OK)
        assert opened == [1]
        assert ask(server.port, "/healthz")[0] == 404


def test_a_lifespan_that_cannot_start_is_alive_and_not_ready() -> None:
    """Here the host asks at each request; under `run()` the process would end."""

    @asynccontextmanager
    async def lifespan(_: MCPApp) -> AsyncIterator[None]:
        raise RuntimeError("the password is swordfish")
        yield

    with Serving(MCPApp(lifespan=lifespan), lifespan="off") as server:
        assert ask(server.port, "/healthz")[:2] == (200, OK)
        status, body, _ = ask(server.port, "/readyz")
    assert status == 503
    assert body == b'{"status":"unavailable","reason":"the lifespan could not be started"}'


def test_a_store_out_of_reach_is_alive_and_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready again by itself; nothing is said of where the store is."""
    app = MCPApp()

    async def unreachable(_: str) -> Any:
        raise StoreError("nobody at 10.0.0.7")

    with Serving(app) as server:
        with monkeypatch.context() as patch:
            patch.setattr(app.store.keys, "get", unreachable)
            assert ask(server.port, "/healthz")[:2] == (200, OK)
            status, body, _ = ask(server.port, "/readyz")
            assert status == 503
            assert body == b'{"status":"unavailable","reason":"the store is out of reach"}'
        assert ask(server.port, "/readyz")[:2] == (200, OK)


@pytest.mark.parametrize("kind", ["valkey", "sqlite"])
def test_a_store_that_is_away_at_the_start_is_said_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And the server starts all the same."""
    (tmp_path / "file").touch()
    url = f"valkey://127.0.0.1:{free_port()}" if kind == "valkey" else f"sqlite:///{tmp_path}/file/state.db"
    with Serving(MCPApp(store=url)) as server:
        assert ask(server.port, "/healthz")[:2] == (200, OK)
        said = [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    assert len([text for text in said if "out of reach" in text]) == 1, said
    assert len(said) <= (1 if kind == "valkey" else 2), said


def test_probes_hide_nothing_of_the_endpoint() -> None:
    """The endpoint's own path outranks them."""
    with Serving(MCPApp(path="/healthz")) as server:
        assert ask(server.port, "/healthz", "PUT")[0] == 405
        assert ask(server.port, "/healthz")[0] == 400


class TestVerbose:
    def test_each_part_has_a_status(self, monkeypatch: pytest.MonkeyPatch) -> None:
        app = MCPApp()

        async def unreachable(_: str) -> Any:
            raise StoreError("nobody at 10.0.0.7")

        with Serving(app) as server:
            status, body, _ = ask(server.port, "/readyz?verbose")
            parts = dict.fromkeys(("lifespan", "server", "store", "secret", "workers"), "ok")
            assert (status, json.loads(body)) == (200, {"status": "ok", "parts": parts})
            assert ask(server.port, "/readyz?other")[:2] == ask(server.port, "/healthz?verbose")[:2] == (200, OK)
            with monkeypatch.context() as patch:
                patch.setattr(app.store.keys, "get", unreachable)
                status, body, _ = ask(server.port, "/readyz?verbose=1")
            assert status == 503
            reason = "the store is out of reach"
            expected = {"lifespan": "ok", "server": "ok", "store": reason}
            assert json.loads(body) == {"status": "unavailable", "reason": reason, "parts": expected}
            app.drain()
            status, body, _ = ask(server.port, "/readyz?verbose")
            assert (status, json.loads(body)["parts"]) == (503, {"lifespan": "ok", "server": "stopping"})

    def test_keys_that_cannot_be_had_make_nothing_unready(self) -> None:
        resource = "https://mcp.example.com/mcp"
        issuer = Issuer(f"http://127.0.0.1:{free_port()}", audience=resource)
        away = AuthorizationServer(issuer.url, jwks_uri=f"{issuer.url}/jwks")
        with Serving(MCPApp(auth=ResourceServer(resource, [away]))) as server:
            before = json.loads(ask(server.port, "/readyz?verbose")[1])
            assert before["parts"]["authorization"] == "ok"
            reply = server.http.post({}, authorization=f"Bearer {issuer.token('ada')}")
            assert reply.status == 503
            status, body, _ = ask(server.port, "/readyz?verbose")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert json.loads(body)["parts"]["authorization"] == "an authorization server is out of reach"
        assert issuer.url.encode() not in body
