"""A server with things to read: fixed, made on demand, from files; and clients are told when they change."""

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field

from enfilade import MCPApp, ResourceNotFound

app = MCPApp(name="resources", version="1.0.0")

notes = {"shopping": "Tea, milk", "plans": "Plant a tree"}

Title = Annotated[str, Field(pattern="^[a-z0-9-]+$", max_length=40)]

app.add_text_resource("about://server", "Notes that can be read and written.", description="What this is.")
app.add_file_resource("guide://notes", Path(__file__).with_name("guide.md"), description="How to write notes.")


@app.resource("calendar://today", mime_type="application/json")
def today() -> dict[str, int]:
    """The date, made when it is read."""
    now = date.today()
    return {"year": now.year, "month": now.month, "day": now.day}


@app.resource("note://{title}", complete={"title": lambda: list(notes)})
def note(title: Title) -> str:
    """One note, by its title."""
    if title not in notes:
        raise ResourceNotFound(f"There is no note called {title}.")
    return notes[title]


@app.tool
def write_note(title: Title, text: str) -> str:
    """Write a note. Clients that watch it hear that it has changed."""
    notes[title] = text
    app.notify_resource_updated(f"note://{title}")
    return f"note://{title}"


@app.tool
def pin_note(title: Title) -> str:
    """Put a note into the list of resources. Clients hear that the list has changed, without further ado."""
    app.add_resource(lambda: notes[title], f"pinned://{title}", name=title, description="A note that was pinned.")
    return f"pinned://{title}"


if __name__ == "__main__":
    app.run()
