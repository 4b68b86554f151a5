"""Processors that do not go to sleep while something is measured.

Waking one that sleeps is work for whoever sends it something, in a virtual machine more work than answering a
call. How often that happens depends on how the pauses of server and load fall, so it makes servers look better or
worse by a fifth for no reason of theirs. Easy to get wrong: Linux keeps the promise only as long as the file is
open, and only root may open it.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LATENCY: Final = Path("/dev/cpu_dma_latency")


@contextlib.contextmanager
def processors_awake() -> Iterator[bool]:
    """Keep all processors awake, and say whether that is possible here."""
    with contextlib.ExitStack() as stack:
        try:
            wish = stack.enter_context(_LATENCY.open("wb", buffering=0))
            wish.write(struct.pack("i", 0))  # microseconds that waking up may take
        except OSError:
            yield False
        else:
            yield True
