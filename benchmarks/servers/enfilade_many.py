"""Enfilade with many tools, which says what it took to register them, and to add one more while it serves.

Figures are processor time of this process. Easy to get wrong: the functions themselves, which take longer to
compile than to register. They are made before the clock is read.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from enfilade import MCPApp

COUNT = int(os.environ["BENCH_TOOLS"])
TIMES = 101

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


def functions() -> list[Callable[..., Any]]:
    namespace: dict[str, Any] = {"__name__": "orders"}
    exec("".join(SOURCE.format(number=number) for number in range(COUNT)), namespace)
    return [namespace[f"find_orders_{number}"] for number in range(COUNT)]


app = MCPApp(name="bench")
tools = functions()
began = time.process_time()
for tool in tools:
    app.tool(tool)
registered = time.process_time()


@app.tool
async def figures() -> dict[str, float]:
    """Return the milliseconds of processor time: of registering all, of adding one, and when all were there."""
    added = []
    for number in range(TIMES):
        before = time.process_time()
        app.tool(name=f"late_{number}")(tools[0])
        added.append(time.process_time() - before)
        app.remove_tool(f"late_{number}")
    return {
        "register_ms": (registered - began) * 1e3,
        "add_ms": statistics.median(added) * 1e3,
        "registered_ms": registered * 1e3,
    }


if __name__ == "__main__":
    app.run("http", port=int(os.environ["BENCH_PORT"]), log_level="warning")
