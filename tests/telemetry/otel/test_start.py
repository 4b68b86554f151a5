"""Where telemetry is switched on: by the program, by a setting, and what is said where packages are missing."""

import subprocess
import sys

import pytest

from enfilade import MCPApp
from enfilade.assembly import with_telemetry
from enfilade.settings import Settings, SettingsError
from support.servers.processes import environment

#: A host with its own provider, in a process of its own: there is one provider in a process.
HOST = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from enfilade import MCPApp
from enfilade.settings import Settings
from support.http_client.asgi_calls import AsgiClient

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

async def main():
    for otel in ("auto", "off"):
        app = MCPApp("hosted", settings=Settings(otel=otel))
        app.add_tool(lambda: 1, name="one", description="One.")
        with trace.get_tracer("host").start_as_current_span("POST"):
            await AsgiClient(app).modern("tools/call", {"name": "one", "arguments": {}})
    spans = exporter.get_finished_spans()
    names = [span.name for span in spans]
    assert names == ["tools/call one", "POST", "POST"], names
    assert spans[0].parent == spans[1].context
    assert trace.get_tracer_provider() is provider

asyncio.run(main())
"""


def test_a_provider_of_the_program_is_used() -> None:
    subprocess.run([sys.executable, "-c", HOST], env=environment(), check=True, timeout=60)


def test_it_is_said_which_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    with pytest.raises(
        SettingsError, match=r'otel=\'on\' needs more packages .*: pip install "enfilade\[otel\]"'
    ):
        with_telemetry(Settings(otel="on"))
    assert with_telemetry(Settings()).otel == "auto"


def test_variables_switch_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "x")
    assert with_telemetry(Settings()).otel == "auto"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert with_telemetry(Settings()).otel == "on"
    assert with_telemetry(Settings(otel="off")).otel == "off"


def test_an_app_alone_has_no_telemetry() -> None:
    app = MCPApp("alone")
    app._observe()
    assert app.dispatcher.observation is None
