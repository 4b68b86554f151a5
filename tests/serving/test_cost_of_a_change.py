"""How much Python runs for a change that goes to 100 streams: instructions of the interpreter, without a clock.

What it may be is in `cost_of_a_change.json`, by version of Python; this file, run as a program with `tests` on
the path, writes it anew. Easy to get wrong: the first change on a stream makes what every later one uses, so it
is not counted.
"""

import asyncio
import functools
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import enfilade
from enfilade.serving import subscriptions
from support.counting import (
    EXTRA,
    Cost,
    baseline_of,
    burner,
    excess,
    no_garbage,
    run_alone,
    write_baseline,
)
from support.http_client.many_streams import KINDS, Streams

BASELINE = Path(__file__).with_name("cost_of_a_change.json")

LISTENERS = 100

SERIES = 3
"""Changes, of which the least counts: a timer of the server may fire in one of them."""

PACKAGE = str(Path(enfilade.__file__).parent)


async def cost_of(kind: str) -> float:
    """Return the instructions for one change and one listener, on streams of a kind."""
    streams, counts = Streams(), [0] * SERIES
    for _ in range(LISTENERS):
        await streams.open(kind)
    await streams.change()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if file.endswith("connection_timeouts.py") or not file.startswith((PACKAGE, EXTRA)):
            return None  # timers of the connections, and the event loop, which meets them
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts[series] += event == "opcode"
        return trace

    with no_garbage():
        for series in range(SERIES):
            sys.settrace(trace)
            try:
                await streams.change()
            finally:
                sys.settrace(None)
    await streams.close()
    return round(min(counts) / LISTENERS, 1)


def add_to_each(instructions: int) -> None:
    """Let every listener do something besides for each change, from now on."""
    burn, take = burner(instructions), _take

    def with_extra(self: subscriptions.Listener, *arguments: Any, **options: Any) -> None:
        burn()
        take(self, *arguments, **options)

    subscriptions.Listener.take = with_extra  # type: ignore[method-assign]


_take = subscriptions.Listener.take


def measured(share: float = 0.0) -> Cost:
    """Return what a change costs on each kind of streams.

    Args:
        share: what part of the instructions in the baseline is added to each listener.
    """
    subscriptions.SLICE = 60.0  # type: ignore[misc]  # no turn of the event loop because tracing is slow
    costs: Cost = {}
    for kind in KINDS:
        if share:
            add_to_each(round(share * baseline_of(BASELINE)[kind]))
        costs[kind] = asyncio.run(cost_of(kind))
    return costs


@functools.cache
def counted_alone(share: float) -> Cost:
    """Return what `measured` returns in a process of its own."""
    costs: Cost = run_alone(__file__, str(share))
    return costs


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_costs_what_it_did(kind: str) -> None:
    """Where this fails for good reasons, the docstring above says how to write the baseline anew."""
    allowed = baseline_of(BASELINE)
    assert excess({kind: counted_alone(0.0)[kind]}, {kind: allowed[kind]}) == []


@pytest.mark.parametrize("kind", KINDS)
def test_three_percent_more_show(kind: str) -> None:
    """R-2CB: a change goes to every listener, so what one of them costs is paid thousands of times."""
    allowed, more = baseline_of(BASELINE)[kind], counted_alone(0.03)[kind]
    assert more == pytest.approx(counted_alone(0.0)[kind] + 0.03 * allowed, abs=4)
    assert excess({kind: more}, {kind: allowed}) != []


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps(measured(float(sys.argv[1]))))
    else:
        write_baseline(BASELINE, measured())
