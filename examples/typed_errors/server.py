"""A server that fails in every way there is, to show what the model, the client and the log learn of it."""

from typing import Annotated

from pydantic import Field

from enfilade import MCPApp, ToolError

app = MCPApp(name="typed-errors", version="1.0.0")

STOCK = {"lamp": 3, "chair": 0}


class OutOfStockError(ToolError):
    """There is too little of something. The model reads the text; programs read the data beside it."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(
            f"Only {left} of {item!r} are left. Order fewer, or ask again tomorrow.",
            meta={"example.org/out-of-stock": {"item": item, "left": left}},
        )


@app.tool
def order(item: str, amount: Annotated[int, Field(ge=1, le=100)] = 1) -> str:
    """Order something. What is wrong with the arguments is said before the function runs."""
    if item not in STOCK:
        raise ToolError(f"There is no {item!r}. There are {', '.join(STOCK)}.")
    if amount > STOCK[item]:
        raise OutOfStockError(item, STOCK[item])
    return f"{amount} × {item}"


@app.tool
def crash() -> str:
    """Fail in a way that nobody planned. Its text is nobody's business: the client gets an id to ask for."""
    raise RuntimeError("the database at db.internal refused the password hunter2")


@app.tool
def lie() -> int:
    """Return what the signature does not allow."""
    return "a text"  # type: ignore[return-value]


if __name__ == "__main__":
    app.run()
