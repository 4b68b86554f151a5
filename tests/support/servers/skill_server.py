"""The server of the tests of skills: a folder of them, one in code, and one that a function writes.

It runs inside the tests (`SkillServer(folder)`) and as a process of its own (`python skill_server.py stdio`),
with the folder of the everything server. `verify` is what a host does with an entry.
"""

import base64
import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from enfilade import MCPApp
from enfilade.extensions.skills import Skill, SkillsExtension

FOLDER = Path(__file__).resolve().parents[3] / "examples/everything/skills"
PIXEL = b"\x89PNG\r\n\x1a\n\x00\xff"
ID = "io.modelcontextprotocol/skills"

#: Writes a skill below a folder: `write(path, text or bytes)`.
Write = Callable[[str, str | bytes], Path]


class SkillServer(MCPApp):
    """The server.

    Args:
        folder: of skills.
        poll_interval: seconds between two looks at it.
        options: of the app.
    """

    def __init__(self, folder: Path = FOLDER, *, poll_interval: float = 0, **options: Any) -> None:
        super().__init__("skilled", version="1.0.0", **options)
        self.skills = self.add_extension(SkillsExtension(poll_interval=poll_interval, freshness=0))
        self.add_skills(folder)
        files: dict[str, str | bytes] = {"assets/pixel.png": PIXEL, "notes.txt": "one\r\ntwo\n"}
        self.add_skill(Skill("in-code", "Made in code.", "# In code\n", files=files), prefix="made")
        self.skill(self.state_of_things)

    def state_of_things(self) -> str:
        """Tell how things are."""
        return f"There are {len(self.skills.skills)} skills.\n"


def text_of_skill(
    name: str, description: str = "Does something.", more: str = "", body: str = "# Do it\n"
) -> str:
    """Return a `SKILL.md`."""
    return f"---\nname: {name}\ndescription: {description}\n{more}---\n\n{body}"


def writer(folder: Path) -> Write:
    """Return what writes files below a folder, with the folders that they need."""

    def write(path: str, content: str | bytes) -> Path:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    return write


def bytes_of(contents: Mapping[str, Any]) -> bytes:
    """Return the bytes of the contents of a resource."""
    return base64.b64decode(contents["blob"]) if "blob" in contents else contents["text"].encode()


def verify(entry: Mapping[str, Any], read: Callable[[str], Mapping[str, Any]]) -> None:
    """Check an entry, and every file of it, as hosts have to.

    Args:
        read: returns the contents of the resource at a URI.

    Raises:
        AssertionError: something is not as the entry says.
    """
    uri, front_matter, resources = entry["uri"], entry["frontmatter"], entry["resources"]
    root = uri.removesuffix("/SKILL.md")
    assert uri == f"{root}/SKILL.md"
    assert root.rpartition("/")[2] == front_matter["name"]
    _, head, _ = read(uri)["text"].split("---\n", 2)
    assert yaml.load(head, yaml.BaseLoader).keys() == front_matter.keys()
    if resources == "dynamic":
        return
    uris = [resource["uri"] for resource in resources]
    assert len(uris) == len({*uris})
    assert uri in uris
    for resource in resources:
        assert resource["uri"].startswith(f"{root}/")
        assert resource.keys() == {"uri", "digest", "size"}
        data = bytes_of(read(resource["uri"]))
        assert len(data) == resource["size"]
        assert resource["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"


if __name__ == "__main__":
    SkillServer().run(sys.argv[1] if sys.argv[1:] else "stdio")
