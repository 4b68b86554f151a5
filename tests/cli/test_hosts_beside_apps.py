"""A file that has an app and an ASGI host around it: whoever serves the app alone is told of the host."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enfilade.discovery import find_target, host_warning, load_app, load_with_warning
from enfilade.hosts import hosts_in, hosts_in_source
from enfilade.loading import LoadError
from support.cli.runner import CommandLine, spawned
from support.servers.processes import ServerProcess, enfilade_command, free_port

APP = """
from enfilade import MCPApp
app = MCPApp(name="Guarded")
@app.tool
def who() -> str:
    \"\"\"Say who.\"\"\"
    return "nobody"
"""
STARLETTE = "from starlette.applications import Starlette\nfrom starlette.routing import Mount\n"
FASTAPI = "from fastapi import FastAPI\nhost = FastAPI()\n"
CORS = "from starlette.middleware.cors import CORSMiddleware\n"
GUARD = """
class Guard:
    def __init__(self, inner):
        self.inner = inner
    async def __call__(self, scope, receive, send):
        await self.inner(scope, receive, send)
"""
HOSTS = {
    "route": STARLETTE + "host = Starlette(routes=[app.host_route()])\n",
    "mount": STARLETTE + "host = Starlette(routes=[Mount('/', app=app)])\n",
    "fastapi": FASTAPI + "host.mount('/', app)\n",
    "fastapi-route": FASTAPI + "host.router.routes.append(app.host_route())\n",
    "middleware": CORS + "host = CORSMiddleware(app, allow_origins=['*'])\n",
    "own-class": GUARD + "host = Guard(app)\n",
}
BY_IMPORT_ALONE = {
    "function": "async def host(scope, receive, send):\n    await app(scope, receive, send)\n",
    "factory": STARLETTE
    + "def made(inner):\n    return Starlette(routes=[Mount('/', app=inner)])\nhost = made(app)\n",
}
NO_HOSTS = {
    "alone": "",
    "another-app": STARLETTE + "host = Starlette(routes=[MCPApp(name='Other').host_route()])\n",
    "not-asgi": "class Holder:\n    def __init__(self, app):\n        self.app = app\nheld = Holder(app)\n",
    "three-arguments": "def label(a, b, c):\n    return app.name\n",
    "proxy": "class P:\n    def __getattr__(self, name):\n        raise RuntimeError(name)\nproxy = P()\n",
    "mock": "from unittest.mock import MagicMock\nmock = MagicMock()\n",
}


@pytest.fixture(autouse=True)
def _restores_imports() -> Iterator[None]:
    path, modules = list(sys.path), dict(sys.modules)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules.keys():
        if name == "guarded":
            del sys.modules[name]


def written(folder: Path, text: str) -> Path:
    file = folder / "guarded.py"
    file.write_text(APP + text, encoding="utf-8")
    return file


@pytest.mark.parametrize("text", [*HOSTS.values(), *BY_IMPORT_ALONE.values()], ids=[*HOSTS, *BY_IMPORT_ALONE])
def test_a_host_beside_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_with_warning(str(written(tmp_path, text)))
    assert "has 'host' as well, an ASGI application around this app" in loaded.warning
    assert loaded.warning.endswith("serve it with `enfilade run guarded.py:host`")


@pytest.mark.parametrize("text", NO_HOSTS.values(), ids=NO_HOSTS)
def test_what_is_no_host_of_this_app(tmp_path: Path, text: str) -> None:
    assert load_with_warning(str(written(tmp_path, text))).warning == ""


@pytest.mark.parametrize("text", HOSTS.values(), ids=HOSTS)
def test_a_host_is_seen_without_an_import(tmp_path: Path, text: str) -> None:
    assert hosts_in_source(APP + text) == ["host"]
    written(tmp_path, text)
    warning = host_warning(find_target(str(tmp_path / "guarded.py")))
    assert f"`enfilade run {tmp_path / 'guarded.py'}:host`" in warning


@pytest.mark.parametrize("text", ["", "names = list(app.tools)\n", "client = connect(app)\n", "def broken(:\n"])
def test_a_file_that_seems_to_have_no_host(text: str) -> None:
    assert hosts_in_source(APP + text) == []


@pytest.mark.parametrize("text", [*HOSTS.values(), *BY_IMPORT_ALONE.values()], ids=[*HOSTS, *BY_IMPORT_ALONE])
def test_the_host_in_place_of_the_app(tmp_path: Path, text: str) -> None:
    loaded = load_with_warning(f"{written(tmp_path, text)}:host")
    assert loaded.warning == ""
    assert loaded.host is not None
    assert loaded.host.apps == [loaded.app]
    assert loaded.app.name == "Guarded"


def test_a_file_whose_app_is_only_in_its_host(tmp_path: Path) -> None:
    loaded = load_with_warning(str(written(tmp_path, CORS + "app = CORSMiddleware(app)\n")))
    assert loaded.host is not None
    assert type(loaded.host.original).__name__ == "CORSMiddleware"


def test_something_else_in_place_of_the_app(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"has no app called 'held': that is of type Holder, not an MCPApp"):
        load_app(f"{written(tmp_path, NO_HOSTS['not-asgi'])}:held")


def test_hosts_around_any_app() -> None:
    module: Any = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("made", None))
    exec(APP + HOSTS["mount"], vars(module))
    assert hosts_in(module) == ["host"]


@pytest.mark.parametrize("verb", [("run", "-t", "http"), ("dev",)], ids=["run", "dev"])
def test_who_serves_the_app_alone_is_told(tmp_path: Path, verb: tuple[str, ...]) -> None:
    file = written(tmp_path, HOSTS["route"])
    arguments = enfilade_command(verb[0], file.name, *verb[1:], "-p", "{port}")
    with ServerProcess(arguments, port=free_port(), cwd=tmp_path, start_timeout=90) as server:
        assert "`enfilade run guarded.py:host`" in server.output


def test_check_and_docker_tell_it_too(tmp_path: Path, run_cli: CommandLine) -> None:
    file = written(tmp_path, HOSTS["route"])
    assert "guarded.py:host`" in run_cli("check", str(file)).err
    assert "around this app" not in run_cli("inspect", str(file)).err
    file.rename(tmp_path / "server.py")
    completed = spawned("docker", cwd=tmp_path)
    assert completed.status == 0, completed.err
    assert "`enfilade run server.py:host`" in completed.err
    assert "Dockerfile" in completed.err
