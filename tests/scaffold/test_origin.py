"""Where a project gets Enfilade from: each kind of record of PEP 610, and each thing that `--enfilade` takes.

That what is written can be installed is shown by `tests/test_first_minutes.py` and `test_containers.py`.
"""

import importlib.metadata
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from enfilade import __version__
from enfilade.scaffold import (
    ContainerOptions,
    Origin,
    Plan,
    ScaffoldError,
    container_origin,
    installed_origin,
    make_project,
    named_origin,
    names_of,
    next_steps,
    origin,
    write_containers,
)
from scaffold.test_containers import SERVER, hadolint, lay_out
from support.servers.processes import ROOT

GIT = "https://example.com/a/enfilade.git"
VCS = {"vcs": "git", "commit_id": "0123abc"}


class Installed:
    """An installed distribution that has a record of where it came from, or none."""

    requires = importlib.metadata.requires("enfilade")

    def __init__(self, text: str | None) -> None:
        self.text = text

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.text


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Any:
    def say(text: str | None) -> None:
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(text))

    return say


RECORDS: dict[str, tuple[Any, str]] = {
    "an index": (None, f"enfilade>={__version__}"),
    "a commit": ({"url": GIT, "vcs_info": VCS}, f"enfilade @ git+{GIT}@0123abc"),
    "a commit, of a tag": (
        {"url": GIT, "vcs_info": {**VCS, "requested_revision": "v1"}},
        f"enfilade @ git+{GIT}@0123abc",
    ),
    "a tag alone": (
        {"url": GIT, "vcs_info": {"vcs": "git", "requested_revision": "v1"}},
        f"enfilade @ git+{GIT}@v1",
    ),
    "over ssh": (
        {"url": "ssh://git@example.com/enfilade.git", "vcs_info": VCS},
        "enfilade @ git+ssh://git@example.com/enfilade.git@0123abc",
    ),
    "a folder of a repository": (
        {"url": GIT, "vcs_info": VCS, "subdirectory": "python"},
        f"enfilade @ git+{GIT}@0123abc#subdirectory=python",
    ),
    "another system": ({"url": GIT, "vcs_info": {**VCS, "vcs": "hg"}}, f"enfilade @ hg+{GIT}@0123abc"),
    "an archive": (
        {"url": "https://example.com/enfilade-1.whl", "archive_info": {"hash": "sha256=00"}},
        "enfilade @ https://example.com/enfilade-1.whl",
    ),
    "a password": (
        {"url": "https://ada:secret@example.com/e.git", "vcs_info": VCS},
        "enfilade @ git+https://example.com/e.git@0123abc",
    ),
    "variables": (
        {"url": "https://${USER}:${TOKEN}@example.com/e.zip", "archive_info": {}},
        "enfilade @ https://example.com/e.zip",
    ),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_project_says_what_is_recorded(case: str, record: Any, tmp_path: Path) -> None:
    said, wanted = RECORDS[case]
    record(said and json.dumps(said))
    found = installed_origin()
    assert found.requirement() == wanted
    plan = Plan(names=names_of("tea"), docker=True, origin=found)
    place = make_project(plan, tmp_path)
    written = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
    assert written["project"]["dependencies"] == [wanted]
    (dev,) = written["project"]["optional-dependencies"]["dev"]
    assert dev == (wanted.replace("enfilade @", "enfilade[dev] @") if "@" in wanted else "enfilade[dev]")
    assert ("metadata" in written["tool"]["hatch"]) == ("@" in wanted)  # hatchling refuses a URL without it
    assert next_steps(plan, place)[1][0] == 'pip install -e ".[dev]"'
    assert not (place / "vendor").exists()
    dockerfile = (place / "Dockerfile").read_text(encoding="utf-8")
    assert ("FROM python:${PYTHON_VERSION} AS build" in dockerfile) == ("git+" in wanted)
    assert hadolint(place) == ""


@pytest.mark.parametrize("editable", [{}, {"editable": True}], ids=["", "editable"])
def test_of_a_folder_it_has_a_wheel(editable: dict[str, bool], record: Any, tmp_path: Path) -> None:
    record(json.dumps({"url": ROOT.as_uri(), "dir_info": editable}))
    assert installed_origin() == Origin(source=ROOT)
    plan = Plan(names=names_of("tea"), docker=True, origin=installed_origin())
    place = make_project(plan, tmp_path)
    assert [path.name for path in (place / "vendor").iterdir()] == [f"enfilade-{__version__}-py3-none-any.whl"]
    written = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
    assert written["project"]["dependencies"] == [f"enfilade=={__version__}"]
    assert written["tool"]["uv"] == {"find-links": ["vendor"]}
    install = 'pip install --find-links vendor -e ".[dev]"'
    assert next_steps(plan, place)[1][0] == install
    assert f"\n{install}\n" in (place / "README.md").read_text(encoding="utf-8")
    texts = [path.read_text(encoding="utf-8") for path in place.rglob("*") if path.suffix not in ("", ".whl")]
    assert not [text for text in texts if str(ROOT) in text or "file://" in text]


def test_in_the_environment_of_a_project_it_is_the_projects_wheel(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pip keeps no record of what it found by `--find-links vendor`, and no index has that wheel."""
    record(None)
    wheel = f"vendor/enfilade-{__version__}-py3-none-any.whl"
    shop = lay_out(tmp_path / "a shop", {wheel: "7", "vendor/enfilade-0.0.1-py3-none-any.whl": "6"})
    others = [
        *("{", "[]", '{"url": 1, "dir_info": {}}', None, json.dumps({"url": GIT, "vcs_info": VCS})),
        json.dumps({"url": (tmp_path / "gone").as_uri(), "dir_info": {}}),
    ]
    mine = json.dumps({"url": shop.as_uri(), "dir_info": {"editable": True}})
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: map(Installed, [*others, mine]))
    assert installed_origin() == Origin(source=shop / wheel)
    second = make_project(Plan(names=names_of("tea"), origin=installed_origin()), tmp_path)
    assert (second / wheel).read_text(encoding="utf-8") == "7"
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: map(Installed, others))
    assert installed_origin() == Origin()


def test_a_wheel_is_copied_and_one_of_an_older_version_goes(tmp_path: Path, record: Any) -> None:
    wheel = (
        lay_out(tmp_path, {"a place/enfilade-7.0-py3-none-any.whl": "7"})
        / "a place/enfilade-7.0-py3-none-any.whl"
    )
    record(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    shop = lay_out(tmp_path / "shop", {"server.py": SERVER, "vendor/enfilade-6.0-py3-none-any.whl": "6"})
    assert container_origin(shop, installed_origin()).versions == "==6.0"  # what the project has
    chosen = container_origin(shop, installed_origin(), force=True)
    assert chosen == Origin(source=wheel)
    write_containers(shop, ContainerOptions(origin=chosen, valkey=True))
    assert [path.name for path in (shop / "vendor").iterdir()] == [wheel.name]
    said = (shop / "Dockerfile").read_text(encoding="utf-8")
    assert '\nRUN pip --python /opt/venv install --find-links vendor "enfilade[redis]==7.0"\n' in said
    assert hadolint(shop) == ""


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.txt"])
def test_the_image_takes_the_url_that_a_project_has(name: str, tmp_path: Path) -> None:
    text = {
        "pyproject.toml": f'[project]\nname = "shop"\ndependencies = ["Enfilade[redis] @ git+{GIT}@v2"]\n',
        "requirements.txt": f"httpx\nenfilade @ git+{GIT}@v2 ; python_version > '3'\n",
    }[name]
    shop = lay_out(tmp_path, {"server.py": SERVER, name: text})
    assert container_origin(shop, Origin(source=ROOT)) == Origin(url=f"git+{GIT}@v2")


SPECS = {
    "enfilade": "enfilade",
    "enfilade>=0.1,<1": "enfilade>=0.1,<1",
    "Enfilade == 0.1": "enfilade==0.1",
    f"enfilade @ git+{GIT}@main": f"enfilade @ git+{GIT}@main",
    f"enfilade[dev]@git+{GIT}": f"enfilade @ git+{GIT}",
    f"git+{GIT}@main": f"enfilade @ git+{GIT}@main",
    "https://example.com/enfilade-1.zip": "enfilade @ https://example.com/enfilade-1.zip",
}


@pytest.mark.parametrize("said", SPECS)
def test_what_can_be_named(said: str) -> None:
    assert named_origin(said).requirement() == SPECS[said]


def test_a_path_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "docs")
    for said in ("..", str(ROOT), ROOT.as_uri(), f"enfilade @ {ROOT.as_uri()}"):
        assert named_origin(said) == Origin(source=ROOT)


WRONG = {
    "another project": ("starlette>=1", "is no requirement such as"),
    "a longer name": ("enfilade-extras", "is no requirement such as"),
    "a path that is not there": (
        "file:///nowhere/enfilade.whl",
        "which is not there; say where it is to come from",
    ),
    "shell": ('https://example.com/"$(id)"', "has characters that cannot be in a requirement here"),
    "a line": ("enfilade>=1\nRUN id", "has characters that cannot be in a requirement here"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_named(case: str) -> None:
    said, wanted = WRONG[case]
    with pytest.raises(ScaffoldError, match=wanted):
        named_origin(said)


@pytest.mark.parametrize(
    "text", ["{", "[]]", '{"vcs_info": {}}', '{"url": "https://x", "vcs_info": {"vcs": "git"}}']
)
def test_a_record_that_cannot_be_read(text: str, record: Any) -> None:
    record(text)
    with pytest.raises(ScaffoldError, match="cannot be read; say where it is to come from by --enfilade"):
        installed_origin()


def test_a_folder_that_is_gone(record: Any, tmp_path: Path) -> None:
    record(json.dumps({"url": (tmp_path / "gone").as_uri(), "dir_info": {}}))
    with pytest.raises(ScaffoldError, match="which is not there; say where it is to come from by --enfilade"):
        installed_origin()


def test_run_from_a_source_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert installed_origin() == Origin()


def test_what_cannot_be_built_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = lay_out(tmp_path / "source", {"pyproject.toml": "no TOML"})
    (tmp_path / "here").mkdir()
    plan = Plan(names=names_of("tea"), origin=Origin(source=source))
    with pytest.raises(ScaffoldError, match=r"no wheel of Enfilade could be built .*; say where"):
        make_project(plan, tmp_path / "here")
    monkeypatch.setattr(origin.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(origin.shutil, "which", lambda name: None)
    with pytest.raises(ScaffoldError, match=r"neither pip nor uv is here; say where"):
        make_project(plan, tmp_path / "here")
    assert list((tmp_path / "here").iterdir()) == []
