"""A server whose lists and whose one note change whenever its tool is called, for clients that want to know."""

import sys

from enfilade import MCPApp

app = MCPApp(name="changing", version="1.0.0")


@app.resource("note://today")
def today() -> str:
    """Say what is on today."""
    return "Nothing."


@app.prompt
def plan() -> str:
    """Make a plan."""
    return "Make a plan."


@app.tool
def touch() -> str:
    """Add to each list, take it away again, and say that the note has changed."""
    app.add_tool(lambda: "", name="passing")
    app.remove_tool("passing")
    app.add_prompt(lambda: "", name="passing")
    app.remove_prompt("passing")
    app.add_text_resource("note://passing", "")
    app.remove_resource("note://passing")
    app.notify_resource_updated("note://today")
    return "touched"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--port"]:
        app.run(transport="http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        app.run()
