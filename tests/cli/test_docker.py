"""`enfilade docker`: what it says, and that it overwrites nothing.

What it writes is followed in `tests/scaffold/`.
"""

from pathlib import Path

from enfilade import __version__
from support.cli.runner import spawned

SERVER = "from enfilade import MCPApp\napp = MCPApp()\n"


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    completed = spawned("docker", cwd=tmp_path)
    assert (completed.status, completed.err) == (0, "")
    assert completed.out == (
        f"Wrote Dockerfile, compose.yaml, .dockerignore, vendor/enfilade-{__version__}-py3-none-any.whl.\n"
        "The image gets Enfilade from the wheel in vendor/: commit it with the project.\n"
        "\nNext:\n\n"
        "  docker compose up --build  # serves http://127.0.0.1:8000/mcp\n"
        "\nBefore others call it, set ENFILADE_SECRET and ENFILADE_ALLOWED_HOSTS in .env: "
        "compose.yaml says what they are.\n"
    )


def test_in_another_folder_with_valkey_and_not_twice(tmp_path: Path) -> None:
    (tmp_path / "tea").mkdir()
    (tmp_path / "tea/server.py").write_text(SERVER, encoding="utf-8")
    completed = spawned("docker", "tea", "--valkey", "--enfilade", "enfilade>=0.1", cwd=tmp_path)
    assert completed.status == 0, completed.err
    assert "The image gets Enfilade from a package index: enfilade>=0.1.\n" in completed.out
    assert '"enfilade[redis]>=0.1"' in (tmp_path / "tea/Dockerfile").read_text(encoding="utf-8")
    assert "  cd tea\n" in completed.out
    assert "redis://valkey:6379/0" in (tmp_path / "tea/compose.yaml").read_text(encoding="utf-8")
    again = spawned("docker", "tea", cwd=tmp_path)
    assert (again.status, again.out) == (2, "")
    assert again.err == (
        "enfilade: Dockerfile, compose.yaml, .dockerignore would be overwritten; --force does that\n"
    )
    assert spawned("docker", "tea", "--force", cwd=tmp_path).status == 0
    assert "valkey" not in (tmp_path / "tea/compose.yaml").read_text(encoding="utf-8")


def test_without_a_server_it_says_how_to_make_one(tmp_path: Path) -> None:
    completed = spawned("docker", cwd=tmp_path)
    assert (completed.status, completed.out) == (2, "")
    assert "there is no server here: looked for" in completed.err
    assert "`enfilade new NAME`" in completed.err
