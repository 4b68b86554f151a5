"""What `enfilade new` makes works from its root without an edit: it is tested, installed, imported and served.

The easy thing to get wrong is to find this checkout instead: installed means a virtual environment that has
nothing of it but a wheel.
"""

import ast
import asyncio
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from mcp import Client, StdioServerParameters

from enfilade import Settings
from enfilade.discovery import find_target
from enfilade.scaffold import Plan, ScaffoldError, make_project, names_of, next_steps, project
from support.scaffold.installing import OfflinePackages, run_to_end
from support.servers.processes import ROOT, ServerProcess, enfilade_command

SMALL = {
    *(".env.example", ".gitignore", "README.md", "pyproject.toml"),
    *("tests/conftest.py", "tests/test_server.py", "evals/eval_tools.py"),
    *(f"src/the_simple_server_name/{name}" for name in ("__init__.py", "server.py")),
    *(f"src/the_simple_server_name/tools/{name}" for name in ("__init__.py", "text.py")),
}
FULL = SMALL | {
    *(f"src/the_simple_server_name/{name}.py" for name in ("notebook", "prompts", "resources")),
    *(f"src/the_simple_server_name/tools/{name}.py" for name in ("notes", "signing")),
    "tests/test_notes.py",
}
GITHUB = SMALL | {"src/the_simple_server_name/tools/github.py", "tests/test_github.py"}
DOCKER = {"Dockerfile", "compose.yaml", ".dockerignore"}
TITLE = "The simple server name"
PLANS = {
    "small": (Plan.named(TITLE), SMALL),
    "docker": (Plan(names=names_of(TITLE), docker=True, transport="stdio"), SMALL | DOCKER),
    "full": (Plan(names=names_of(TITLE), full=True, docker=True), FULL | DOCKER),
    "github": (Plan(names=names_of(TITLE), auth="github"), GITHUB),
}


def files(folder: Path) -> dict[str, str]:
    """Return the texts below a folder, by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", PLANS)
def test_the_files_are_whole(kind: str, tmp_path: Path) -> None:
    plan, wanted = PLANS[kind]
    place = make_project(plan, tmp_path)
    assert place == tmp_path / "the-simple-server-name"
    assert list(tmp_path.iterdir()) == [place]
    made = files(place)
    assert set(made) == wanted
    for name, text in made.items():
        assert re.search(r"[^\s]\n\Z", text), f"{name} does not end with a line"
        assert "{{" not in text, name
        assert "{%" not in text, name
        if name.endswith(".py"):
            assert ast.get_docstring(ast.parse(text)), name
        if name.endswith(".yaml"):
            assert yaml.safe_load(text)
    described = set(re.findall(r"^\| `([^`]+)`", made["README.md"], re.MULTILINE))
    assert all((place / name).exists() for name in described)


def test_what_is_written_about_settings_is_so(tmp_path: Path) -> None:
    made = files(make_project(PLANS["full"][0], tmp_path))
    for text in made.values():
        for name in re.findall(r"ENFILADE_([A-Z_]+)", text):
            assert name.lower() in Settings.__struct_fields__


def test_what_is_written_about_the_oauth_app_is_so(tmp_path: Path) -> None:
    """A1: the variables are those that the server reads, in each place that names them."""
    made = files(make_project(PLANS["github"][0], tmp_path))
    variables = {f"ENFILADE_AUTH_GITHUB_CLIENT_{part}" for part in ("ID", "SECRET")}
    for name in (".env.example", "README.md"):
        assert set(re.findall(r"ENFILADE_AUTH_\w+", made[name])) == variables, name
    assert "http://127.0.0.1:8000/auth/callback" in made["README.md"]
    dependencies = tomllib.loads(made["pyproject.toml"])["project"]["dependencies"]
    assert [each.partition(">")[0] for each in dependencies] == ["enfilade[auth]"]


def test_the_project_says_what_it_is(tmp_path: Path) -> None:
    place = make_project(Plan.named("Ada's tea & cake (v2)"), tmp_path)
    said = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))
    assert said["build-system"]["build-backend"] == "hatchling.build"
    assert said["project"]["name"] == "adas-tea-cake-v2"
    assert said["project"]["description"] == "Ada's tea & cake (v2): an MCP server"
    found = find_target(str(place))
    assert (found.file, found.name) == (place / "src/adas_tea_cake_v2/server.py", "app")


@pytest.mark.parametrize(("kind", "count"), [("full", 25), ("github", 13)])
def test_its_own_tests_pass(kind: str, count: int, tmp_path: Path) -> None:
    """D51. Those of a small project are run by the page `docs/new.md`."""
    place = make_project(PLANS[kind][0], tmp_path)
    done = subprocess.run(
        # pytest-asyncio is here for other tests; a project does not bring it.
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error"],
        cwd=place,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(f"^{count} passed", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize("kind", ["full", "github"])
def test_it_is_in_good_style(kind: str, tmp_path: Path) -> None:
    """By the defaults of ruff, which is what its author's editor has."""
    place = make_project(PLANS[kind][0], tmp_path)
    for words in (["check", "--extend-select", "I,B,UP"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache"],
            cwd=place,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


async def tools_of(client: Client) -> set[str]:
    async with client:
        return {tool.name for tool in (await client.list_tools()).tools}


@pytest.fixture(scope="module")
def installed(offline_packages: OfflinePackages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a project and the programs of an environment that it was installed into, `pip install .`."""
    folder = tmp_path_factory.mktemp("installed")
    place = make_project(PLANS["full"][0], folder)
    programs = offline_packages.environment(folder / "venv")
    offline_packages.install(programs, ".", cwd=place)
    return place, programs


def test_an_installed_project_is_imported(
    installed: tuple[Path, Path], offline_packages: OfflinePackages, tmp_path: Path
) -> None:
    place, programs = installed
    code = "import the_simple_server_name.tools.text as t, enfilade; print(t.__file__, enfilade.__file__)"
    printed = run_to_end([str(programs / "python"), "-c", code], offline_packages.env, tmp_path).split()
    assert all(str(programs.parent) in path for path in printed), printed
    said = run_to_end([str(programs / "python"), "evals/eval_tools.py"], offline_packages.env, place)
    assert said == "2 cases can be met\n"


@pytest.mark.parametrize(
    "words",
    [["enfilade", "run", "-t", "stdio"], ["the-simple-server-name", "--transport", "stdio"]],
    ids=" ".join,
)
def test_an_installed_project_is_served_over_stdio(
    words: list[str], installed: tuple[Path, Path], offline_packages: OfflinePackages
) -> None:
    place, programs = installed
    parameters = StdioServerParameters(
        command=str(programs / words[0]),
        args=words[1:],
        env=offline_packages.env,
        cwd=place,
    )
    tools = asyncio.run(tools_of(Client(parameters)))
    assert tools == {"greet", "measure", "add_notes", "clear_notes", "sign"}


def test_an_installed_project_is_served_from_anywhere(
    installed: tuple[Path, Path], offline_packages: OfflinePackages, tmp_path: Path
) -> None:
    _, programs = installed
    command = [str(programs / "enfilade"), "run", "-m", "the_simple_server_name.server", "-p", "{port}"]
    with ServerProcess(command, env=offline_packages.env, cwd=tmp_path) as running:
        assert "greet" in asyncio.run(tools_of(Client(running.url)))
        assert f"claude mcp add --transport http the-simple-server-name {running.url}" in running.output


def test_it_is_served_before_it_is_installed(tmp_path: Path) -> None:
    place = make_project(PLANS["small"][0], tmp_path)
    with ServerProcess(enfilade_command("run", "-p", "{port}"), cwd=place) as running:
        assert asyncio.run(tools_of(Client(running.url))) == {"greet", "measure"}


# -- all or nothing ----------------------------------------------------------------------------------------------


def _full(place: Path) -> None:
    place.mkdir()
    (place / "mine.txt").write_text("mine", encoding="utf-8")


IN_THE_WAY = {
    "a folder with something in it": _full,
    "a file": lambda place: place.write_text("mine", encoding="utf-8"),
    "a link that leads nowhere": lambda place: place.symlink_to("nowhere"),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_nothing_is_overwritten(case: str, tmp_path: Path) -> None:
    place = tmp_path / "the-simple-server-name"
    try:
        IN_THE_WAY[case](place)
    except OSError:
        pytest.skip("no links here")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(ScaffoldError, match="exists already; give another name, or another --directory"):
        make_project(PLANS["small"][0], tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "the-simple-server-name").mkdir()
    assert set(files(make_project(PLANS["small"][0], tmp_path))) == SMALL


def test_there_must_be_somewhere_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=r"there is no folder .*; make it first"):
        make_project(PLANS["small"][0], tmp_path / "nowhere")


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "FILES", (*project.FILES, ("pyproject.toml/in_a_file", "README.md")))
    with pytest.raises(ScaffoldError, match="could not be made"):
        make_project(PLANS["small"][0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_several_that_are_made_at_once_one_is_there(tmp_path: Path) -> None:
    meeting = threading.Barrier(4)

    def make(kind: str) -> str:
        meeting.wait()
        try:
            make_project(PLANS[kind][0], tmp_path)
        except ScaffoldError:
            return ""
        return kind

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(make, ["small", "full", "docker", "full"]))
    (winner,) = [kind for kind in made if kind]
    assert [path.name for path in tmp_path.iterdir()] == ["the-simple-server-name"]
    assert set(files(tmp_path / "the-simple-server-name")) == PLANS[winner][1]


def test_the_next_steps_fit_the_plan(tmp_path: Path) -> None:
    small = [command for command, _ in next_steps(PLANS["small"][0], Path("some where/tea"))]
    assert small[:3] == ["cd 'some where/tea'", 'pip install -e ".[dev]"', "pytest"]
    verbs = [each.split()[1] for each in small if each.startswith("enfilade ")]
    assert verbs == ["call", "run", "configure", "check", "docker"]
    assert next_steps(PLANS["full"][0], tmp_path)[-1][0] == "docker compose up --build"


# -- templates ---------------------------------------------------------------------------------------------------


@contextmanager
def _without(package: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        yield


def test_without_jinja2_it_says_what_to_install(tmp_path: Path) -> None:
    from enfilade.scaffold.render import _environment

    _environment.cache_clear()
    with (
        _without("jinja2"),
        pytest.raises(ScaffoldError, match=r'needs more packages: pip install "enfilade\[dev\]"'),
    ):
        make_project(PLANS["small"][0], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_value_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    from enfilade.scaffold.render import render

    with pytest.raises(UndefinedError, match="title"):
        render("project/init.py")


def test_every_template_is_used() -> None:
    templates = ROOT / "src/enfilade/scaffold/templates"
    auth = (file for files in project.AUTH.values() for file in files)
    used = {f"project/{template}.jinja" for _, template in (*project.FILES, *project.FULL, *auth)}
    there = {path.relative_to(templates).as_posix() for path in templates.rglob("*.*")}
    assert {name for name in there if name.startswith("project/")} == used
    assert shutil.which("git") is None or not _ignored(sorted(templates.rglob("*.*")))


def _ignored(paths: list[Path]) -> str:
    """Return those of some files that git ignores: they would be missing from the wheel."""
    done = subprocess.run(
        ["git", "check-ignore", *map(str, paths)], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout
