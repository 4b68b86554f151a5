"""The rooms: a room imports only from rooms further down, and a violation is caught.

The contracts are in `pyproject.toml`. A contract that a typing error has made empty passes for ever, so each is
also shown an import that it must refuse.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a project folder against its own `src/`."""
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, encoding="utf-8", check=False)


def test_every_room_keeps_to_its_place() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("wire", "enfilade.serving"),
        ("wire", "asyncio"),
        ("wire", "pydantic"),
        ("primitives", "enfilade.serving"),
        ("primitives", "enfilade.state"),
        ("state", "enfilade.primitives"),
        ("serving", "enfilade.transports"),
        ("serving", "uvicorn"),
        ("serving", "http.client"),
        ("transports", "enfilade.app"),
    ],
)
def test_a_step_out_of_line_is_caught(tmp_path: Path, room: str, forbidden: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src" / "enfilade" / room / "intruder.py").write_text(f"import {forbidden}\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"enfilade.{room}.intruder" in done.stdout
