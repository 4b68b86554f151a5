"""The basic operations."""

from enfilade import ToolError, tool


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


@tool
def divide(a: float, b: float) -> float:
    """Divide a number by another."""
    if b == 0:
        raise ToolError("Nothing can be divided by zero.")
    return a / b
