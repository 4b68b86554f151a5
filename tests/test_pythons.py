"""`tests/support/pythons.py` finds the Pythons of a machine, whatever else is there, and says which it skips."""

import os
import sys
from pathlib import Path

import pytest

from support import pythons

needs_scripts = pytest.mark.skipif(os.name == "nt", reason="stands in for programs by scripts of a shell")


def program(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@needs_scripts
def test_what_runs_and_fits_is_found_and_the_newest_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = tmp_path / "pyenv/versions"
    program(versions / "3.10.2/bin/python", "echo 3.10")
    program(versions / "3.12.2/bin/python", "echo 3.12")
    newest = program(versions / "3.12.10/bin/python", "echo 3.12")
    program(versions / "3.13.0/bin/python", "exit 3")
    program(versions / "3.13.0-debug/bin/python", "echo 3.13")
    (versions / "3.15.0").mkdir()
    program(tmp_path / "bin/python3.12", "echo 3.12")
    program(tmp_path / "bin/python3.13", "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    other = program(tmp_path / "bin/python3.14", "echo 3.14")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = pythons.pythons()
    own = "{}.{}".format(*sys.version_info)
    assert own in found
    assert {version: command for version, command in found.items() if version != own} == {
        version: command for version, command in {"3.12": [newest], "3.14": [other]}.items() if version != own
    }


def test_one_that_is_missing_is_skipped_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(pythons, "pythons", lambda: {"3.12": ["python3.12"]})
    monkeypatch.setattr(pythons, "run", lambda version, command: not ran.append(version) and version == "3.12")
    monkeypatch.setattr(sys, "argv", ["pythons.py", "3.12", "3.99"])
    assert pythons.main() == 0
    assert ran == ["3.12"]
    assert capsys.readouterr().out == "Python 3.99: skipped, as it is not on this machine\n"


def test_one_that_fails_fails_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "pythons", lambda: {"3.12": ["a"], "3.13": ["b"]})
    monkeypatch.setattr(pythons, "run", lambda version, command: version == "3.12")
    monkeypatch.setattr(sys, "argv", ["pythons.py"])
    assert pythons.main() == 1


@pytest.mark.parametrize("path", [*(f"tests/{part}" for part in pythons.PARTS), *pythons.NOT_HERE])
def test_what_runs_and_what_does_not_is_there(path: str) -> None:
    assert (pythons.ROOT / path).exists()
