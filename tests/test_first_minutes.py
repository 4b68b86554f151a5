"""Somebody's first minutes: an empty home, a fresh environment, one terminal to type in and one that serves.

Everything is typed once, and has to work. What a client's file must then say is written down here by hand, from
the clients' own documents. The easy thing to get wrong is to let this machine help: of this checkout there is
only a wheel, and the shell's variables are those of a new account.
"""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.cli.terminal import Terminal, needs_terminal
from support.servers.processes import ROOT, free_port

pytestmark = [
    needs_terminal,
    pytest.mark.timeout(400),  # packages come from an index
]

#: Cursor's file, as somebody has it already: with another server, and a remark.
CURSOR = """{
  // of the whole team
  "mcpServers": {
    "other": { "url": "https://example.com/mcp" }
  }
}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home in which nothing is, beside an empty environment, and one with Enfilade from a wheel.

    The project is installed into the empty one from an index, as anybody would do it. The other one has the wheel
    of its own, and takes what that needs from this environment: `test_packaging.py` installs those.
    """
    folder = tmp_path_factory.mktemp("machine").resolve()
    (folder / "home").mkdir()
    venv.create(folder / "env", with_pip=True)
    venv.create(folder / "maker")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("enfilade-*.whl")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    install = ["--python", str(folder / "maker"), "install", "--no-compile", "--no-deps", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    (packages,) = folder.glob("maker/lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "home"


@pytest.fixture
def variables(home: Path) -> dict[str, str]:
    """Return what is set in a shell of that home, and how pip gets at packages on this machine."""
    path = os.pathsep.join([*(str(home.parent / env / "bin") for env in ("env", "maker")), "/usr/bin", "/bin"])
    reached = ("PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT", "REQUESTS_CA_BUNDLE")
    pip = {key: value for key, value in os.environ.items() if key.upper().startswith(reached)}
    for file in (Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"):
        if file.is_file():
            pip.setdefault("PIP_CONFIG_FILE", str(file))
    return {**pip, "HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def test_from_nothing_to_a_connected_server(home: Path, variables: dict[str, str]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    with Terminal(home, variables) as one, Terminal(home, variables) as other:
        one.start("enfilade new")
        one.reply("What is the server called?", "Tea shop")
        one.reply("http or stdio?", "")
        one.reply("Include an example of everything?", "y")
        one.reply("Add files for containers?", "n")
        told = one.ended()
        install = 'pip install --find-links vendor -e ".[dev]"'
        assert "It gets Enfilade from the wheel in vendor/" in told, told
        for step in (install, "pytest", "enfilade run", "enfilade check", "enfilade docker"):
            assert f"\n  {step}" in told, told
        one.type("cd tea-shop")
        assert not (home.parent / "env/bin/enfilade").exists()
        one.type(f"{install} -q; hash -r")  # into the empty environment, from which all else is run
        assert (home.parent / "env/bin/enfilade").is_file()
        assert "25 passed" in one.type("pytest")
        assert "Hello, Ada!" in one.type("enfilade call . greet name=Ada")
        one.type(f"sed 's/^# ENFILADE_PORT=.*/ENFILADE_PORT={port}/' .env.example > .env")

        other.type("cd tea-shop")
        other.start("enfilade run")
        other.see("Stop with Ctrl-C.")
        assert f"configure CLIENT --name tea-shop --url {url}" in other.screen.replace("\n", "")

        assert "add_notes" in one.type(f"enfilade inspect {url}")
        one.start(f"""enfilade call {url} add_notes notes='["buy tea", "boil water"]'""")
        one.see("wrote note 2")
        written = one.ended()
        assert written.splitlines()[-2:] == ["2", "$"], written
        one.start(f"enfilade call {url} clear_notes")
        one.reply("Throw all notes away?", "y")
        assert "The notebook is empty." in one.ended()

        project = home / "tea-shop"
        (project / ".cursor").mkdir()
        (project / ".cursor/mcp.json").write_text(CURSOR, encoding="utf-8")
        files = expected(project, str(home.parent / "env/bin/enfilade"), url)
        listed = one.type("enfilade configure --list")
        for client, (path, _) in files.items():
            assert client in listed
            one.type(f"enfilade configure {client}")
            one.type(f"enfilade configure {client} --transport stdio --name tea")
            assert os.stat(home / path).st_mode & 0o077 == 0 or client == "cursor", path
        assert {client: read(home / path) for client, (path, _) in files.items()} == {
            client: said for client, (_, said) in files.items()
        }
        assert "// of the whole team" in (project / ".cursor/mcp.json").read_text(encoding="utf-8")
        _, said = files["zed"]
        started = said["context_servers"]["tea"]
        shown = one.type(f"enfilade inspect -- {' '.join([started['command'], *started['args']])}")
        assert "clear_notes" in shown

        one.type("enfilade docker")
        assert all((project / name).is_file() for name in ("Dockerfile", "compose.yaml", ".dockerignore"))
        assert "Nothing found." in one.type("enfilade check").replace("\n", " ")
        other.interrupt()
        other.ended()
        one.type("cd ..")  # and another one, from the environment of the first
        assert "It gets Enfilade from the wheel in vendor/" in one.type('enfilade new "Coffee shop" --yes')
        assert [wheel.name for wheel in (home / "coffee-shop/vendor").iterdir()] == [
            wheel.name for wheel in (project / "vendor").iterdir()
        ]
    known = {"tea-shop", "coffee-shop", *(Path(path).parts[0] for path, _ in files.values())}
    assert {each.name for each in home.iterdir()} <= {*known, ".cache"}


def read(path: Path) -> Any:
    """Return what a client's file says."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        return yaml.safe_load(text)
    return json.loads("\n".join(line for line in text.splitlines() if not line.strip().startswith("//")))


def expected(project: Path, program: str, url: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return where each client has its servers, below the home, and what is to stand there."""
    run = ["run", f"{project}/src/tea_shop/server.py", "--transport", "stdio"]
    here = ["--directory", str(project)]
    start = {"command": program, "args": [*run, *here]}
    start_in = {"command": program, "args": run, "cwd": str(project)}
    goose = {"enabled": True, "description": "", "timeout": 300}
    theirs = {"other": {"url": "https://example.com/mcp"}}
    return {
        "claude-desktop": (
            ".config/Claude/claude_desktop_config.json",
            {"mcpServers": {"tea-shop": start, "tea": start}},
        ),
        "claude-code": (
            "tea-shop/.mcp.json",
            {"mcpServers": {"tea-shop": {"type": "http", "url": url}, "tea": {"type": "stdio", **start}}},
        ),
        "cursor": (
            "tea-shop/.cursor/mcp.json",
            {"mcpServers": {**theirs, "tea-shop": {"url": url}, "tea": {"type": "stdio", **start}}},
        ),
        "vscode": (
            "tea-shop/.vscode/mcp.json",
            {"servers": {"tea-shop": {"type": "http", "url": url}, "tea": {"type": "stdio", **start_in}}},
        ),
        "gemini": (
            "tea-shop/.gemini/settings.json",
            {"mcpServers": {"tea-shop": {"httpUrl": url}, "tea": start_in}},
        ),
        "goose": (
            ".config/goose/config.yaml",
            {
                "extensions": {
                    "tea-shop": {**goose, "type": "streamable_http", "name": "tea-shop", "uri": url},
                    "tea": {**goose, "type": "stdio", "name": "tea", "cmd": program, "args": [*run, *here]},
                }
            },
        ),
        "windsurf": (
            ".codeium/windsurf/mcp_config.json",
            {"mcpServers": {"tea-shop": {"serverUrl": url}, "tea": start}},
        ),
        "zed": (".config/zed/settings.json", {"context_servers": {"tea-shop": {"url": url}, "tea": start}}),
        "mcp.json": ("tea-shop/mcp.json", {"mcpServers": {"tea-shop": {"url": url}, "tea": start}}),
    }
