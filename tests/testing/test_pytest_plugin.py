"""The fixtures, as a project has them: one run of pytest, on a project that uses them in every way."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from servers import ROOT

FILES = {
    "conftest.py": """
import pytest
import shop

@pytest.fixture
def mcp_app():
    return shop.app
""",
    "test_project.py": """
import asyncio
import pytest
from enfilade.testing import accept

async def test_each(mcp_client, mcp_era, mcp_transport):
    assert mcp_client.protocol_version == {"stateless": "2026-07-28", "session": "2025-11-25"}[mcp_era]
    assert (await mcp_client.call_tool("add", {"a": 2})).structured_content == {"result": 3}

@pytest.mark.mcp(eras=["session"], transports=["memory", "stdio"], answers=[accept({"name": "Ada", "amount": 1})])
async def test_some(mcp_client):
    await mcp_client.call_tool("order", {"item": "tea"})
    assert not mcp_client.answers_left

def test_plain(mcp_connect):
    async def scenario():
        async with mcp_connect(era="session") as client:
            return client.protocol_version
    assert asyncio.run(scenario()) == "2025-11-25"

@pytest.mark.mcp(eras="session", transports="memory")
async def test_that_fails(mcp_client):
    assert "mine" == "other"

def test_apart():
    pass
""",
    "test_wrong.py": """
import pytest

@pytest.mark.mcp(eras=["future"])
async def test_wrong(mcp_client):
    pass
""",
}


def run_pytest(folder: Path, *words: str) -> str:
    plugins = ["no:cacheprovider", *("anyio", "enfilade.testing.pytest_plugin")]
    command = [sys.executable, "-m", "pytest", *(word for each in plugins for word in ("-p", each)), *words]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # for what else is installed takes seconds
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=100, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    ini = f"[pytest]\npythonpath = {ROOT / 'tests'}\naddopts = --strict-markers\n"
    for name, text in {**FILES, "pytest.ini": ini}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_tests_run_once_for_each_era_and_transport(project: Path) -> None:
    said = run_pytest(project, "-v", "test_project.py")
    for passed in (
        *(f"test_each[{era}-{way}]" for era in ("stateless", "session") for way in ("memory", "http")),
        *("test_some[session-memory]", "test_some[session-stdio]", "test_apart"),
        *(f"test_plain[{era}-{way}]" for era in ("stateless", "session") for way in ("memory", "http")),
    ):
        assert f"test_project.py::{passed} PASSED" in said, said
    assert "test_that_fails[session-memory] FAILED" in said
    assert "ExceptionGroup" not in said
    assert "1 failed, 11 passed" in said


def test_a_project_chooses_by_its_ini_file_and_a_mistake_is_explained(project: Path) -> None:
    words = ("-o", "mcp_eras=session", "-o", "mcp_transports=memory", "--collect-only", "-q")
    said = run_pytest(project, *words)
    assert [line for line in said.splitlines() if "test_each[" in line] == [
        "test_project.py::test_each[session-memory]"
    ]
    assert "there is no 'future' among eras of mcp_client; choose from stateless, session" in said


def test_pytest_finds_it_by_itself() -> None:
    found = {each.name: each.value for each in entry_points(group="pytest11")}
    assert found["enfilade"] == "enfilade.testing.pytest_plugin"


def test_who_does_not_use_it_loads_nothing() -> None:
    code = "import pytest, sys; before = set(sys.modules); import enfilade.testing.pytest_plugin; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert set(done.stdout.split()) <= {
        *("enfilade", "enfilade._version", "enfilade.testing", "enfilade.testing.pytest_plugin"),
    }
