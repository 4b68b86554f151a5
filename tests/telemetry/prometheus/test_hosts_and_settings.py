"""Metrics of an app in a host, and what is said where they cannot be served."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from enfilade import MCPApp, SettingsError
from enfilade.telemetry.prometheus import own_port
from enfilade.telemetry.prometheus.requests import RequestMetrics
from enfilade.transports.http.origin_checks import HostOriginPolicy
from support.harness import Serving
from support.http_client.plain_http import fetch
from support.servers.processes import ServerProcess, enfilade_command, environment, free_port
from support.telemetry.measured_server import MeasuredServer
from support.telemetry.scrape import Scrape

HOST = """
from enfilade import MCPApp
from starlette.applications import Starlette
app = MCPApp("Inner", metrics=True)
app.add_text_resource("note://a", "a note")
api = Starlette(routes=[app.host_route()])
"""


def test_below_a_mount_and_by_a_route_of_the_host() -> None:
    mounted, routed = MCPApp("Mounted", metrics=True), MCPApp("Routed", metrics=True, metrics_path="/own")
    host = Starlette(routes=[Mount("/tools", mounted), routed.host_route(), routed.metrics_route()])
    with Serving(host, lifespan="off") as serving:
        for path in ("/tools/metrics", "/own"):
            scrape = Scrape.of(f"http://127.0.0.1:{serving.port}{path}")
            assert scrape.total("enfilade_info", server="Mounted") >= 1
        assert fetch(serving.port, "GET", "/metrics").status == 404


def test_slow_connections_to_a_port_of_its_own_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_port, "_YIELDS", 0.0)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with own_port.serving([listener], "/metrics", HostOriginPolicy(), ""):
        slow = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(16)]
        for connection in slow:
            connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        assert fetch(port, "GET", "/metrics").status == 200
        for connection in slow:
            connection.close()


def test_a_host_that_run_serves(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(HOST)
    command = enfilade_command("run", "main.py:api", "--transport", "http", "--port", "{port}")
    with ServerProcess(command, cwd=tmp_path, env=environment()) as server:
        assert Scrape.of(f"http://127.0.0.1:{server.port}/metrics").total("enfilade_info", server="Inner") == 1


def test_a_scrape_of_a_server_that_is_off() -> None:
    with Serving(MCPApp("Off")) as serving:
        assert fetch(serving.port, "GET", "/metrics").status == 404


def test_without_the_library_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from enfilade import MCPApp\n"
        "MCPApp(metrics=True).run('http', port=0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert 'pip install "enfilade[prometheus]"' in done.stderr


def test_a_port_that_is_taken_is_named() -> None:
    with MeasuredServer() as server:
        variables = {"ENFILADE_METRICS": "true", "ENFILADE_METRICS_PORT": str(server.port)}
        done = subprocess.run(
            [sys.executable, "-c", f"from enfilade import MCPApp; MCPApp().run('http', port={free_port()})"],
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode != 0
    assert f"enfilade: metrics_port: port {server.port} of 127.0.0.1 is in use" in done.stderr


def test_a_route_cannot_have_the_path_of_the_metrics() -> None:
    app = MCPApp(metrics=True)
    with pytest.raises(ValueError, match="the metrics"):
        app.route("/metrics")(lambda: "mine")
    MCPApp().route("/metrics")(lambda: "mine")


@pytest.mark.parametrize("path", ["", "metrics"])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(SettingsError, match="metrics_path"):
        MCPApp(metrics=True, metrics_path=path)


def test_series_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from enfilade.telemetry.prometheus import requests

    monkeypatch.setattr(requests, "_MOST_SERIES", 3)
    observer = RequestMetrics(lambda method, name: name)
    for number in range(10):
        observer._add(observer._operations, "tools/call", f"bound-{number}", "ok", "http")
    assert {labels[1] for labels in observer._series} == {"bound-0", "bound-1", "bound-2", ""}
