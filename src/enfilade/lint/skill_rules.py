"""Rules for skills: those that a server lists, and of an app in a file also why some are not served.

The limits and the form of names are those that every host takes (X-SKILL-5, X-SKILL-6).
"""

from collections import Counter
from collections.abc import Iterator

from enfilade.app import MCPApp
from enfilade.client.surface import Item, Surface
from enfilade.extensions.skills.definition import (
    LONGEST_DESCRIPTION,
    LONGEST_NAME,
    MOST_BYTES,
    MOST_FILES,
    SkillError,
    check_name,
)
from enfilade.lint.findings import Finding, Hits, Severity, rule

#: Severities of skills that are not served, by the rule of their problem.
_NOT_SERVED: dict[str, Severity] = {"size": "warning", "place": "warning"}


@rule(
    "skill-name",
    "error",
    why=f"Hosts refuse a skill that is not called 1 to {LONGEST_NAME} of a-z, 0-9 and hyphens, as its folder.",
    fix="give the folder and the front matter one such name",
)
def skill_name(surface: Surface) -> Hits:
    for skill in surface.skills:
        name = _front_matter(skill).get("name")
        try:
            check_name(name)
        except SkillError:
            yield _label(skill), f"is called {name!r}"
            continue
        folder = _uri(skill).removesuffix("/SKILL.md").rpartition("/")[2]
        if folder != name:
            yield _label(skill), f"is called {name!r}, and its folder {folder!r}"


@rule(
    "skill-description",
    "error",
    why="A model chooses a skill by its description; hosts refuse a skill without one, or with a long one.",
    fix=f"say what it does and when to use it, in at most {LONGEST_DESCRIPTION} characters",
)
def skill_description(surface: Surface) -> Hits:
    for skill in surface.skills:
        description = _front_matter(skill).get("description")
        if not isinstance(description, str) or not description.strip():
            yield _label(skill), "has no description"
        elif len(description) > LONGEST_DESCRIPTION:
            yield _label(skill), f"a description of {len(description)} characters"


@rule(
    "skill-size",
    "warning",
    why=f"Hosts need not load a skill of more than {MOST_FILES} files or {MOST_BYTES} bytes.",
    fix="leave files out, or split the skill",
)
def skill_size(surface: Surface) -> Hits:
    for skill in surface.skills:
        resources = skill.get("resources")
        if isinstance(resources, list):
            size = sum(resource.get("size", 0) for resource in resources)
            if len(resources) > MOST_FILES or size > MOST_BYTES:
                yield _label(skill), f"{len(resources)} files of {size} bytes"


@rule(
    "same-skill-name",
    "warning",
    why="Hosts show skills by name, and have to tell two of one name apart by their URIs.",
    fix="give one of them another name",
)
def same_skill_name(surface: Surface) -> Hits:
    names = Counter(str(_front_matter(skill).get("name")) for skill in surface.skills)
    for skill in surface.skills:
        name = str(_front_matter(skill).get("name"))
        if names[name] > 1:
            yield _label(skill), f"{names[name]} skills are called {name!r}"


def skill_findings(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about skills that an app does not serve."""
    from enfilade.extensions.skills.extension import ID, SkillsExtension

    extension = None if app.extensions is None else app.extensions.get(ID)
    for problem in extension.problems if isinstance(extension, SkillsExtension) else ():
        yield Finding(
            rule="skill-not-served",
            severity=_NOT_SERVED.get(problem.rule, "error"),
            where=f"skill {problem.where}",
            problem=problem.text.partition("; ")[0],
            fix=problem.text.partition("; ")[2] or "mend it, or take it away",
        )


def _front_matter(skill: Item) -> Item:
    front_matter = skill.get("frontmatter")
    return front_matter if isinstance(front_matter, dict) else {}


def _uri(skill: Item) -> str:
    return str(skill.get("uri", ""))


def _label(skill: Item) -> str:
    return f"skill {_uri(skill)}"
