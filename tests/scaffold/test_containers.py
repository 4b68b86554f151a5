"""What `enfilade docker` writes: the image is built and served here, step by step, without a container engine.

`image.py` follows the Dockerfile in a folder of its own. What it cannot show (capabilities, read-only file
systems) is looked for in the text, and hadolint reads it as well.
"""

import asyncio
import copy
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from mcp import Client

from enfilade import Settings
from enfilade.scaffold import (
    ContainerOptions,
    Origin,
    Plan,
    ScaffoldError,
    make_project,
    names_of,
    write_containers,
)
from enfilade.setting_sources import load
from enfilade.transports.http11.server import ServerOptions
from support.scaffold.image import Image, instructions
from support.scaffold.installing import OfflinePackages
from support.servers.processes import ROOT, ServerProcess, free_port

SERVER = """
from enfilade import MCPApp

app = MCPApp("Plain")


@app.tool
def greet(name: str) -> str:
    return f"Hello, {name}!"
"""
PROJECT = "[project]\nname = 'plain'\nversion = '1'\ndependencies = ['Enfilade[redis] >= 0.1']\n"
BUILT = "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n" + PROJECT
FILES = ["Dockerfile", "compose.yaml", ".dockerignore"]
SECRET = "a value that must stay outside"
ENDED = (0, -signal.SIGTERM)


def lay_out(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


#: Projects of every layout: their files, what the image runs, and where the versions of libraries come from.
LAYOUTS: dict[str, tuple[dict[str, str], list[str], str]] = {
    "a file": ({"server.py": SERVER}, ["server.py"], 'pip --python /opt/venv install "enfilade'),
    "a file and requirements": (
        {"server.py": SERVER, "requirements.txt": "enfilade\n"},
        ["server.py"],
        "--requirement requirements.txt",
    ),
    "a project that is not installed": (
        {"server.py": SERVER, "pyproject.toml": f"{PROJECT}[tool.enfilade]\nserver = 'server.py:app'\n"},
        ["server.py:app"],
        "if [ -f uv.lock ]",
    ),
    "a package": (
        {"src/plain/server.py": SERVER, "src/plain/__init__.py": "", "pyproject.toml": BUILT},
        ["--module", "plain.server"],
        "if [ -f uv.lock ]",
    ),
    "a package beside pyproject.toml": (
        {
            "plain/main.py": SERVER,
            "plain/__init__.py": "",
            "pyproject.toml": f"{BUILT}[tool.enfilade]\nserver = 'plain/main.py:app'\n",
        },
        ["--module", "plain.main:app"],
        "if [ -f uv.lock ]",
    ),
    "a module": (
        {"plain/main.py": SERVER, "pyproject.toml": f"{PROJECT}[tool.enfilade]\nmodule = 'plain.main'\n"},
        ["--module", "plain.main"],
        "if [ -f uv.lock ]",
    ),
}


@pytest.mark.parametrize("valkey", [False, True], ids=["", "valkey"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, valkey: bool, tmp_path: Path) -> None:
    files, words, versions = LAYOUTS[layout]
    folder = lay_out(tmp_path, files)
    assert write_containers(folder, ContainerOptions(valkey=valkey)) == [folder / name for name in FILES]
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    made = {each.word: each for each in instructions(text)}
    assert made["CMD"].words == ["enfilade", "run", *(word for word in words if not word.startswith("--"))]
    assert all(f'"{word}"' in made["CMD"].rest for word in words)
    assert versions in text
    assert ("enfilade[redis]" in text) == valkey
    complaints = hadolint(folder)
    assert complaints == ""


def hadolint(folder: Path) -> str:
    """Return what hadolint says of a Dockerfile, where it is installed."""
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        return ""
    words = [str(program), "--no-color", "Dockerfile"]
    return subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=False).stdout


# -- the image ---------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path, offline_packages: OfflinePackages) -> Image:
    return Image(tmp_path / "image" / "root", offline_packages)


def package(folder: Path) -> Path:
    return make_project(Plan(names=names_of("Tea"), docker=True, transport="stdio"), folder)


def vendored(folder: Path) -> Path:
    """With Enfilade from a folder: a wheel of it is in the project."""
    origin = Origin(source=ROOT)
    return make_project(Plan(names=names_of("Tea"), docker=True, transport="stdio", origin=origin), folder)


def plain_and_vendored(folder: Path) -> Path:
    origin = Origin(source=ROOT)
    write_containers(lay_out(folder / "plain", {"server.py": SERVER}), ContainerOptions(origin=origin))
    return folder / "plain"


def plain(folder: Path) -> Path:
    files = {"server.py": SERVER, "requirements.txt": "enfilade\n"}
    write_containers(lay_out(folder / "plain", files))
    return folder / "plain"


async def greeting(client: Client) -> Any:
    async with client:
        return (await client.call_tool("greet", {"name": "Ada"})).structured_content


@pytest.mark.parametrize("make", [package, plain, vendored, plain_and_vendored], ids=lambda make: make.__name__)
def test_the_image_is_built_and_serves(make: Any, image: Image, tmp_path: Path) -> None:
    """As `docker build` and `docker run` would: /healthz answers, a tool is called, and SIGTERM ends it."""
    folder = make(tmp_path)
    if "vendored" in make.__name__:  # no index has Enfilade
        image.shelf = copy.copy(image.shelf)
        image.shelf.wheels = tmp_path / "no wheels"
    packaged = "plain" not in make.__name__
    lay_out(
        folder, {".env": SECRET, ".git/config": SECRET, "src/__pycache__/old.pyc": SECRET, "state.db": SECRET}
    )
    image.root.parent.mkdir()
    image.build(folder)
    assert [line.split()[0] for line in image.log] == ["useradd", "chown"]
    assert "--uid 10001" in image.log[0]
    assert not [path for path in image.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert (image.user, image.ports) == ("10001", ["8000"])
    installed = list(image.root.glob("opt/venv/lib/python*/site-packages"))
    assert [(each / "tea/server.py").exists() for each in installed] == [packaged]
    assert (image.folder / "server.py").exists() != packaged
    assert not list(installed[0].glob("pip"))
    port = free_port()
    env = {**image.variables(), "ENFILADE_PORT": str(port)}
    with ServerProcess(image.command, env=env, port=port, cwd=image.folder) as running:
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"}
        assert asyncio.run(greeting(Client(running.url))) == {"result": "Hello, Ada!"}
        assert health(image, env) == 0
        assert running.stop() in ENDED
    assert health(image, env) != 0


def health(image: Image, env: dict[str, str]) -> int:
    """Do what the engine does now and then, and return the status."""
    return subprocess.run(image.health, env=env, capture_output=True, check=False).returncode


def test_libraries_come_before_what_changes(tmp_path: Path) -> None:
    """An edit of the source must not install everything again."""
    text = (package(tmp_path) / "Dockerfile").read_text(encoding="utf-8")
    layers = [f"{each.word} {each.rest}" for each in instructions(text)]
    libraries = next(n for n, layer in enumerate(layers) if "--requirement requirements.txt" in layer)
    assert [layer for layer in layers[:libraries] if layer.startswith("COPY")] == [
        "COPY pyproject.toml uv.lock* requirements.txt* ./"
    ]
    assert layers.index("COPY . .") > libraries


@pytest.mark.parametrize(
    ("lock", "said", "installed"),
    [
        ({}, [], "enfilade>="),
        ({"requirements.txt": "enfilade==0.0.1\n"}, [], "enfilade==0.0.1"),
        (
            {"uv.lock": "version = 1\n", "requirements.txt": "nobody-needs-this\n"},
            [
                "pip install uv>=0.5,<1",
                "uv export --frozen --no-dev --no-emit-project --output-file requirements.txt",
            ],
            "exported",
        ),
    ],
    ids=["no lock", "requirements.txt", "uv.lock"],
)
def test_a_lock_file_that_is_added_later_counts(
    lock: dict[str, str], said: list[str], installed: str, image: Image, tmp_path: Path
) -> None:
    """The step that installs libraries, up to what it would install."""
    folder = lay_out(package(tmp_path), lock)
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    kept = text[: text.index("COPY . .")].replace("pip --python /opt/venv install --requirement", "cat")
    (folder / "Dockerfile").write_text(kept, encoding="utf-8")
    image.root.parent.mkdir()
    image.build(folder)
    assert image.log == said
    assert (image.folder / "requirements.txt").read_text(encoding="utf-8").startswith(installed)


# -- compose -----------------------------------------------------------------------------------------------------


def composed(folder: Path, **options: bool) -> dict[str, Any]:
    write_containers(lay_out(folder, {"server.py": SERVER}), ContainerOptions(**options), force=True)
    found: dict[str, Any] = yaml.safe_load((folder / "compose.yaml").read_text(encoding="utf-8"))
    return found


def settings_of(service: dict[str, Any]) -> Settings:
    """Return the settings that a service has if nothing is set outside."""
    variables = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in service["environment"].items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return load({})


def test_compose_serves_this_machine_alone(tmp_path: Path) -> None:
    service = composed(tmp_path)["services"]["server"]
    settings = settings_of(service)
    assert (settings.transport, settings.host, settings.port) == ("http", "0.0.0.0", 8000)
    assert service["ports"] == ["127.0.0.1:${PORT:-8000}:8000"]
    assert service["environment"]["ENFILADE_SECRET"] == "${ENFILADE_SECRET:-}"
    assert service["env_file"] == [{"path": ".env", "required": False}]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_compose_waits_for_the_end(tmp_path: Path) -> None:
    service = composed(tmp_path)["services"]["server"]
    of = settings_of(service)
    options = ServerOptions(
        host="", port=0, log_level="info", drain_delay=of.drain_delay, shutdown_timeout=of.shutdown_timeout
    )
    assert int(service["stop_grace_period"].removesuffix("s")) > options.stop_timeout


def test_compose_keeps_the_store(tmp_path: Path) -> None:
    """Where the store is written there is a volume, which the image gives to the user that serves."""
    whole = composed(tmp_path)
    service = whole["services"]["server"]
    assert settings_of(service).store == "sqlite:////data/state.db"
    assert service["volumes"] == ["state:/data"]
    assert set(whole["volumes"]) == {"state"}
    assert "chown 10001:10001 /data" in (tmp_path / "Dockerfile").read_text(encoding="utf-8")


def test_compose_with_valkey(tmp_path: Path) -> None:
    whole = composed(tmp_path, valkey=True)
    server, valkey = whole["services"]["server"], whole["services"]["valkey"]
    assert settings_of(server).store == "redis://valkey:6379/0"
    assert server["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert valkey["healthcheck"]["test"] == ["CMD", "valkey-cli", "ping"]
    assert valkey["command"][-2:] == ["--maxmemory-policy", "noeviction"]
    assert valkey["volumes"] == ["valkey:/data"]
    assert set(whole["volumes"]) == {"valkey"}


def test_a_name_for_compose(tmp_path: Path) -> None:
    folder = tmp_path / "My Project!"
    assert composed(folder)["name"] == "my-project"


# -- what is there already ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    lay_out(tmp_path, {"server.py": SERVER, name: "mine\n"})
    with pytest.raises(ScaffoldError, match=f"^{name} would be overwritten; --force does that$"):
        write_containers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"server.py", name}
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine\n"
    write_containers(tmp_path, force=True)
    assert (tmp_path / name).read_text(encoding="utf-8") != "mine\n"
    assert {path.name for path in tmp_path.iterdir()} == {"server.py", *FILES}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "there is no server in"),
        ({"src/a/server.py": "", "src/b/server.py": ""}, "there are several servers in"),
        ({"pyproject.toml": "[", "server.py": ""}, "cannot be read"),
        (
            {"pyproject.toml": "[project]\ndependencies = ['enfilade-more']", "server.py": ""},
            "needs enfilade; add it",
        ),
    ],
    ids=["nothing", "several", "no TOML", "no dependency"],
)
def test_there_must_be_a_server_and_what_it_needs(files: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=said):
        write_containers(lay_out(tmp_path, files))
    assert not (tmp_path / "Dockerfile").exists()


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match="there is no folder"):
        write_containers(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("code", "stored", "label"),
    [
        ('MCPApp("Plain", registry_name="io.github.ada/plain")', "", "io.github.ada/plain"),
        ('MCPApp("Plain", settings=Settings(registry_name="io.github.ada/plain"))', "", "io.github.ada/plain"),
        ('MCPApp("Plain")', '{"name": "com.example/plain"}', "com.example/plain"),
        ('MCPApp("Plain", registry_name="io.github.ada/plain")', '{"name": "a.b/cc"}', "io.github.ada/plain"),
        ('MCPApp("Plain", registry_name=NAME)', "", ""),
        ('MCPApp("Plain", registry_name="x\\" RUN rm -rf /")', '{"name": ["a"]}', ""),
        ('MCPApp("Plain")', "[]", ""),
        ('MCPApp("Plain")', "{", ""),
    ],
    ids=["code", "settings", "file", "both", "a variable", "no name", "a list", "no JSON"],
)
def test_the_label_of_a_published_server(code: str, stored: str, label: str, tmp_path: Path) -> None:
    """X-REG-2: the server is not imported, and what is no name is not written."""
    server = "raise SystemExit('imported')\n" + SERVER.replace('MCPApp("Plain")', code)
    folder = lay_out(tmp_path, {"server.py": server, **({"server.json": stored} if stored else {})})
    write_containers(folder, ContainerOptions())
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if "LABEL" in line] == (
        [f'LABEL io.modelcontextprotocol.server.name="{label}"'] if label else []
    )
    assert hadolint(folder) == ""
