"""`examples/observability`: every metric that an alert or the dashboard asks for is in a scrape of its server."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from support.http_client.connection import Http
from support.servers.processes import ROOT, ServerProcess, enfilade_command
from support.telemetry.scrape import Scrape, outcomes

FOLDER = ROOT / "examples" / "observability"
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))

RULES = {rule["alert"]: rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]}
PANELS: dict[str, list[str]] = {
    panel["title"]: [target["expr"] for target in panel["targets"]] for panel in DASHBOARD["panels"]
}
QUERIES = {**RULES, **{f"{title} {n}": expr for title, exprs in PANELS.items() for n, expr in enumerate(exprs)}}
METRIC = re.compile(r"\b(?:mcp_server|enfilade)_[a-z_]+\b")


@pytest.fixture(scope="module")
def scrape() -> Iterator[Scrape]:
    """A scrape after a call of each tool."""
    command = enfilade_command("run", str(FOLDER / "server.py"), "--transport", "http", "--port", "{port}")
    with ServerProcess(command) as server:
        http = Http(server.port)
        http.modern_call("stock", item="tea")
        http.modern_call("search", text="ea")
        http.modern_call("order", item="coffee")
        http.modern_call("report")
        yield Scrape.of(f"http://127.0.0.1:{server.port}/metrics")


def test_the_tools_are_what_they_are_said_to_be(scrape: Scrape) -> None:
    assert outcomes(scrape, method="tools/call") == {
        ("stock", "ok"): 1,
        ("search", "ok"): 1,
        ("order", "tool_error"): 1,
        ("report", "ok"): 1,
    }


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_for_what_there_is(name: str, scrape: Scrape) -> None:
    asked = set(METRIC.findall(QUERIES[name]))
    assert asked or QUERIES[name].startswith("up{")
    assert asked <= scrape.exposed(), asked - scrape.exposed()


def test_panels_are_filled_and_do_not_overlap() -> None:
    assert len(PANELS) == len(DASHBOARD["panels"]) > 12
    places: list[Any] = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)


def test_the_collector_is_wired_up() -> None:
    collector = yaml.safe_load((FOLDER / "collector.yaml").read_text("utf-8"))
    for pipeline in collector["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(collector[kind])


def test_is_a_project_of_its_own() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["dependencies"] == ["enfilade[prometheus]"]
    readme = (FOLDER / "README.md").read_text("utf-8")
    for link in re.findall(r"\]\(([^)#]+)", readme):
        assert (FOLDER / link).resolve().exists(), link


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.skipif(sys.platform == "win32", reason="paths of promtool")
def test_promtool_takes_rules_and_exposition(scrape: Scrape) -> None:
    for words in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"]):
        done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    ours = re.sub(r"^(?!.*(?:mcp_server_|enfilade_)).*\n", "", scrape.text, flags=re.M)
    ours = re.sub(r"^.*_created.*\n", "", ours, flags=re.M)
    lint = subprocess.run(
        ["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr
