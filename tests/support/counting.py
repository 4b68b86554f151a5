"""Counting what the interpreter runs, and a client's end of a connection that adds next to nothing to it."""

import asyncio
import contextlib
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any


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
