"""A server with a tool for every supported type, which returns a value of it."""

import sys
from pathlib import Path
from typing import Any

from hypothesis import Phase, find, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from enfilade import MCPApp
from support.schemas.supported_types import BASE, Supported

app = MCPApp("types", version="1.2.3")
#: The first value that is generated is the simplest one, so there is nothing to look for.
FIRST = settings(max_examples=1, database=None, phases=[Phase.generate])


def add(name: str, case: Supported) -> None:
    """Add a tool that takes a value of a type, or does not, and returns the simplest one."""
    simplest = find(case.values, lambda _: True, settings=FIRST)

    def give(value: Any = None) -> Any:
        return simplest

    give.__annotations__ = {"value": case.annotation, "return": case.annotation}
    give.__defaults__ = (simplest,)
    app.add_tool(give, name=name.replace(" ", "_"), description="Give a value.")


for name, case in BASE.items():
    add(name, case)

if __name__ == "__main__":
    app.run("stdio")
