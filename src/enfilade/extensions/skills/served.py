"""What one folder of a skill serves: the skill and those nested in it, their files and their folders.

From the files and their facts it makes what all methods answer with. It is made anew whenever something
changes, so a request that has it sees one state of the folder from its beginning to its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote

from msgspec import UNSET, Struct

from enfilade.extensions.skills.contents import FileFacts
from enfilade.extensions.skills.definition import (
    SKILL_FILE,
    Problem,
    SkillError,
    check_front_matter,
    check_size,
    front_matter_problem,
)
from enfilade.extensions.skills.front_matter import FrontMatterError
from enfilade.primitives.access import Access
from enfilade.primitives.metadata import NO_CACHING, Caching
from enfilade.wire.resources import Resource

#: What the URIs of skills begin with.
SCHEME: Final = "skill://"
#: The media type of a folder.
FOLDER_TYPE: Final = "inode/directory"
#: The prefix of members of the front matter in the `_meta` of a resource.
META_PREFIX: Final = "io.modelcontextprotocol.skills/"
#: The name of a member of `_meta` (R-505): what the front matter has beside these stays in the entry alone.
_META_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")

#: The front matter of each `SKILL.md`, or why it has none, by the path of its folder.
FrontMatters = Mapping[str, "dict[str, Any] | FrontMatterError"]


class Options(Struct, frozen=True):
    """What the skills of one registration have in common.

    Attributes:
        prefix: the segments of their URIs before those of the folder, such as `acme/billing`; may be empty.
        access: who may see and read them; None for everybody.
        caching: hints for clients that get an entry or read a file.
    """

    prefix: str = ""
    access: Access | None = None
    caching: Caching = NO_CACHING


class ServedFile(Struct, frozen=True, eq=False):
    """A file of a skill.

    Attributes:
        path: below the folder, with `/` between its segments.
        facts: what is known of its bytes.
        definition: its entry in lists of resources.
    """

    path: str
    facts: FileFacts
    definition: Resource

    @property
    def uri(self) -> str:
        """Its URI."""
        return self.definition.uri

    @property
    def name(self) -> str:
        """The last segment of its path."""
        return self.path.rpartition("/")[2]


class ServedSkill(Struct, frozen=True, eq=False):
    """A skill.

    Attributes:
        uri: that of its `SKILL.md`.
        entry: what `skills/list` and `skills/get` say of it.
        definition: of its `SKILL.md`, as a resource.
        access: who may see and read it; None for everybody.
        caching: hints for clients that get its entry.
    """

    uri: str
    entry: dict[str, Any]
    definition: Resource
    access: Access | None = None
    caching: Caching = NO_CACHING

    @property
    def name(self) -> str:
        """Its name."""
        return self.definition.name


class ServedTree(Struct, frozen=True, eq=False):
    """What one folder of a skill serves, or a skill that is made in code.

    Attributes:
        uri: that of the folder, without a slash at the end.
        skills: the skill and those nested in it, in the order of their paths; without those that break a rule.
        files: the files of all of them, by URI.
        folders: the direct children of each folder, by its URI.
        problems: why some are not served.
    """

    uri: str
    skills: tuple[ServedSkill, ...] = ()
    files: Mapping[str, ServedFile] = {}
    folders: Mapping[str, tuple[Resource, ...]] = {}
    problems: tuple[Problem, ...] = ()


def folder_uri(*paths: str) -> str:
    """Return the URI of a folder, by paths of which each is below the one before."""
    return SCHEME + "/".join(quote(path, safe="/") for path in paths if path)


def served_tree(
    uri: str,
    label: str,
    files: Mapping[str, FileFacts],
    folders: Iterable[str],
    front_matters: FrontMatters,
    options: Options,
) -> ServedTree:
    """Return what a folder with a `SKILL.md` serves.

    Args:
        uri: that of the folder.
        label: what problems call it.
        files: by path, in order.
        folders: all folders in it, by path; the folder itself is the empty one.
    """
    valid: dict[str, dict[str, Any]] = {}
    problems = []
    for folder, front_matter in sorted(front_matters.items()):
        inside = [facts for path, facts in files.items() if _is_below(path, folder)]
        try:
            valid[folder] = _checked(front_matter, folder or label)
            check_size(len(inside), sum(facts.size for facts in inside))
        except SkillError as error:
            valid.pop(folder, None)
            problems.append(Problem(error.rule, "/".join(filter(None, (label, folder))), str(error)))
    tops = tuple(valid)
    served = {
        path: ServedFile(path, facts, _definition(uri, path, facts, valid))
        for path, facts in files.items()
        if any(_is_below(path, folder) for folder in tops)
    }
    skills = tuple(_skill(served, folder, front_matter, options) for folder, front_matter in valid.items())
    open_folders = [path for path in folders if any(path == top or _is_below(path, top) for top in tops)]
    return ServedTree(
        uri,
        skills,
        {file.uri: file for file in served.values()},
        _children(uri, served, open_folders),
        tuple(problems),
    )


def _checked(front_matter: dict[str, Any] | FrontMatterError, folder: str) -> dict[str, Any]:
    if isinstance(front_matter, FrontMatterError):
        raise front_matter_problem(front_matter)
    check_front_matter(front_matter, folder.rpartition("/")[2])
    return front_matter


def _is_below(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


def _definition(uri: str, path: str, facts: FileFacts, valid: Mapping[str, dict[str, Any]]) -> Resource:
    folder, _, name = path.rpartition("/")
    if name == SKILL_FILE and folder in valid:
        return skill_definition(f"{uri}/{quote(path)}", valid[folder], facts.size)
    return Resource(uri=f"{uri}/{quote(path)}", name=name, mime_type=facts.mime_type, size=facts.size)


def skill_definition(uri: str, front_matter: Mapping[str, Any], size: int | None = None) -> Resource:
    """Return the definition of a `SKILL.md` as a resource (X-SKILL-7)."""
    more = {
        META_PREFIX + key: value
        for key, value in front_matter.items()
        if key not in ("name", "description") and _META_NAME.fullmatch(key)
    }
    return Resource(
        uri=uri,
        name=front_matter["name"],
        description=front_matter["description"],
        mime_type="text/markdown",
        size=UNSET if size is None else size,
        meta=more or UNSET,
    )


def _skill(
    served: Mapping[str, ServedFile], folder: str, front_matter: dict[str, Any], options: Options
) -> ServedSkill:
    """Return a skill with all files below its folder, those of nested skills included (X-SKILL-4)."""
    definition = served[f"{folder}/{SKILL_FILE}" if folder else SKILL_FILE].definition
    resources = [
        {"uri": file.uri, "digest": file.facts.digest, "size": file.facts.size}
        for file in served.values()
        if _is_below(file.path, folder)
    ]
    entry = {"uri": definition.uri, "frontmatter": front_matter, "resources": resources}
    return ServedSkill(definition.uri, entry, definition, options.access, options.caching)


def _children(
    uri: str, served: Mapping[str, ServedFile], folders: Iterable[str]
) -> dict[str, tuple[Resource, ...]]:
    """Return the direct children of each folder, by name (X-SKILL-8)."""
    children: dict[str, dict[str, Resource]] = {folder: {} for folder in folders}
    for folder in children:
        above, _, name = folder.rpartition("/")
        if folder and above in children:
            children[above][name] = Resource(uri=f"{uri}/{quote(folder)}", name=name, mime_type=FOLDER_TYPE)
    for file in served.values():
        above, _, name = file.path.rpartition("/")
        children[above][name] = file.definition
    return {
        f"{uri}/{quote(folder)}" if folder else uri: tuple(named[name] for name in sorted(named))
        for folder, named in children.items()
    }
