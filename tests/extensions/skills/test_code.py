"""Skills that are made in code: what may be written, and what clients get of it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from enfilade import Context, MCPApp
from enfilade.extensions.skills import Skill, SkillsExtension
from enfilade.extensions.skills.extension import ID
from enfilade.testing import connect
from support.servers.skill_server import text_of_skill, writer


def skill(name: str = "a", **options: Any) -> Skill:
    return Skill(name, "Does something.", "# Do it\n", **options)


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


class TestSkill:
    def test_its_files(self) -> None:
        """X-SKILL-4: texts are UTF-8, and no newline is translated."""
        made = skill(files={"z/ä.txt": "ä\r\n", "b.bin": b"\xff"}, front_matter={"license": "MIT"})
        assert made.name == "a"
        assert made.files == {
            "SKILL.md": b'---\nname: "a"\ndescription: "Does something."\nlicense: "MIT"\n---\n\n# Do it\n',
            "b.bin": b"\xff",
            "z/ä.txt": "ä\r\n".encode(),
        }
        assert made.front_matter == {"name": "a", "description": "Does something.", "license": "MIT"}

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"name": "A b"}, ValueError, r"Skill\('A b'\): 'A b' is no name of a skill, .* call it 'a-b'"),
            ({"name": ""}, ValueError, "no name"),
            ({"name": 7}, ValueError, "no name that is a text"),
            ({"name": "a" * 65}, ValueError, "is no name of a skill"),
            ({"description": ""}, ValueError, r"Skill\('a'\): it has no description"),
            ({"description": "x" * 1025}, ValueError, "1025 characters, and 1024 are allowed"),
            ({"description": None}, ValueError, "it has no description"),
            ({"instructions": b"x"}, TypeError, "instructions is a text, not bytes"),
            ({"instructions": "\ud800"}, ValueError, "the file SKILL.md has half a surrogate pair"),
            ({"files": {"SKILL.md": "x"}}, ValueError, "SKILL.md is made of the other arguments"),
            ({"files": {"a": 1}}, TypeError, "the file a is a text or bytes, not int"),
            ({"files": {1: "x"}}, TypeError, "the paths of files are texts, not 1"),
            ({"files": {"../a": "x"}}, ValueError, r"a file is called '\.\.'"),
            ({"files": {"/a": "x"}}, ValueError, "a file is called ''"),
            ({"files": {"a/": "x"}}, ValueError, "a file is called ''"),
            ({"files": {"a//b": "x"}}, ValueError, "a file is called ''"),
            ({"files": {"a\\b": "x"}}, ValueError, "rename it"),
            ({"files": {"a\0b": "x"}}, ValueError, "rename it"),
            ({"files": {"\udcff": "x"}}, ValueError, "rename it"),
            ({"files": {".env": "x"}}, ValueError, "has a hidden part"),
            ({"files": {"a": "x", "a/b": "x"}}, ValueError, "a is both a file and a folder"),
            ({"front_matter": {"name": "b"}}, ValueError, "name is an argument; leave it out of front_matter"),
            ({"front_matter": ["x"]}, TypeError, "front_matter is a mapping, not list"),
            ({"front_matter": {"x": object()}}, ValueError, "the front matter has no form in JSON"),
            ({"front_matter": {"x": float("nan")}}, ValueError, "has no form in JSON"),
            ({"front_matter": {"x": 2**70}}, ValueError, "too large; make it a text"),
            ({"front_matter": {"x": [[2**63]]}}, ValueError, "too large; make it a text"),
            ({"front_matter": {"x": CIRCLE}}, ValueError, "more than 32 levels"),
        ],
    )
    def test_what_cannot_be(self, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            Skill(**{"name": "a", "description": "b", "instructions": "c", **arguments})

    def test_what_is_too_large(self) -> None:
        """X-SKILL-5."""
        app = MCPApp("large")
        with pytest.raises(ValueError, match="skill a: it has more than 512 files"):
            app.add_skill(skill(files={f"{number}.txt": "" for number in range(512)}))
        with pytest.raises(ValueError, match="skill a: its files have 16777217 bytes"):
            app.add_skill(skill(files={"a.bin": bytes(16 * 1024 * 1024 + 1 - len(skill().files["SKILL.md"]))}))
        assert app.add_skill(skill(files={f"{number}.txt": "" for number in range(511)})) == "skill://a/SKILL.md"

    def test_a_nested_skill(self) -> None:
        """X-SKILL-5."""
        app = MCPApp("nested")
        app.add_skill(skill(files={"b/SKILL.md": text_of_skill("b"), "b/c.txt": "c"}))
        extension = app.extensions.get(ID) if app.extensions else None
        assert isinstance(extension, SkillsExtension)
        assert [served.uri for served in extension.skills] == ["skill://a/SKILL.md", "skill://a/b/SKILL.md"]
        with pytest.raises(ValueError, match="its name is 'x', and its folder is 'b'"):
            app.add_skill(skill("c", files={"b/SKILL.md": text_of_skill("x")}))


class TestApp:
    def test_one_extension_for_all(self, tmp_path: Path) -> None:
        app = MCPApp("all")
        writer(tmp_path)("b/SKILL.md", text_of_skill("b"))
        assert app.extensions is None
        app.add_skill(skill())
        assert app.add_skills(tmp_path) == ["skill://b/SKILL.md"]

        @app.skill(name="c", description="Writes.", prefix="d", front_matter={"license": "MIT"})
        def anything() -> str:
            return "text"

        assert anything() == "text"
        assert app.extensions is not None
        extension = app.extensions.get(ID)
        assert isinstance(extension, SkillsExtension)
        uris = ["skill://a/SKILL.md", "skill://b/SKILL.md", "skill://d/c/SKILL.md"]
        assert [served.uri for served in extension.skills] == app.resources.names() == uris

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"prefix": "../a"}, ValueError, "prefix is at most 16 segments of a URI"),
            ({"prefix": "a//b"}, ValueError, "prefix is at most 16 segments"),
            ({"prefix": "/".join("abcdefghijklmnopq")}, ValueError, "prefix is at most 16 segments"),
            ({"prefix": 1}, TypeError, "prefix is a text, not 1"),
            ({"ttl": -1}, ValueError, "ttl is a number of seconds"),
            ({"requires_scopes": "a"}, TypeError, r"skill a: requires_scopes= takes a list of scopes: \['a'\]"),
            ({"requires_scopes": ["a"], "cache_scope": "public"}, ValueError, "lets proxies hand it to anybody"),
            (
                {"scopes": ["a"]},
                TypeError,
                "skill a: there is no option 'scopes'; there are cache_scope, prefix",
            ),
        ],
    )
    def test_options_that_cannot_be(self, options: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            MCPApp("strict").add_skill(skill(), **options)

    def test_folders_that_cannot_be(self, tmp_path: Path) -> None:
        file = writer(tmp_path)("a.txt", "a")
        for path in (file, tmp_path / "nothing"):
            with pytest.raises(
                ValueError, match=r"is no folder; name one with a SKILL\.md, or with folders that have one"
            ):
                MCPApp("strict").add_skills(path)

    def test_what_is_no_skill(self) -> None:
        with pytest.raises(TypeError, match=r"takes a Skill of enfilade\.extensions\.skills, not 'a'"):
            MCPApp("strict").add_skill("a")  # type: ignore[arg-type]

    def test_a_place_that_is_taken(self) -> None:
        app = MCPApp("taken")
        app.add_skill(skill(), prefix="x/y")
        for other, prefix in ((skill(), "x/y"), (skill("b"), "x/y/a"), (skill("y"), "x")):
            with pytest.raises(
                ValueError, match=r"there is a skill at .* already, or around or in it; use prefix="
            ):
                app.add_skill(other, prefix=prefix)
        app.add_skill(skill(), prefix="x/z")

    def test_a_resource_at_the_same_uri(self, caplog: pytest.LogCaptureFixture) -> None:
        app = MCPApp("taken")
        app.add_text_resource("skill://a/SKILL.md", "mine")
        app.add_skill(skill())
        assert "skill a is served, and cannot be a resource: two resources are called" in caplog.text
        app.remove_skill("skill://a/SKILL.md")
        assert "skill://a/SKILL.md" in app.resources

    def test_other_resources_of_the_scheme(self) -> None:
        """Skills in code leave the rest of the scheme to the author."""
        app = MCPApp("mixed")
        app.add_skill(skill(files={"b.txt": "b"}))
        app.add_resource(lambda x: x, "skill://mine/{x}", name="mine")

        async def read(uri: str) -> str:
            async with connect(app) as client:
                return str((await client.read_resource(uri)).contents[0].text)  # type: ignore[union-attr]

        assert asyncio.run(read("skill://mine/1")) == "1"
        assert asyncio.run(read("skill://a/b.txt")) == "b"

    def test_skills_are_removed(self, tmp_path: Path) -> None:
        app = MCPApp("removed")
        writer(tmp_path)("b/SKILL.md", text_of_skill("b"))
        app.add_skills(tmp_path)
        app.add_skill(skill())
        app.remove_skill("skill://a/SKILL.md")
        assert app.resources.names() == ["skill://b/SKILL.md"]
        for uri in ("skill://a/SKILL.md", "skill://b/SKILL.md", "skill://b", "x"):
            with pytest.raises(KeyError, match="no skill that was made in code is at"):
                app.remove_skill(uri)
        with pytest.raises(KeyError, match="no skill that was made in code is at"):
            MCPApp("none").remove_skill("skill://a/SKILL.md")


def test_a_parser_is_needed_for_folders_alone(tmp_path: Path) -> None:
    """Without the extra, skills in code are served, and a folder says what to install."""
    writer(tmp_path)("a/SKILL.md", text_of_skill("a"))
    code = f"""
import sys
sys.modules["yaml"] = None
from enfilade import MCPApp
from enfilade.extensions.skills import Skill
app = MCPApp("bare")
print(app.add_skill(Skill("b", "Does b.", "")))
try:
    app.add_skills({str(tmp_path)!r})
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "skill://b/SKILL.md",
        'folders of skills need a YAML parser: pip install "enfilade[skills]"',
    ]


class TestGenerated:
    async def read(self, app: MCPApp, uri: str) -> str:
        async with connect(app) as client:
            return str((await client.read_resource(uri)).contents[0].text)  # type: ignore[union-attr]

    def test_with_the_context(self) -> None:
        app = MCPApp("generated")

        @app.skill
        async def who_asks(ctx: Context) -> str:
            """Tell who asks."""
            return f"{ctx.peer.revision}\n"

        text = asyncio.run(self.read(app, "skill://who-asks/SKILL.md"))
        assert text.startswith('---\nname: "who-asks"\ndescription: "Tell who asks."\n---\n\n20')

    def test_what_cannot_be(self) -> None:
        app = MCPApp("strict")

        def takes(x: int) -> str:
            """Take something."""
            return str(x)

        def silent() -> str:
            return ""

        with pytest.raises(TypeError, match=r'takes\(\), parameter "x"'):
            app.skill(takes)
        with pytest.raises(ValueError, match=r"silent\(\): it has no description"):
            app.skill(silent)
        with pytest.raises(ValueError, match="'Bad Name' is no name of a skill"):
            app.skill(name="Bad Name", description="x")(silent)
        assert len(app.resources) == 0

    @pytest.mark.parametrize("value", [None, b"x", {"a": 1}, ["x"]])
    def test_what_is_no_text(self, value: object, caplog: pytest.LogCaptureFixture) -> None:
        app = MCPApp("odd")

        @app.skill(description="Odd.")
        def odd() -> Any:
            return value

        with pytest.raises(MCPError):
            asyncio.run(self.read(app, "skill://odd/SKILL.md"))

    def test_one_that_fails(self) -> None:
        app = MCPApp("failing")

        @app.skill
        def failing() -> str:
            """Fail."""
            raise RuntimeError("a path: /etc/passwd")

        with pytest.raises(MCPError, match=r"Internal error \(id") as caught:
            asyncio.run(self.read(app, "skill://failing/SKILL.md"))
        assert "/etc" not in str(caught.value)
