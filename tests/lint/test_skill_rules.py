"""`enfilade check` knows of skills: of those that a server lists, and of those that an app does not serve."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.client.surface import Surface, read_surface
from enfilade.extensions.skills import Skill
from enfilade.lint import snapshot
from enfilade.lint.run import apply_rules, check
from enfilade.testing import connect
from support.servers.skill_server import text_of_skill, writer


def entry(
    name: Any = "a", description: Any = "Does a.", files: int = 1, size: int = 1, **more: Any
) -> dict[str, Any]:
    resources = [{"uri": f"skill://a/{number}", "digest": "", "size": size} for number in range(files)]
    front_matter = {"name": name, "description": description}
    return {"uri": "skill://a/SKILL.md", "frontmatter": front_matter, "resources": resources, **more}


@pytest.mark.parametrize(
    ("skills", "rule", "problem"),
    [
        ([entry("A")], "skill-name", "is called 'A'"),
        ([entry(None)], "skill-name", "is called None"),
        ([entry("b")], "skill-name", "is called 'b', and its folder 'a'"),
        ([entry(description="")], "skill-description", "has no description"),
        ([entry(description=None)], "skill-description", "has no description"),
        ([entry(description="x" * 1025)], "skill-description", "a description of 1025 characters"),
        ([entry(files=513)], "skill-size", "513 files of 513 bytes"),
        ([entry(size=16 * 1024 * 1024 + 1)], "skill-size", "1 files of 16777217 bytes"),
        ([{"uri": "skill://a/SKILL.md"}], "skill-name", "is called None"),
    ],
)
def test_each_rule(skills: list[dict[str, Any]], rule: str, problem: str) -> None:
    """X-SKILL-5, X-SKILL-6."""
    findings = {each.rule: each for each in apply_rules(Surface(skills=skills))}
    assert findings[rule].where == "skill skill://a/SKILL.md"
    assert findings[rule].problem == problem


def test_two_of_one_name() -> None:
    other = {**entry(), "uri": "skill://x/a/SKILL.md"}
    findings = [each for each in apply_rules(Surface(skills=[entry(), other])) if each.rule == "same-skill-name"]
    assert [each.problem for each in findings] == ["2 skills are called 'a'"] * 2


def test_a_skill_as_it_should_be() -> None:
    assert (
        apply_rules(Surface(skills=[entry()])) == apply_rules(Surface(skills=[entry(resources="dynamic")])) == []
    )


def test_what_an_app_does_not_serve(tmp_path: Path) -> None:
    """X-SKILL-11."""
    write = writer(tmp_path)
    write("good/SKILL.md", text_of_skill("good"))
    write("Bad/SKILL.md", text_of_skill("Bad"))
    write("silent/SKILL.md", "---\nname: silent\n---\n")
    write("large/SKILL.md", text_of_skill("large"))
    for number in range(512):
        write(f"large/{number}.txt", "")
    app = MCPApp("skilled")
    app.add_skills(tmp_path)
    findings = [each for each in asyncio.run(check(app)).findings if each.rule == "skill-not-served"]
    assert [(each.severity, each.where, each.problem[:30]) for each in findings] == [
        ("error", "skill Bad", "'Bad' is no name of a skill, w"),
        ("error", "skill silent", "it has no description"),
        ("warning", "skill large", "it has more than 512 files, wh"),
    ]
    assert all(each.fix for each in findings)


def test_an_app_without_skills() -> None:
    assert [each for each in asyncio.run(check(MCPApp("plain"))).findings if "skill" in each.rule] == []


@pytest.mark.parametrize("era", ["stateless", "session"])
def test_a_surface_has_them(era: Any) -> None:
    app = MCPApp("skilled")
    for number in range(3):
        app.add_skill(Skill(f"s{number}", "Does it.", ""))

    async def surface() -> Surface:
        async with connect(app, era=era) as client:
            return await read_surface(client)

    assert [each["uri"] for each in asyncio.run(surface()).skills] == [f"skill://s{n}/SKILL.md" for n in range(3)]


def test_a_snapshot_has_no_digests(tmp_path: Path) -> None:
    """It changes with what a skill is for, and not with each of its files."""
    file = tmp_path / "surface.json"
    snapshot.save(Surface(skills=[entry()]), file)
    assert "digest" not in file.read_text()
    old = snapshot.load(file)
    assert snapshot.compare(old, Surface(skills=[entry()])) == []
    (gone,) = snapshot.compare(old, Surface())
    assert (gone.severity, gone.where, gone.problem) == ("breaking", "skill skill://a/SKILL.md", "was removed")
    (changed,) = snapshot.compare(old, Surface(skills=[entry(description="Else.")]))
    assert (changed.severity, changed.problem) == ("note", "has another description")
    snapshot.save(Surface(), file)
    assert "skills" not in file.read_text()
