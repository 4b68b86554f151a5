"""The manifests on `docs/containers.md`: they agree with the settings, with the image and with each other."""

from typing import Any

import yaml

from docs.test_deployment import DEFAULTS, is_setting, stopping
from support.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "containers.md"
DOCKERFILE = ROOT / "src/enfilade/scaffold/templates/containers/Dockerfile.jinja"


def manifests() -> dict[str, Any]:
    (code,) = [each.code for each in blocks(PAGE) if each.language == "yaml"]
    return {each["kind"]: each for each in yaml.safe_load_all(code)}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def test_the_parts_find_each_other() -> None:
    found = manifests()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    (container,) = pod()["containers"]
    (secret,) = [each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each]
    assert secret["name"] == found["Secret"]["metadata"]["name"]
    assert len(found["Secret"]["stringData"][secret["key"]]) >= 32
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod()["volumes"]}


def test_the_probes_ask_what_is_served() -> None:
    (container,) = pod()["containers"]
    (port,) = [each["containerPort"] for each in container["ports"]]
    assert port == DEFAULTS.port == manifests()["Service"]["spec"]["ports"][0]["targetPort"]
    for probe, path in (
        ("startupProbe", DEFAULTS.health_path),
        ("livenessProbe", DEFAULTS.health_path),
        ("readinessProbe", DEFAULTS.ready_path),
    ):
        assert container[probe]["httpGet"] == {"path": path, "port": port}


def test_it_sets_what_there_is_and_waits_for_the_end() -> None:
    (container,) = pod()["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}
    assert [name for name in variables if not is_setting(name)] == []
    delay = float(variables["ENFILADE_DRAIN_DELAY"])
    assert pod()["terminationGracePeriodSeconds"] > stopping(drain_delay=delay)


def test_the_user_is_that_of_the_image() -> None:
    user = pod()["securityContext"]["runAsUser"]
    assert f"\nUSER {user}\n" in DOCKERFILE.read_text(encoding="utf-8")
