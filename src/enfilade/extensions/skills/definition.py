"""What a skill has to be: its name and description, the paths of its files, and how much there may be.

The format is that of Agent Skills (https://agentskills.io/specification). What breaks a rule is not served, and a
`Problem` says which skill that is and what to do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from enfilade.extensions.skills.front_matter import FrontMatterError
from enfilade.primitives.values.json_encoding import clean

#: The file at the root of each skill.
SKILL_FILE: Final = "SKILL.md"
#: Most files of a skill, and most bytes of them together: what each host takes (X-SKILL-5).
MOST_FILES: Final = 512
MOST_BYTES: Final = 16 * 1024 * 1024
#: Folders within each other, below the folder of all skills.
DEEPEST: Final = 24
LONGEST_NAME: Final = 64
LONGEST_DESCRIPTION: Final = 1024

#: Folders that programs leave behind beside scripts. They and names that begin with a dot are no part of a skill.
_LEFT_BEHIND: Final = frozenset({"__pycache__", "node_modules"})
_NAME: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
#: Characters that no file name of a skill has: hosts write the files to disk.
_NOT_PORTABLE: Final = re.compile(r"[\x00-\x1f\x7f\\]")


class Problem(Struct, frozen=True):
    """Why a skill is not served.

    Attributes:
        rule: a word for it: `name`, `description`, `front-matter`, `size`, `files` or `place`.
        where: the skill, by its path below the folder of all skills.
        text: what is wrong, and what to do.
    """

    rule: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"skill {self.where}: {self.text}"


class SkillError(ValueError):
    """A skill cannot be served.

    Attributes:
        rule: as that of `Problem`.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(text)
        self.rule = rule


def check_name(name: object) -> str:
    """Return a name (X-SKILL-6).

    Raises:
        SkillError: it is none that a skill may have; the text has one like it.
    """
    if not isinstance(name, str) or not name:
        advice = "put it into quotes" if name is not None and name != "" else "write name: and the folder's name"
        raise SkillError("name", f"its front matter has no name that is a text; {advice}")
    if len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
        better = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:LONGEST_NAME].strip("-") or "my-skill"
        raise SkillError(
            "name",
            f"{name[:80]!r} is no name of a skill, which has 1 to {LONGEST_NAME} of a-z, 0-9 and single hyphens "
            f"between them; call it {better!r}, and its folder as well",
        )
    return name


def check_front_matter(members: Mapping[str, Any], folder: str | None) -> None:
    """Check the members that every front matter has.

    Args:
        members: the front matter.
        folder: the name of the folder; None if it may have any.

    Raises:
        SkillError: one of them breaks a rule.
    """
    name = check_name(members.get("name"))
    if folder is not None and name != folder:
        raise SkillError("name", f"its name is {name!r}, and its folder is {folder!r}; give both one name")
    description = members.get("description")
    if not isinstance(description, str) or not description.strip():
        raise SkillError(
            "description", "it has no description; write description: and what it does and when to use it"
        )
    if len(description) > LONGEST_DESCRIPTION:
        raise SkillError(
            "description",
            f"its description has {len(description)} characters, and {LONGEST_DESCRIPTION} are allowed; "
            "move some of it into the instructions",
        )


def front_matter_problem(error: FrontMatterError) -> SkillError:
    """Return the error of a skill for that of its front matter."""
    return SkillError("front-matter", f"{SKILL_FILE}: {error}")


def is_left_out(name: str) -> bool:
    """Whether a file or folder of this name is no part of a skill."""
    return name.startswith(".") or name in _LEFT_BEHIND


def check_file_name(name: str) -> None:
    """Check the name of a file or folder, one segment of a path.

    Raises:
        SkillError: hosts could not write it, or it has no form in a URI.
    """
    if name in ("", ".", "..") or _NOT_PORTABLE.search(name) or clean(name) != name:
        shown = clean(name).encode("unicode_escape").decode()[:80]
        raise SkillError("files", f"a file is called '{shown}'; rename it, without \\ and control characters")


def check_size(files: int, size: int) -> None:
    """Check how much there is in a skill.

    Raises:
        SkillError: it is more than hosts take (X-SKILL-5).
    """
    if files > MOST_FILES:
        raise SkillError(
            "size", f"it has more than {MOST_FILES} files, which hosts need not load; leave some out"
        )
    if size > MOST_BYTES:
        raise SkillError(
            "size", f"its files have {size} bytes, and {MOST_BYTES} is the most that hosts have to load"
        )
