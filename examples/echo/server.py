"""The smallest server that is of use: it says back what it is told, and by whom."""

from enfilade import Context, MCPApp

app = MCPApp(name="echo", version="1.0.0")


@app.tool
def echo(text: str) -> str:
    """Say it back."""
    return text


@app.tool
def shout(text: str, times: int = 1) -> list[str]:
    """Say it louder, as often as you like."""
    return [text.upper()] * times


@app.tool
def whoami(ctx: Context) -> dict[str, str | None]:
    """Say what the server knows of its client."""
    info = ctx.peer.client_info
    return {"client": info.name if info else None, "revision": ctx.peer.revision}


if __name__ == "__main__":
    app.run()
