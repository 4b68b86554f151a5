"""What several numbers have in common."""

from typing import Annotated

from pydantic import Field

from enfilade import tool


@tool(title="Arithmetic mean", annotations={"readOnlyHint": True})
def mean(numbers: Annotated[list[float], Field(min_length=1)]) -> float:
    """Return the mean of some numbers."""
    return sum(numbers) / len(numbers)
