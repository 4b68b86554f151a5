"""What is loaded when: nothing before it is needed, which makes `import enfilade` and a first answer quick.

Counted in modules, because time says more about the machine. The easy thing to get wrong is to import in the test
what the server should not: each stage is a process of its own.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from support.http_client.connection import Http
from support.servers.processes import ServerProcess, free_port

SERVER = """
import sys
from enfilade import MCPApp, Context
IMPORTED = list(sys.modules)
OPENED = []
async def look(request, call_next):
    if request.method == "tools/call":
        OPENED.extend(sys.modules)
    return await call_next(request)
app = MCPApp("counting", middleware=[look])
MADE = list(sys.modules)
@app.tool
async def loaded() -> list[list[str]]:
    "Say what was loaded at each stage."
    return [IMPORTED, MADE, DECLARED, OPENED, list(sys.modules)]
DECLARED = list(sys.modules)
if __name__ == "__main__":
    app.run("http", port=int(sys.argv[1]), log_level="warning")
"""

#: Needed by nobody who offers one plain tool on a store in memory.
NEVER = {
    *(
        "anyio",
        "dotenv",
        "httpx",
        "jsonschema_rs",
        "mcp",
        "opentelemetry",
        "redis",
        "rich",
        "sqlite3",
        "starlette",
    ),
    *("click", "websockets", "wsproto"),
    *("importlib.resources", "logging.handlers", "lzma", "pickle", "tempfile", "typing_extensions"),
    *(f"enfilade.primitives.{name}" for name in ("completion", "prompt", "resource", "uris")),
    *(f"enfilade.primitives.values.{name}" for name in ("faults", "repairs", "validation_messages")),
    *("pydantic", "pydantic_core", "enfilade.primitives.schema.schemas", "enfilade.primitives.values.arguments"),
    *("enfilade.primitives.values.results", "enfilade.primitives.values.structured_output"),
    *(f"enfilade.transports.{name}" for name in ("bridge", "message_connection", "stdio")),
    "enfilade.transports.processes.supervisor",
    *("enfilade.cli", "enfilade.loading", "enfilade.state.redis.store", "enfilade.state.sqlite.store"),
    *("cryptography.hazmat.primitives.ciphers", "multiprocessing", "uvicorn.main", "uvicorn.supervisors"),
    *("enfilade.serving.client_requests.ask", "enfilade.primitives.questions.question"),
}
#: Needed by a server that serves, and before that by nobody.
SERVING = {
    *("cryptography", "httptools", "uvicorn", "uvloop"),
    *("enfilade.serving.dispatcher", "enfilade.serving.tools", "enfilade.transports"),
}
#: Needed to make an app, and to register a tool.
DECLARING = {"enfilade.primitives.tool", "enfilade.settings"}
#: Needed to read the arguments of a tool, so not before somebody lists or calls one.
CALLING = {"enfilade.primitives.schema.plain_schemas", "enfilade.primitives.values.plain_values"}

# The most modules that may be loaded beyond what Python loads anyway: of ours, and in all. They may be raised for
# something that is worth it. The second has some room, for versions of Python and of libraries differ.
MOST = {
    "imported": (57, 243),
    "made": (59, 246),
    "declared": (61, 250),
    "opened": (128, 393),
    "answered": (130, 398),
}


@pytest.fixture(scope="module")
def modules_of_python() -> set[str]:
    """Return what Python loads by itself."""
    return modules_after("pass")


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, modules_of_python: set[str]) -> dict[str, set[str]]:
    """Return what a server has loaded at each stage, as it says over HTTP, beyond what Python loads by itself."""
    script = tmp_path_factory.mktemp("counting") / "server.py"
    script.write_text(SERVER, encoding="utf-8")
    with ServerProcess([sys.executable, str(script), "{port}"], port=free_port()) as server:
        answer = Http(server.port).initialize().call("loaded")
    found = answer.response["result"]["structuredContent"]["result"]
    return {stage: set(names) - modules_of_python for stage, names in zip(MOST, found, strict=True)}


def modules_after(statement: str) -> set[str]:
    """Return what is loaded after a statement, away from the checkout."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(sys.prefix), capture_output=True, check=True)
    return set(done.stdout.decode().split())


def test_the_face_is_but_a_face(modules_of_python: set[str]) -> None:
    loaded = modules_after("import enfilade") - modules_of_python
    assert {name for name in loaded if name.startswith("enfilade")} == {"enfilade"}
    assert loaded & {"asyncio", "msgspec", *NEVER, *SERVING, *DECLARING, *CALLING} == set()
    assert len(loaded) <= 40, sorted(loaded)


@pytest.mark.parametrize(
    ("stage", "absent"),
    [
        ("imported", NEVER | SERVING | CALLING | DECLARING),
        ("made", NEVER | SERVING | CALLING | {"enfilade.primitives.tool"}),
        ("declared", NEVER | SERVING | CALLING),
        ("opened", NEVER | CALLING),
        ("answered", NEVER),
    ],
)
def test_nothing_is_loaded_before_it_is_needed(stage: str, absent: set[str], stages: dict[str, set[str]]) -> None:
    assert stages[stage] & absent == set()


def test_what_is_needed_was_named_rightly(stages: dict[str, set[str]]) -> None:
    """A name with a typing error in it would never be found, and prove nothing."""
    assert {*SERVING, *DECLARING, *CALLING} - {"uvloop"} <= stages["answered"]  # which is not everywhere
    ours = {name for name in NEVER if name.startswith("enfilade.")}
    assert modules_after("; ".join(f"import {name}" for name in sorted(ours))) >= ours


@pytest.mark.parametrize("stage", MOST)
def test_how_much_is_loaded(stage: str, stages: dict[str, set[str]]) -> None:
    ours, all_of_it = MOST[stage]
    found = {name for name in stages[stage] if name.startswith("enfilade")}
    assert len(found) <= ours, sorted(found)
    assert len(stages[stage]) <= all_of_it, sorted(stages[stage])
