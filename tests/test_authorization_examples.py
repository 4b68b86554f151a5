"""B4, B12: the examples about who calls do what their READMEs say: API keys, and the login of a host."""

import re
import shutil
import tomllib
from pathlib import Path

import httpx

from support.docs.readme_commands import ReadmeReader
from support.servers.processes import ROOT, ServerProcess

KEYS, HOST = ROOT / "examples" / "api_keys", ROOT / "examples" / "inside_fastapi"


def copy_of(example: Path, folder: Path) -> Path:
    """Return a copy, since the commands of an example write files."""
    copy = folder / example.name
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("__pycache__", "keys.json"))
    return copy


def test_api_keys(tmp_path: Path) -> None:
    """B4, B6, R-605: a key gets in by two headers, and its scopes count."""
    folder = copy_of(KEYS, tmp_path)
    reader = ReadmeReader(folder, {"RESOURCE": "http://127.0.0.1:8000/mcp"})
    assert reader.follow((KEYS / "README.md").read_text("utf-8")) == 8
    kept = (folder / "keys.json").read_text("utf-8")
    assert kept.count("sha256:") == 2
    assert not [key for key in reader.variables.values() if key in kept]
    assert reader.type("python keys.py remove build") == ""
    assert reader.type("python keys.py list").count("\n") == 1
    assert "build" not in reader.type("python keys.py list")


def test_api_keys_is_a_project_of_its_own() -> None:
    settings = tomllib.loads((KEYS / "pyproject.toml").read_text("utf-8"))
    assert settings["project"]["dependencies"] == ["enfilade[auth]"]
    files = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    readme = (KEYS / "README.md").read_text("utf-8")
    assert sorted(files) == sorted(path.name for path in KEYS.glob("*.py"))
    assert set(re.findall(r"\]\(([^)]+)\)", readme)) == set(files)
    for name in ("whoami", "read_note", "write_note"):
        assert f"| `{name}` |" in readme


def test_the_login_of_a_host(tmp_path: Path) -> None:
    """B12: its user is the principal, and its pages and tools have one login."""
    folder = copy_of(HOST, tmp_path)
    assert ReadmeReader(folder).follow((HOST / "README.md").read_text("utf-8")) == 5


def test_who_gets_no_ticket(tmp_path: Path) -> None:
    """B12: neither a wrong password nor an unknown user without one."""
    reader = ReadmeReader(HOST)
    port = int(reader.ports["8000"])
    with ServerProcess(reader.command("uvicorn server:web --port 8000"), port=port, cwd=HOST) as server:
        url = server.url.replace("/mcp", "/login")
        wrong = [("ada", "no-sugar"), ("ada", ""), ("eve", ""), ("", "")]
        answers = [httpx.post(url, json={"name": name, "password": word}).status_code for name, word in wrong]
        assert answers == [403] * 4
        ticket = httpx.post(url, json={"name": "bob", "password": "no-sugar"}).text
        page = server.url.replace("/mcp", "/prices/tea")
        assert httpx.get(page, headers={"Authorization": f"Bearer {ticket}"}).json() == {"tea": 3.5}
        assert httpx.get(page, headers={"Authorization": "Bearer other"}).status_code == 401
