"""The fixtures, as a project has them: one run of pytest, on a project that uses them in every way."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from support.servers.processes import ROOT

FILES = {
    "conftest.py": """
import pytest
from support.servers import asking_server as shop

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

@pytest.mark.mcp(era="session", transport="memory")
async def test_one_of_each(mcp_client):
    assert mcp_client.protocol_version == "2025-11-25"

def test_not_async(mcp_client):
    raise AssertionError("it must not be run")

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
    "test_misspelt.py": """
import pytest

@pytest.mark.mcp(tranports=["http"])
async def test_misspelt(mcp_client):
    pass
""",
}


#: What users of pytest-asyncio write, and what may happen to it in auto mode and in strict mode.
ASYNCIO = """
import pytest
import pytest_asyncio
from enfilade.testing import connect
from support.servers.asking_server import app

pytestmark = pytest.mark.mcp(eras=["session"])

@pytest.mark.asyncio
async def test_that_cannot_be(mcp_client):
    raise AssertionError("it must not be run")

@pytest.mark.asyncio
async def test_connect(mcp_connect):
    async with mcp_connect() as client:
        assert (await client.call_tool("add", {"a": 2})).structured_content == {"result": 3}

@pytest_asyncio.fixture
async def mine():
    async with connect(app) as client:
        yield client

@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared():
    async with connect(app, transport="http") as client:
        yield client

@pytest.mark.asyncio
async def test_mine(mine):
    assert (await mine.call_tool("add", {"a": 2})).structured_content == {"result": 3}

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("a", [1, 2])
async def test_shared(shared, a):
    assert (await shared.call_tool("add", {"a": a})).structured_content == {"result": a + 1}

@pytest_asyncio.fixture
async def by_the_matrix(mcp_connect):
    async with mcp_connect() as client:
        yield client

@pytest.mark.asyncio
async def test_by_the_matrix(by_the_matrix, mcp_era):
    assert by_the_matrix.protocol_version == "2025-11-25"
"""
#: In auto mode no marks are needed, nor are those of fixtures; in strict mode, whoever has none is run by anyio.
UNMARKED = """
import pytest
from enfilade.testing import connect
from support.servers.asking_server import app

@pytest.fixture
async def mine():
    async with connect(app) as client:
        yield client

async def test_mine(mine):
    assert (await mine.call_tool("add", {"a": 2})).structured_content == {"result": 3}
"""
BY_ANYIO = """
import pytest

@pytest.mark.mcp(transports=["memory"], principal="ada")
async def test_by_anyio(mcp_client):
    assert (await mcp_client.call_tool("add", {"a": 2})).structured_content == {"result": 3}
"""


def run_pytest(folder: Path, *words: str, more: tuple[str, ...] = ()) -> str:
    plugins = ["no:cacheprovider", *("anyio", "enfilade.testing.pytest_plugin"), *more]
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
        *(
            "test_some[session-memory]",
            "test_some[session-stdio]",
            "test_apart",
            "test_one_of_each[session-memory]",
        ),
        *(f"test_plain[{era}-{way}]" for era in ("stateless", "session") for way in ("memory", "http")),
    ):
        assert f"test_project.py::{passed} PASSED" in said, said
    assert "test_that_fails[session-memory] FAILED" in said
    assert "ExceptionGroup" not in said
    assert "1 failed, 12 passed, 4 errors" in said
    assert said.count("mcp_client needs `async def`: write `async def test_not_async(...)`") >= 4, said
    assert "it must not be run" not in said


def test_a_project_chooses_by_its_ini_file_and_a_mistake_is_explained(project: Path) -> None:
    words = ("-o", "mcp_eras=session", "-o", "mcp_transports=memory", "--collect-only", "-q")
    said = run_pytest(project, *words)
    assert [line for line in said.splitlines() if "test_each[" in line] == [
        "test_project.py::test_each[session-memory]"
    ]
    assert "there is no 'future' among eras of mcp_client; choose from stateless, session" in said
    assert "test_misspelt: the mark mcp has no option 'tranports'; did you mean transports=?" in said
    assert "pluggy" not in said


def test_pytest_finds_it_by_itself() -> None:
    found = {each.name: each.value for each in entry_points(group="pytest11")}
    assert found["enfilade"] == "enfilade.testing.pytest_plugin"


def test_who_does_not_use_it_loads_nothing() -> None:
    code = "import pytest, sys; before = set(sys.modules); import enfilade.testing.pytest_plugin; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert set(done.stdout.split()) <= {
        *("enfilade", "enfilade.testing", "enfilade.testing.pytest_plugin"),
    }


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_with_pytest_asyncio_it_works_or_fails_at_once(mode: str, project: Path) -> None:
    files = {"test_asyncio.py": ASYNCIO, "test_unmarked.py": UNMARKED, "test_by_anyio.py": BY_ANYIO}
    for name, text in files.items():
        (project / name).write_text(text, encoding="utf-8")
    kept = [name for name in files if name != ("test_by_anyio.py" if mode == "auto" else "test_unmarked.py")]
    words = ("-o", f"asyncio_mode={mode}", "--tb=short", "-v", *kept)
    said = run_pytest(project, *words, more=("pytest_asyncio.plugin",))
    assert "it must not be run" not in said.replace(ASYNCIO, "")
    assert said.count("pytest-asyncio runs this test in an event loop of its own") >= 2, said
    assert {line.split()[1] for line in said.splitlines() if line.startswith("ERROR ")} == {
        f"test_asyncio.py::test_that_cannot_be[session-{way}]" for way in ("memory", "http")
    }, said
    passed = 2 + 1 + 2 + 2 + (1 if mode == "auto" else 2)
    assert f"{passed} passed, 2 errors" in said, said
    assert "cancel scope" not in said


HOSTED = """
import pytest
from enfilade import Context, MCPApp
from starlette.applications import Starlette
from starlette.routing import Mount

app = MCPApp(name="Held")

@app.tool
def who(ctx: Context) -> str:
    return str(ctx.peer.principal)

@pytest.fixture
def mcp_app(request):
    return Starlette(routes=[Mount("/tools", app=app)]) if "host" in request.node.name else app

@pytest.mark.mcp(transports=["http"])
async def test_a_host(mcp_client):
    assert (await mcp_client.call_tool("who", {})).structured_content == {"result": "None"}

@pytest.mark.mcp(principal="ada")
async def test_somebody(mcp_client):
    assert (await mcp_client.call_tool("who", {})).structured_content == {"result": "ada"}

@pytest.mark.mcp(headers={"x-shop": "1"})
async def test_headers(mcp_client, mcp_transport):
    assert mcp_transport == "http"
"""


def test_the_mark_takes_what_connect_takes_and_the_app_may_be_a_host(project: Path) -> None:
    (project / "test_hosted.py").write_text(HOSTED, encoding="utf-8")
    said = run_pytest(project, "test_hosted.py")
    assert "8 passed" in said, said


IDENTIFIED = """
import pytest
from enfilade import Context, MCPApp
from enfilade.auth import Principal

ADA = Principal("ada", "https://issuer.test", claims={"groups": ["staff"]})

@pytest.fixture
def mcp_app():
    app = MCPApp("Marked")

    @app.tool
    def groups(ctx: Context) -> list[str]:
        assert ctx.principal == ADA
        return ctx.principal.claims["groups"]

    return app

@pytest.mark.mcp(principal=ADA)
async def test_groups(mcp_client):
    assert (await mcp_client.call_tool("groups", {})).structured_content == {"result": ["staff"]}
"""


def test_the_mark_takes_a_principal(project: Path) -> None:
    """B7: with its issuer and claims, in each era and over each transport that has one."""
    (project / "test_identified.py").write_text(IDENTIFIED, encoding="utf-8")
    said = run_pytest(project, "test_identified.py")
    assert "4 passed" in said, said
