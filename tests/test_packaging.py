"""What a user installs and what `import enfilade` costs: few packages, nothing loaded before it is needed.

It is built and installed into an empty environment, because an editable install hides what a wheel forgot.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_PACKAGES = 25
HEAVY = {
    "cryptography",
    "click",
    "httptools",
    "httpx",
    "mcp",
    "opentelemetry",
    "rich",
    "starlette",
    "uvicorn",
}
IMPORTS = ["import enfilade", "from enfilade import MCPApp, Context, tool"]

IMPORT_COST = """
import statistics, subprocess, sys, time
def seconds(code):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start
runs = [(seconds("pass"), seconds(sys.argv[1])) for _ in range(5)]
print(1000 * statistics.median(full - bare for bare, full in runs))
"""


def output(python: str | Path, *arguments: str) -> str:
    """Run an interpreter away from the checkout, and return what it printed."""
    done = subprocess.run(
        [str(python), *arguments], cwd=Path(sys.prefix), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment into which a user has installed the project."""
    folder = tmp_path_factory.mktemp("user") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    output(python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(ROOT))
    return python


@pytest.mark.parametrize("repository", ["", "https://example.com/a/enfilade"], ids=["", "repository"])
def test_what_is_built_can_be_released(repository: str, tmp_path: Path) -> None:
    """As `make dist` does; and the README has no link that leads nowhere from an index."""
    env = {**os.environ, "ENFILADE_REPOSITORY": repository, "NO_COLOR": "1"}
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(words, cwd=ROOT, env=env, capture_output=True, check=True)
    built = sorted(tmp_path.iterdir())
    version = importlib.metadata.version("enfilade")
    assert [path.name for path in built] == [
        f"enfilade-{version}-py3-none-any.whl",
        f"enfilade-{version}.tar.gz",
    ]
    words = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built)]
    done = subprocess.run(words, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2
    with zipfile.ZipFile(built[0]) as wheel:
        metadata = wheel.read(f"enfilade-{version}.dist-info/METADATA").decode()
    targets = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert ("[a new project](" if repository else "a new project, ") in " ".join(metadata.split())
    assert [target for target in targets if not target.startswith(("https://", "http://", "#"))] == []
    files = [target for target in targets if target.startswith("https://example.com/")]
    assert bool(files) == bool(repository)
    for target in files:
        path = target.removeprefix(f"{repository}/blob/v{version}/").partition("#")[0]
        assert (ROOT / path).exists(), target
    assert ("Project-URL: Changelog, https://example.com/" in metadata) == bool(repository)
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"hatch_build.py", "README.md", "src/enfilade/py.typed", "tests/conftest.py", "LICENSE"} <= names


def test_brings_few_packages(installed: Path) -> None:
    listed = json.loads(output(installed, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    names = sorted({package["name"] for package in listed} - {"pip", "setuptools"})
    assert len(names) <= MOST_PACKAGES, names


def test_the_wheel_is_whole(installed: Path) -> None:
    """It carries its types, and every module and every template of the source tree."""
    root = Path(output(installed, "-c", "import enfilade; print(enfilade.__file__)").strip()).parent
    source = ROOT / "src" / "enfilade"
    assert (root / "py.typed").exists()
    for kind in ("*.py", "*.jinja"):
        there = {path.relative_to(source) for path in source.rglob(kind)}
        assert there
        assert there == {path.relative_to(root) for path in root.rglob(kind)}


def test_the_command_line_is_there(installed: Path) -> None:
    program = installed.parent / ("enfilade.exe" if os.name == "nt" else "enfilade")
    done = subprocess.run([str(program), "--help"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_what_builders_need_is_not_there_and_is_named(installed: Path) -> None:
    program = installed.parent / ("enfilade.exe" if os.name == "nt" else "enfilade")
    done = subprocess.run([str(program), "new", "tea"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert done.stderr == 'enfilade: this needs more packages: pip install "enfilade[dev]"\n'


@pytest.mark.parametrize("statement", IMPORTS)
def test_import_leaves_the_heavy_libraries_alone(statement: str) -> None:
    """A server, a crypto library, a CLI library or a telemetry library is loaded when it is first needed."""
    loaded = output(sys.executable, "-c", f"{statement}; import sys; print(*sys.modules)").split()
    assert HEAVY & set(loaded) == set()


@pytest.mark.parametrize("statement", IMPORTS)
def test_import_cost_is_known(
    installed: Path, statement: str, record_property: Callable[[str, object], None]
) -> None:
    """Measured for the report, not judged: a busy machine must not fail the tests."""
    milliseconds = float(output(installed, "-c", IMPORT_COST, statement))
    assert milliseconds > 0
    record_property("milliseconds", round(milliseconds))
    print(f"\n{statement}: {milliseconds:.0f} ms over bare Python")
