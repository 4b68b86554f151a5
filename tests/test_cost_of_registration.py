"""How much Python runs to register 500 tools: instructions of the interpreter and calls, counted without a clock.

What they may be is in `cost_of_registration.json`, by version of Python; this file, run as a program, writes it
anew. Easy to get wrong: what is done once, such as compiling a regular expression, belongs to no tool. So one is
registered before the counting begins. And where other tests have imported another framework, more is looked at.
So the counting has a process of its own.
"""

import gc
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from enfilade import MCPApp
from support.counting import Cost, baseline_of, excess, instruction_tracer, run_alone, write_baseline

BASELINE = Path(__file__).with_name("cost_of_registration.json")
COUNT = 500

SOURCE = '''
def find_orders_{number}(
    customer: str, limit: int = 10, exact: bool = False, tags: list[str] | None = None
) -> list[dict[str, str]]:
    """Find the orders of a customer, in the region {number}.

    Args:
        customer: the number of the customer.
        limit: how many orders at most.
        exact: whether the number must be exact.
        tags: what the orders are marked with.
    """
    return []
'''


def functions(count: int) -> list[Callable[..., Any]]:
    """Return functions as authors write them in a module."""
    namespace: dict[str, Any] = {"__name__": "orders"}
    exec("".join(SOURCE.format(number=number) for number in range(count)), namespace)
    return [namespace[f"find_orders_{number}"] for number in range(count)]


def counted_here(count: int, turns: int) -> Cost:
    """Return what it costs to register tools in this process, for each of them.

    Args:
        count: how many.
        turns: of a loop that runs besides, for each of them.
    """
    app = MCPApp("orders")
    first, *others = functions(count + 1)
    app.tool(first)
    counted: Counter[str] = Counter()

    gc.disable()
    sys.settrace(instruction_tracer(counted))
    for function in others:
        app.tool(function)
        if turns:
            run_loop(turns)
    sys.settrace(None)
    return {what: number / count for what, number in sorted(counted.items())}


def run_loop(turns: int) -> None:
    while turns:
        turns -= 1


def cost_of_registration(count: int, turns: int = 0) -> Cost:
    """Return what `counted_here` returns in a process of its own."""
    cost: Cost = run_alone(__file__, str(count), str(turns))
    return cost


def test_a_tool_costs_what_it_did() -> None:
    """Where this fails for good reasons, the docstring above says how to write the baseline anew."""
    assert excess(cost_of_registration(COUNT), baseline_of(BASELINE)) == []


def test_each_tool_costs_the_same() -> None:
    """Whatever looked at all other tools would cost more for each that is there."""
    few, many = cost_of_registration(50), cost_of_registration(COUNT)
    assert many["instructions"] < few["instructions"] * 1.01


def test_three_in_a_hundred_show() -> None:
    with_loop, without = (cost_of_registration(10, turns)["instructions"] for turns in (100, 0))
    turns = round(baseline_of(BASELINE)["instructions"] * 0.03 / ((with_loop - without) / 100))
    assert excess(cost_of_registration(COUNT, turns), baseline_of(BASELINE)) != []


def main(*arguments: str) -> None:
    if arguments:
        print(json.dumps(counted_here(*map(int, arguments))))
        return
    cost = cost_of_registration(COUNT)
    write_baseline(BASELINE, {what: round(number, 1) for what, number in cost.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
