"""The layers: a package imports only from layers below its own, and a violation is caught.

The contracts are in `pyproject.toml`. A contract that a typing error has made empty passes for ever, so each is
also shown an import that it must refuse.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a project folder against its own `src/`."""
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=root, env=env, capture_output=True, encoding="utf-8", check=False)


def test_the_page_lists_the_layers_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    (layers,) = [contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers"]
    page = " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    assert " → ".join(layers).replace("enfilade.", "") in page


def test_every_package_keeps_to_its_layer() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("package", "forbidden"),
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
def test_an_import_from_above_is_caught(tmp_path: Path, package: str, forbidden: str) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    intruder = tmp_path / "src" / "enfilade" / package / "intruder.py"
    intruder.write_text(f"import {forbidden}\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"enfilade.{package}.intruder" in done.stdout
