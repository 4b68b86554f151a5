"""Run the command: in this process, which is quick, in a process of its own, and at a terminal.

Easy to get wrong: when to type. A terminal shows input long before the program reads it, so each reply waits for
the prompt that it answers.
"""

import contextlib
import gc
import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from enfilade.cli import main
from enfilade.startup import gc_pause
from support.servers.processes import ROOT, enfilade_command, environment

SHOP = str(ROOT / "tests/support/servers/asking_server.py")
PATIENCE = 45.0

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Outcome:
    """The output of a command, and its exit status."""

    status: int
    out: str
    err: str


class CommandLine:
    """The command line, in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capsys = capsys

    def __call__(self, *words: str, stdin: str = "") -> Outcome:
        self._patch.setattr(sys, "argv", ["enfilade", *words])
        self._patch.setattr(sys, "stdin", io.StringIO(stdin))
        self._patch.setenv("COLUMNS", "80")
        path, modules = list(sys.path), dict(sys.modules)
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            gc_pause.resume()
            gc.unfreeze()  # the process goes on
            sys.path[:] = path
            for name in [
                name for name, module in sys.modules.items() if name not in modules and _is_users(module)
            ]:
                del sys.modules[name]
            sys.modules.update(modules)  # a file that was loaded again stands for itself no longer
        found = self._capsys.readouterr()
        return Outcome(status, found.out, found.err)


def _is_users(module: object) -> bool:
    """Whether a module is a file of a test, and not a library."""
    file = Path(str(getattr(module, "__file__", None) or sys.prefix))
    libraries = [sys.prefix, sys.base_prefix, str(ROOT / "src")]
    return not any(file.is_relative_to(folder) for folder in libraries)


def spawned(*words: str, cwd: Path | None = None, **variables: str) -> Outcome:
    """Run the command as a process of its own, without a terminal."""
    done = subprocess.run(
        enfilade_command(*words),
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def at_terminal(
    arguments: Sequence[str],
    replies: Sequence[tuple[str, str]],
    env: Mapping[str, str] | None = None,
    *,
    cwd: Path | None = None,
    piped: bool = True,
) -> Outcome:
    """Run the command at a pseudo-terminal, and type.

    Args:
        arguments: after `enfilade`.
        replies: what to wait for, and what to type then; `\\x04` is the end of input.
        env: variables on top of this process's own.
        cwd: where to run it.
        piped: whether standard output goes into a pipe, and not to the terminal.
    """
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(
        enfilade_command(*arguments),
        cwd=cwd,
        stdin=slave,
        stdout=subprocess.PIPE if piped else slave,
        stderr=slave,
        env=environment(**{"TERM": "xterm-256color", "COLUMNS": "80", **(env or {})}),
        start_new_session=True,
    )
    os.close(slave)
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    shown = ""
    waiting = list(replies)
    seen = 0
    try:
        while True:
            with contextlib.suppress(OSError):  # EIO: the other end is closed
                data = os.read(master, 4096)
                if data:
                    shown += _CODES.sub("", data.decode("utf-8", "replace"))
                    if waiting and waiting[0][0] in shown[seen:]:
                        seen = shown.index(waiting[0][0], seen) + len(waiting[0][0])
                        reply = waiting.pop(0)[1]
                        os.write(master, reply.encode() if reply == "\x04" else f"{reply}\n".encode())
                    continue
            break
        out = process.stdout.read().decode() if process.stdout is not None else ""
        return Outcome(process.wait(PATIENCE), out, shown.replace("\r\n", "\n"))
    finally:
        watchdog.cancel()
        process.kill()
        os.close(master)
