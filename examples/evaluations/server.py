"""A server whose tools are chosen by a model; `evals/` tries whether it chooses well."""

from typing import Annotated, Literal

from enfilade import MCPApp, ToolError

app = MCPApp(name="evaluations", version="1.0.0")

METRES = {"metre": 1.0, "mile": 1609.344, "yard": 0.9144}
Unit = Literal["metre", "mile", "yard"]


@app.tool(annotations={"readOnlyHint": True})
def convert(
    amount: Annotated[float, "How much."], unit: Annotated[Unit, "Of what."], into: Annotated[Unit, "Into what."]
) -> float:
    """Convert a length from one unit into another."""
    return round(amount * METRES[unit] / METRES[into], 3)


@app.tool
def remind(
    text: Annotated[str, "What the user should think of, in few words."],
    minutes: Annotated[int, "In how many minutes; an hour has 60."],
) -> str:
    """Remind the user of something after a while."""
    if minutes < 1:
        raise ToolError(f"A reminder needs at least a minute, and not {minutes}.")
    return f"In {minutes} minutes: {text}"


if __name__ == "__main__":
    app.run()
