"""Counting what the interpreter runs, and a client's end of a connection that adds next to nothing to it.

What is counted may be compared with a baseline: a JSON file with the costs by version of Python. The counts come
from a process of its own (`run_alone`), where they are the same each time: no other test has filled a cache or
imported a framework there, and strings have the same hashes.
"""

import asyncio
import contextlib
import gc
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

#: What part of a cost it may differ from its baseline, up or down. Three percent that are added must show, also
#: where the cost was as far below the baseline as it may be, so this is less than half of that.
TOLERANCE: Final = 0.014

TESTS: Final = Path(__file__).resolve().parents[1]

#: What is counted → how often.
Cost = dict[str, float]

#: The name of the file that `burner` makes its function from, for tracers that count by files.
EXTRA: Final = "<extra>"


class Socket(asyncio.Transport):
    """The client's end of a connection, which reads at once.

    Attributes:
        sent: what was written to it.
    """

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 40000)})
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def close(self) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0


def instruction_tracer(counted: Counter[str]) -> Callable[[FrameType, str, Any], Any]:
    """Return a function for `sys.settrace` that counts `functions` and `instructions`."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event in ("call", "opcode"):
            counted["functions" if event == "call" else "instructions"] += 1
        return trace

    return trace


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Keep out what other tests left: to free it runs code, and may free the last reference to something else."""
    while gc.collect():
        pass
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def run_alone(program: str, *arguments: str) -> Any:
    """Run a file in a process of its own, and return what it prints as JSON.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, program, *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(TESTS)}
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout)


def baseline_of(file: Path) -> Any:
    """Return what the baseline says of this version of Python; where it says nothing, the test is skipped."""
    baseline = json.loads(file.read_text())
    if VERSION not in baseline:
        pytest.skip(f"there is no baseline for Python {VERSION}")
    return baseline[VERSION]


def write_baseline(file: Path, costs: object) -> None:
    """Write down what things cost with this version of Python."""
    known = json.loads(file.read_text()) if file.exists() else {}
    known[VERSION] = costs
    file.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def excess(cost: Mapping[str, float], allowed: Mapping[str, float]) -> list[str]:
    """Return what costs more than it may, or so much less that the baseline is out of date.

    One call more or less is allowed where there are few: the standard library differs that much between releases.
    """
    return [
        f"{what}: {cost[what]:g} instead of {allowed[what]:g}"
        for what in allowed
        if abs(cost[what] - allowed[what]) > max(1.0, TOLERANCE * allowed[what])
    ]


def burner(instructions: int) -> Callable[[], None]:
    """Return a function that runs about so many instructions, its own call left aside."""
    program = compile("\n".join(["x"] * (instructions // 2)), EXTRA, "exec")  # two instructions each
    names = {"x": 0}

    def burn() -> None:
        exec(program, names)

    return burn
