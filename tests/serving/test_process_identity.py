"""Whether another process still runs: said only where it is certain."""

import os
import subprocess
import sys

import pytest

from enfilade.serving import cluster
from enfilade.serving.cluster import is_gone, process_namespace

needs_ids = pytest.mark.skipif(sys.platform == "win32", reason="on Windows nothing is ever certain")


def test_processes_of_one_machine_have_one_place() -> None:
    code = "from enfilade.serving.cluster import process_namespace; print(process_namespace())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == process_namespace()


@needs_ids
def test_a_process_that_ended_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert not is_gone(process_namespace(), child.pid)
    child.communicate(b"\n")
    assert is_gone(process_namespace(), child.pid)


@needs_ids
def test_who_had_our_number_before_us_is_gone() -> None:
    assert is_gone(process_namespace(), os.getpid())


@pytest.mark.parametrize("where", ["", "elsewhere", process_namespace() + "x"])
def test_nothing_is_said_of_other_places(where: str) -> None:
    assert not is_gone(where, 2**22 + 1)


def test_nothing_is_said_where_places_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "process_namespace", lambda: "")
    assert not is_gone("", 2**22 + 1)


@needs_ids
def test_a_process_of_somebody_else_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    assert not is_gone(process_namespace(), 1)
