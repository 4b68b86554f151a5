"""Skills that are made in code: with files in memory, or with instructions that a function writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from enfilade.extensions.skills.contents import facts_of, front_matter_of
from enfilade.extensions.skills.definition import (
    SKILL_FILE,
    SkillError,
    check_file_name,
    check_front_matter,
    is_left_out,
)
from enfilade.extensions.skills.front_matter import FrontMatterError, write_front_matter
from enfilade.extensions.skills.resources import GeneratedSkill
from enfilade.extensions.skills.served import (
    Options,
    ServedSkill,
    ServedTree,
    folder_uri,
    served_tree,
    skill_definition,
)
from enfilade.extensions.skills.sources import SkillInCode
from enfilade.primitives.resource import resource_from_function
from enfilade.primitives.schema.docstrings import docstring_of, read_docstring
from enfilade.primitives.schema.signature import describe, raw_name
from enfilade.serving.context import Context


class Skill:
    """A skill made in code, for `app.add_skill`.

    Args:
        name: 1 to 64 of a-z, 0-9 and single hyphens between them.
        description: what it does and when to use it, for the model; 1,024 characters at most.
        instructions: the text of its `SKILL.md`, in Markdown.
        files: further files, by path: `{"references/api.md": "...", "logo.png": b"..."}`. Texts are UTF-8.
        front_matter: further members of the front matter, such as `license` or `metadata`, as JSON has them.

    Attributes:
        files: the bytes of all files by path, `SKILL.md` included, in order.
        front_matter: the whole front matter.

    Raises:
        TypeError: one of them has another type.
        ValueError: one of them breaks a rule; the text says which, and what to write.
    """

    def __init__(
        self,
        name: str,
        description: str,
        instructions: str,
        *,
        files: Mapping[str, str | bytes] | None = None,
        front_matter: Mapping[str, Any] | None = None,
    ) -> None:
        label = f"Skill({name!r})"
        if not isinstance(instructions, str):
            raise TypeError(f"{label}: instructions is a text, not {type(instructions).__name__}")
        self.front_matter, head = made_front_matter(label, name, description, front_matter)
        self.files: dict[str, bytes] = {SKILL_FILE: _encoded(label, SKILL_FILE, f"{head}\n{instructions}")}
        for path, content in (files or {}).items():
            if path == SKILL_FILE:
                raise ValueError(f"{label}: {SKILL_FILE} is made of the other arguments; leave it out of files")
            _check_path(label, path)
            self.files[path] = _encoded(label, path, content)
        self.files = dict(sorted(self.files.items()))
        folders = {folder for path in self.files for folder in _folders_of(path)}
        if both := sorted(folders & self.files.keys()):
            raise ValueError(f"{label}: {both[0]} is both a file and a folder")
        self._folders = sorted(folders | {""})

    @property
    def name(self) -> str:
        """Its name."""
        name: str = self.front_matter["name"]
        return name

    def source(self, options: Options) -> SkillInCode:
        """Return what serves it.

        Raises:
            ValueError: there is more in it than hosts take, or a skill nested in it breaks a rule.
        """
        facts = {path: facts_of(path.rpartition("/")[2], data) for path, data in self.files.items()}
        front_matters = {
            path.removesuffix(SKILL_FILE).rstrip("/"): front_matter_of(data)
            for path, data in self.files.items()
            if path.rpartition("/")[2] == SKILL_FILE and path != SKILL_FILE
        }
        uri = folder_uri(options.prefix, self.name)
        front_matters[""] = self.front_matter
        tree = served_tree(uri, self.name, facts, self._folders, front_matters, options)
        if tree.problems:
            raise ValueError(str(tree.problems[0]))
        return SkillInCode(tree, options, self.files)


def made_front_matter(
    label: str, name: str, description: str, more: Mapping[str, Any] | None
) -> tuple[dict[str, Any], str]:
    """Return a front matter as JSON has it, and as a `SKILL.md` begins with it.

    Args:
        label: what errors call the skill.

    Raises:
        TypeError: the further members are no mapping.
        ValueError: it breaks a rule.
    """
    if more is not None and not isinstance(more, Mapping):
        raise TypeError(f"{label}: front_matter is a mapping, not {type(more).__name__}")
    if double := sorted({"name", "description"}.intersection(more or ())):
        raise ValueError(f"{label}: {double[0]} is an argument; leave it out of front_matter")
    members = {"name": name, "description": description, **(more or {})}
    try:
        check_front_matter(members, None)
        head = write_front_matter(members)
        plain: dict[str, Any] = json.loads(json.dumps(members))
    except (SkillError, FrontMatterError) as error:
        raise ValueError(f"{label}: {error}") from None
    return plain, head


def _check_path(label: str, path: object) -> None:
    if not isinstance(path, str):
        raise TypeError(f"{label}: the paths of files are texts, not {path!r}")
    try:
        for segment in path.split("/"):
            check_file_name(segment)
            if is_left_out(segment):
                raise SkillError("files", f"{path!r} has a hidden part, which no skill has; rename it")
    except SkillError as error:
        raise ValueError(f"{label}: {error}") from None


def _encoded(label: str, path: str, content: object) -> bytes:
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if not isinstance(content, str):
        raise TypeError(f"{label}: the file {path} is a text or bytes, not {type(content).__name__}")
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{label}: the file {path} has half a surrogate pair, which UTF-8 cannot hold") from None


def _folders_of(path: str) -> list[str]:
    segments = path.split("/")
    return ["/".join(segments[:count]) for count in range(1, len(segments))]


def generated_skill(
    fn: Callable[..., Any],
    options: Options,
    *,
    name: str | None = None,
    description: str | None = None,
    front_matter: Mapping[str, Any] | None = None,
) -> SkillInCode:
    """Return what serves a skill whose instructions a function writes at each request.

    Args:
        fn: sync or async, without parameters except the context; returns the text after the front matter.
        name: by default that of the function, with hyphens.
        description: by default the docstring's.

    Raises:
        TypeError: the function has parameters.
        ValueError: the name or the description breaks a rule.
    """
    label = describe(fn)
    name = raw_name(fn).strip("_").replace("_", "-") if name is None else name
    if description is None:
        description = read_docstring(docstring_of(fn), ()).description or ""
    members, head = made_front_matter(label, name, description, front_matter)
    root = folder_uri(options.prefix, name)
    uri = f"{root}/{SKILL_FILE}"
    definition = skill_definition(uri, members)
    made = resource_from_function(
        fn,
        uri,
        context_type=Context,
        name=definition.name,
        description=description,
        mime_type="text/markdown",
        meta=definition.meta or None,
        caching=options.caching,
        access=options.access,
    )
    resource = GeneratedSkill(**{each.name: getattr(made, each.name) for each in fields(made)}, front_matter=head)
    entry = {"uri": uri, "frontmatter": members, "resources": "dynamic"}
    skill = ServedSkill(uri, entry, made.definition, options.access, options.caching)
    tree = ServedTree(root, (skill,), {}, {root: (made.definition,)})
    return SkillInCode(tree, options, {}, resource)
