"""A server with skills: a folder of them, one that is made in code, and one that is written when it is read."""

from datetime import date
from pathlib import Path

from enfilade import MCPApp
from enfilade.extensions.skills import Skill

app = MCPApp(
    name="skills",
    version="1.0.0",
    instructions="For a release, load skill://release-notes/SKILL.md first.",
)

changes: list[str] = []

app.add_skills(Path(__file__).with_name("skills"))

app.add_skill(
    Skill(
        "house-style",
        "How texts of this team are written. Use it before you write anything that customers read.",
        "# House style\n\nShort sentences. No exclamation marks. Words to avoid are in `references/words.md`.\n",
        files={"references/words.md": "- simply\n- just\n- exciting\n"},
    ),
    prefix="team",
)


@app.skill
def open_changes() -> str:
    """What has changed since the last release. Use it to write release notes."""
    listed = "\n".join(f"- {change}" for change in changes) or "Nothing yet."
    return f"# Changes until {date.today().isoformat()}\n\n{listed}\n"


@app.tool
def note_change(text: str) -> str:
    """Note a change for the next release."""
    changes.append(text)
    return f"{len(changes)} noted"


if __name__ == "__main__":
    app.run()
