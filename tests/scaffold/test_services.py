"""Units of systemd and manifests of Kubernetes that `enfilade docker` writes: their form, and what they promise.

systemd itself reads the units where it is there. The manifest is held against a schema of the kinds that it has,
which refuses unknown members.
"""

import configparser
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from enfilade import Settings
from enfilade.scaffold import ContainerOptions, ScaffoldError, write_containers
from enfilade.setting_sources import secret_settings
from enfilade.transports.http11.server import ServerOptions
from support.cli.runner import spawned

SERVER = "from enfilade import MCPApp\napp = MCPApp('Tea')\n@app.tool\ndef brew() -> str:\n    return 'tea'\n"
PROJECT = "[project]\nname = 'Tea shop'\nversion = '1'\ndependencies = ['enfilade']\n"
CONTAINERS = {"Dockerfile", "compose.yaml", ".dockerignore"}
SCHEMA = Path(__file__).with_name("kubernetes_schema.json")
DEFAULTS = Settings()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


def written(folder: Path, **options: bool) -> set[str]:
    return {path.name for path in write_containers(folder, ContainerOptions(**options))}


def unit(folder: Path, name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(folder / name)
    return parser


def is_setting(variable: str) -> bool:
    name = variable.removeprefix("ENFILADE_").lower()
    return name in Settings.__struct_fields__ or (
        name.endswith("_file") and name.removesuffix("_file") in secret_settings()
    )


def test_which_files_are_written(folder: Path) -> None:
    assert written(folder) == CONTAINERS
    before = (folder / "Dockerfile").read_text()
    assert written(folder, systemd=True) == {"tea-shop.service", "tea-shop.socket"}
    assert written(folder, kubernetes=True) == {"kubernetes.yaml"}
    assert (folder / "Dockerfile").read_text() == before
    with pytest.raises(ScaffoldError, match=r"kubernetes.yaml would be overwritten"):
        written(folder, kubernetes=True)


def test_systemd_reads_the_units(folder: Path) -> None:
    written(folder, systemd=True)
    service, listening = unit(folder, "tea-shop.service"), unit(folder, "tea-shop.socket")
    assert service["Service"]["ExecStart"].split()[1:] == [
        "run",
        "server.py",
        "--transport",
        "http",
        "--workers",
        "2",
    ]
    assert service["Service"]["Type"] == "notify"
    stop = ServerOptions(
        host="", port=0, log_level="info", drain_delay=DEFAULTS.drain_delay, shutdown_timeout=10.0
    )
    assert float(service["Service"]["TimeoutStopSec"]) > stop.stop_timeout + DEFAULTS.lifespan_timeout
    text = (folder / "tea-shop.service").read_text()
    variables = [line.split("=")[1] for line in text.splitlines() if line.startswith("Environment=")]
    assert len(variables) == 3
    assert all(map(is_setting, variables))
    assert listening["Socket"]["ListenStream"] == "127.0.0.1:8000"
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    (folder / "tea-shop.service").write_text(text.replace("/srv/tea-shop/.venv/bin/enfilade", "/bin/true"))
    names = [str(folder / "tea-shop.service"), str(folder / "tea-shop.socket")]
    done = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
    assert "tea-shop" not in done.stderr, done.stderr
    broken = text.replace("Type=notify", "Type=notifying")
    (folder / "tea-shop.service").write_text(broken)
    done = subprocess.run([analyze, "verify", "--man=no", *names], capture_output=True, text=True, check=False)
    assert "notifying" in done.stderr  # it looks at what it is given


def manifests(folder: Path) -> list[dict[str, Any]]:
    written(folder, kubernetes=True)
    return list(yaml.safe_load_all((folder / "kubernetes.yaml").read_text()))


def test_the_manifest_has_the_form_of_kubernetes(folder: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    documents = manifests(folder)
    assert [document["kind"] for document in documents] == ["Deployment", "Service", "PodDisruptionBudget"]
    for document in documents:
        validator.validate(document)
    documents[0]["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(documents[0])


def test_the_manifest_agrees_with_itself_and_with_the_settings(folder: Path) -> None:
    deployment, service, budget = manifests(folder)
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    (container,) = template["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert all(map(is_setting, variables))
    assert container["readinessProbe"]["httpGet"]["path"] == DEFAULTS.ready_path
    assert container["livenessProbe"]["httpGet"]["path"] == DEFAULTS.health_path
    delay = float(variables["ENFILADE_DRAIN_DELAY"])
    stop = ServerOptions(host="", port=0, log_level="info", drain_delay=delay, shutdown_timeout=10.0).stop_timeout
    assert template["spec"]["terminationGracePeriodSeconds"] > stop + DEFAULTS.lifespan_timeout
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted.keys() == {volume["name"] for volume in template["spec"]["volumes"]}
    assert variables["ENFILADE_STORE_FILE"].startswith(mounted["secrets"])


def test_by_the_command_line(folder: Path) -> None:
    done = spawned("docker", "--systemd", "--kubernetes", cwd=folder)
    assert done.status == 0, done.err
    assert "tea-shop.service" in done.out
    assert "kubernetes.yaml" in done.out
