"""Folders of skills on a real file system: what is found, what is refused and why, and that nothing leads out."""

import logging
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enfilade.extensions.skills import catalog, folder as folder_module, sources
from enfilade.extensions.skills.catalog import Catalog, Index
from enfilade.extensions.skills.contents import digest_of
from enfilade.extensions.skills.definition import MOST_BYTES, MOST_FILES, SkillError
from enfilade.extensions.skills.served import Options
from enfilade.extensions.skills.sources import SkillsFolder
from enfilade.primitives.errors import ResourceError, ResourceNotFound
from support.servers.skill_server import text_of_skill, writer

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs links and special files")


class Skills:
    """A folder of skills and what is served of it.

    Attributes:
        changes: what was served before and after each change.
    """

    def __init__(self, root: Path, **options: object) -> None:
        self.root = root
        self.write = writer(root)
        self.changes: list[tuple[Index, Index]] = []
        self.catalog = Catalog(0, lambda before, after: self.changes.append((before, after)))
        self._options = Options(**options)  # type: ignore[arg-type]

    def look(self) -> "Skills":
        if not self.catalog.changes_by_itself:
            self.catalog.add(SkillsFolder(self.root, self._options))
        self.catalog.refresh()
        return self

    @property
    def names(self) -> list[str]:
        return [skill.name for skill in self.catalog.index.skills.values()]

    @property
    def problems(self) -> list[str]:
        return [str(problem) for problem in self.catalog.index.problems]

    def digest(self, uri: str) -> str:
        return self.catalog.index.files[uri][1].facts.digest

    def files(self, uri: str) -> list[str]:
        return [resource["uri"] for resource in self.catalog.index.skills[uri].entry["resources"]]


@pytest.fixture
def skills(tmp_path: Path) -> Skills:
    root = tmp_path / "skills"
    root.mkdir()
    return Skills(root)


@pytest.fixture(params=["by descriptor", "by path"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to read a folder; by path is the one of Windows."""
    if request.param == "by path":
        monkeypatch.setattr(folder_module, "_BY_DESCRIPTOR", False)
    return str(request.param)


pytestmark = pytest.mark.usefixtures("way")


class TestFinding:
    def test_skills_at_any_depth(self, skills: Skills) -> None:
        """X-SKILL-3: folders above a skill are segments of its URI."""
        skills.write("b/SKILL.md", text_of_skill("b"))
        skills.write("acme/billing/refunds/SKILL.md", text_of_skill("refunds"))
        skills.write("acme/README.md", "# No skill")
        skills.look()
        assert list(skills.catalog.index.skills) == [
            "skill://acme/billing/refunds/SKILL.md",
            "skill://b/SKILL.md",
        ]
        assert skills.problems == []

    def test_one_skill(self, tmp_path: Path) -> None:
        skills = Skills(tmp_path / "alone")
        skills.write("SKILL.md", text_of_skill("alone"))
        skills.write("a/b.txt", "b")
        skills.look()
        assert skills.files("skill://alone/SKILL.md") == ["skill://alone/SKILL.md", "skill://alone/a/b.txt"]

    def test_a_prefix(self, tmp_path: Path) -> None:
        skills = Skills(tmp_path, prefix="acme/Über uns")
        skills.write("a/SKILL.md", text_of_skill("a"))
        assert list(skills.look().catalog.index.skills) == ["skill://acme/%C3%9Cber%20uns/a/SKILL.md"]

    def test_nested_skills_are_entries_of_their_own_and_files_of_the_outer_one(self, skills: Skills) -> None:
        """X-SKILL-4, X-SKILL-5."""
        skills.write("outer/SKILL.md", text_of_skill("outer"))
        skills.write("outer/inner/SKILL.md", text_of_skill("inner"))
        skills.write("outer/inner/a.txt", "a")
        skills.look()
        assert skills.names == ["outer", "inner"]
        inner = ["skill://outer/inner/SKILL.md", "skill://outer/inner/a.txt"]
        assert skills.files("skill://outer/inner/SKILL.md") == inner
        assert skills.files("skill://outer/SKILL.md") == ["skill://outer/SKILL.md", *inner]

    def test_a_nested_file_that_is_no_skill_is_a_file(self, skills: Skills) -> None:
        skills.write("outer/SKILL.md", text_of_skill("outer"))
        skills.write("outer/template/SKILL.md", "---\nname: {{ name }}\n---\n")
        skills.look()
        assert skills.names == ["outer"]
        assert "skill://outer/template/SKILL.md" in skills.files("skill://outer/SKILL.md")
        (problem,) = skills.problems
        assert problem.startswith("skill outer/template: ")

    def test_a_nested_skill_without_an_outer_one(self, skills: Skills) -> None:
        skills.write("outer/SKILL.md", "no front matter")
        skills.write("outer/secret.txt", "not of a skill")
        skills.write("outer/inner/SKILL.md", text_of_skill("inner"))
        skills.look()
        assert skills.names == ["inner"]
        assert list(skills.catalog.index.files) == ["skill://outer/inner/SKILL.md"]
        assert list(skills.catalog.index.folders) == ["skill://outer/inner"]

    def test_what_programs_leave_behind_is_no_part(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        for path in (".git/config", "a/.env", "a/.cache/x", "a/scripts/__pycache__/x.pyc", "a/node_modules/y.js"):
            skills.write(path, "secret")
        skills.look()
        assert skills.files("skill://a/SKILL.md") == ["skill://a/SKILL.md"]
        assert [child.name for child in skills.catalog.index.folders["skill://a"]] == ["a", "scripts"]
        assert skills.catalog.index.folders["skill://a/scripts"] == ()

    def test_empty_folders(self, skills: Skills) -> None:
        """X-SKILL-8."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        (skills.root / "a/empty/deeper").mkdir(parents=True)
        folders = skills.look().catalog.index.folders
        assert [(child.uri, child.mime_type) for child in folders["skill://a/empty"]] == [
            ("skill://a/empty/deeper", "inode/directory")
        ]
        assert folders["skill://a/empty/deeper"] == ()

    def test_names_that_need_escapes(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/100 % ä?#.txt", "x")
        skills.look()
        uri = "skill://a/100%20%25%20%C3%A4%3F%23.txt"
        assert uri in skills.files("skill://a/SKILL.md")
        assert skills.catalog.read(uri)[0] == b"x"

    def test_there_is_nothing(self, skills: Skills) -> None:
        assert skills.look().names == skills.problems == []


class TestRefused:
    @pytest.mark.parametrize(
        ("name", "content", "problem"),
        [
            ("a", "# A", "skill a: SKILL.md: it has no front matter; begin it with a line ---"),
            ("a", b"---\nname: a\ndescription: \xff\n---\n", "skill a: SKILL.md: it is not UTF-8"),
            ("a", "---\nname: a\n---\n", "skill a: it has no description; write description: and what it does"),
            ("a", "---\nname: a\ndescription: '  '\n---\n", "skill a: it has no description"),
            ("a", "---\nname: a\ndescription: [x]\n---\n", "skill a: it has no description"),
            (
                "a",
                "---\nname: a\ndescription: b: c\n---\n",
                "skill a: SKILL.md: line 3: its front matter is no YAML",
            ),
            ("a", text_of_skill("a", "x" * 1025), "skill a: its description has 1025 characters, and 1024 are"),
            (
                "a",
                "---\ndescription: x\n---\n",
                "skill a: its front matter has no name that is a text; write name:",
            ),
            (
                "7",
                "---\nname: 7\ndescription: x\n---\n",
                "skill 7: its front matter has no name that is a text; put",
            ),
            ("a", text_of_skill("b"), "skill a: its name is 'b', and its folder is 'a'; give both one name"),
            (
                "My Skill",
                text_of_skill("My Skill"),
                "skill My Skill: 'My Skill' is no name .* call it 'my-skill'",
            ),
            ("a--b", text_of_skill("a--b"), "skill a--b: 'a--b' is no name .* call it 'a-b'"),
            ("-a", text_of_skill("-a"), "skill -a: '-a' is no name"),
            ("a-", text_of_skill("a-"), "skill a-: 'a-' is no name"),
            ("ä", text_of_skill("ä"), "skill ä: 'ä' is no name .* call it 'my-skill'"),
            ("x" * 65, text_of_skill("x" * 65), "is no name"),
        ],
    )
    def test_a_skill_that_breaks_a_rule(
        self, skills: Skills, caplog: pytest.LogCaptureFixture, name: str, content: str | bytes, problem: str
    ) -> None:
        """X-SKILL-6: it is left out, and the log says why, once."""
        skills.write(f"{name}/SKILL.md", content)
        skills.write("good/SKILL.md", text_of_skill("good"))
        with caplog.at_level(logging.WARNING, "enfilade.skills"):
            skills.look().look()
        assert skills.names == ["good"]
        (said,) = skills.problems
        assert re.search(problem, said)
        assert [record.getMessage() for record in caplog.records] == [f"{said}; it is not served"]

    def test_another_case_of_the_file(self, skills: Skills) -> None:
        skills.write("a/skill.md", text_of_skill("a"))
        assert skills.look().problems == ["skill a: the file of a skill is called SKILL.md, in this case"]

    @pytest.mark.parametrize(("files", "is_served"), [(MOST_FILES, True), (MOST_FILES + 1, False)])
    def test_too_many_files(self, skills: Skills, files: int, is_served: bool) -> None:
        """X-SKILL-5."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        for number in range(files - 1):
            skills.write(f"a/many/{number}.txt", str(number))
        skills.look()
        assert skills.names == (["a"] if is_served else [])
        assert skills.problems == (
            []
            if is_served
            else ["skill a: it has more than 512 files, which hosts need not load; leave some out"]
        )

    @pytest.mark.parametrize(("more", "is_served"), [(0, True), (1, False)])
    def test_too_many_bytes(self, skills: Skills, more: int, is_served: bool) -> None:
        """X-SKILL-5."""
        skill = text_of_skill("a")
        skills.write("a/SKILL.md", skill)
        skills.write("a/large.bin", bytes(MOST_BYTES - len(skill) + more))
        assert skills.look().names == (["a"] if is_served else [])
        assert bool(skills.problems) is not is_served

    @posix
    @pytest.mark.parametrize("target", ["/etc/passwd", "SKILL.md", "../b", "nowhere", "."])
    def test_a_symbolic_link_in_a_skill(self, skills: Skills, target: str) -> None:
        """X-SKILL-11."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("b/SKILL.md", text_of_skill("b"))
        (skills.root / "a/deep").mkdir()
        (skills.root / "a/deep/link").symlink_to(target)
        assert skills.look().names == ["b"]
        assert skills.problems == [
            "skill a: deep/link is a symbolic link, which is not followed; put the file itself there"
        ]

    @posix
    def test_a_symbolic_link_to_a_skill(self, skills: Skills, tmp_path: Path) -> None:
        """X-SKILL-11."""
        writer(tmp_path)("elsewhere/SKILL.md", text_of_skill("elsewhere"))
        (skills.root / "elsewhere").symlink_to(tmp_path / "elsewhere")
        assert skills.look().names == []
        assert skills.problems == [
            "skill elsewhere: it is a symbolic link, which is not followed; put the folder itself there"
        ]

    @posix
    def test_the_folder_of_all_skills_may_be_a_link(self, tmp_path: Path) -> None:
        """A deployment replaces it as a whole."""
        for version in ("one", "two"):
            writer(tmp_path)(f"{version}/{version}/SKILL.md", text_of_skill(version))
        link = tmp_path / "current"
        link.symlink_to("one")
        skills = Skills(link).look()
        assert skills.names == ["one"]
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(link)
        assert skills.look().names == ["two"]

    @posix
    def test_special_files(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        """X-SKILL-11: a pipe is not opened, which would wait for a writer."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        os.mkfifo(skills.root / "a/pipe")
        skills.write("b/SKILL.md", text_of_skill("b"))
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(skills.root / "b")  # the path of a socket is short
            listener.bind("socket")
        assert skills.look().names == []
        assert [problem.partition(",")[0] for problem in skills.problems] == [
            "skill a: pipe is a special file",
            "skill b: socket is a special file",
        ]

    @posix
    @pytest.mark.parametrize("name", [b"a\\b", b"new\nline", b"bell\x07", b"not-utf-8-\xff"])
    def test_names_that_hosts_cannot_write(self, skills: Skills, name: bytes) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        with open(os.path.join(os.fsencode(skills.root / "a"), name), "wb"):
            pass
        assert skills.look().names == []
        (problem,) = skills.problems
        assert "rename it, without" in problem
        assert problem.isprintable()

    def test_what_may_not_be_read(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        """Root may read everything, so the file system stands aside."""
        skills.write("a/SKILL.md", text_of_skill("a"))

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied", str(skills.root))

        monkeypatch.setattr(folder_module.OpenFolder, "read", refuse)
        assert skills.look().names == []
        assert skills.problems == ["skill a: it cannot be read: Permission denied"]

    def test_too_deep(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/" + "d/" * 30 + "x.txt", "x")
        skills.write("/".join(["e"] * 30) + "/SKILL.md", text_of_skill("e"))
        assert skills.look().names == []
        first, second = skills.problems if skills.problems[0].startswith("skill a:") else skills.problems[::-1]
        assert first.startswith("skill a: more than 24 levels of folders")
        assert "there are too many folders to search for skills" in second

    def test_too_many_entries(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folder_module, "_MOST_ENTRIES", 3)
        skills.write("a/SKILL.md", text_of_skill("a"))
        for name in ("1", "2", "3"):
            skills.write(f"a/{name}.txt", name)
        assert skills.look().names == []
        assert skills.problems == ["skill a: a folder has more than 3 entries; leave some out"]

    def test_too_many_folders_to_search(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "_MOST_SEARCHED", 2)
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("x/y/b/SKILL.md", text_of_skill("b"))
        assert skills.look().names == ["a"]
        (problem,) = skills.problems
        assert problem.startswith("skill x: there are too many folders to search for skills")

    def test_two_skills_at_one_place(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            writer(tmp_path)(f"{name}/same/SKILL.md", text_of_skill("same", name))
        skills = Skills(tmp_path / "one").look()
        assert skills.catalog.add(SkillsFolder(tmp_path / "two", Options())) == []
        assert skills.names == ["same"]
        assert skills.catalog.index.skills["skill://same/SKILL.md"].definition.description == "one"
        assert skills.problems == ["skill same: another skill is at its URI, or around or in it; use prefix="]
        added = skills.catalog.add(SkillsFolder(tmp_path / "two", Options("second")))
        assert added == ["skill://second/same/SKILL.md"]

    def test_a_skill_around_another_one(self, tmp_path: Path) -> None:
        writer(tmp_path)("one/a/b/SKILL.md", text_of_skill("b"))
        writer(tmp_path)("two/a/SKILL.md", text_of_skill("a"))
        skills = Skills(tmp_path / "one").look()
        assert skills.catalog.add(SkillsFolder(tmp_path / "two", Options())) == []
        assert skills.names == ["b"]


class TestChanges:
    """X-SKILL-11: whatever changes shows at the next look."""

    def test_a_file(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/notes.txt", "one")
        before = skills.look().digest("skill://a/notes.txt")
        skills.write("a/notes.txt", "two, and longer")
        assert skills.look().digest("skill://a/notes.txt") == digest_of(b"two, and longer") != before

    def test_a_file_with_the_same_size_and_time(self, skills: Skills) -> None:
        """The time of the last change was put back: that of the inode tells."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        file = skills.write("a/notes.txt", "one")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        status = file.stat()
        skills.look()
        skills.write("a/notes.txt", "two")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert skills.look().digest("skill://a/notes.txt") == digest_of(b"two")

    def test_a_file_that_no_time_tells_of(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        """As long as a fingerprint is young, a clock that is coarse may hide a second change."""
        coarse = folder_module.fingerprint_of
        monkeypatch.setattr(
            folder_module,
            "fingerprint_of",
            lambda status: coarse(status)._replace(inode=0, modified=0, changed=0),
        )
        monkeypatch.setattr(sources, "_OLD", float("inf"))
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/notes.txt", "one")
        skills.look()
        skills.write("a/notes.txt", "two")
        assert skills.look().digest("skill://a/notes.txt") == digest_of(b"two")
        monkeypatch.setattr(sources, "_YOUNG", 0.0)
        skills.look()  # which settles it
        skills.write("a/notes.txt", "six")
        assert skills.look().digest("skill://a/notes.txt") == digest_of(b"two")

    def test_nothing_is_read_that_is_as_it_was(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        monkeypatch.setattr(sources, "_YOUNG", 0.0)
        skills.look()
        monkeypatch.setattr(folder_module.OpenFolder, "read", _refuse)
        before = skills.catalog.index
        assert skills.look().catalog.index is before

    def test_a_new_file_and_one_that_is_gone(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        old = skills.write("a/old.txt", "old")
        skills.look()
        skills.write("a/new.txt", "new")
        old.unlink()
        assert skills.look().files("skill://a/SKILL.md") == ["skill://a/SKILL.md", "skill://a/new.txt"]

    def test_skills_come_and_go(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.look()
        skills.write("b/SKILL.md", text_of_skill("b"))
        assert skills.look().names == ["a", "b"]
        shutil.rmtree(skills.root / "a")
        assert skills.look().names == ["b"]
        skills.write("b/SKILL.md", "broken")
        assert skills.look().names == []
        skills.write("b/SKILL.md", text_of_skill("b"))
        assert skills.look().names == ["b"]
        assert skills.problems == []

    def test_all_of_it_goes(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.look()
        shutil.rmtree(skills.root)
        assert skills.look().names == []
        (problem,) = skills.problems
        assert problem.startswith("skill skills: the folder cannot be read: ")
        assert str(skills.root) not in problem
        skills.write("a/SKILL.md", text_of_skill("a"))
        assert skills.look().names == ["a"]

    def test_only_the_skill_that_is_asked_for_is_looked_at(self, skills: Skills) -> None:
        for name in ("a", "b"):
            skills.write(f"{name}/SKILL.md", text_of_skill(name))
        skills.look()
        for name in ("a", "b"):
            skills.write(f"{name}/new.txt", "new")
        skills.catalog.refresh_at("skill://a/SKILL.md")
        assert len(skills.files("skill://a/SKILL.md")) == 2
        assert len(skills.files("skill://b/SKILL.md")) == 1

    def test_a_look_counts_for_a_while(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        lazy = Catalog(3600.0, lambda before, after: None)
        lazy.add(SkillsFolder(skills.root, Options()))
        lazy.refresh()
        skills.write("b/SKILL.md", text_of_skill("b"))
        lazy.refresh()
        lazy.refresh_at("skill://b/SKILL.md")
        assert [skill.name for skill in lazy.index.skills.values()] == ["a"]


class TestReading:
    def test_bytes_that_are_no_text_any_more(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/notes.txt", "text")
        skills.look()
        skills.write("a/notes.txt", b"\xff\x00")
        data, facts, _ = skills.catalog.read("skill://a/notes.txt")
        assert (data, facts.is_text, facts.mime_type) == (b"\xff\x00", False, "text/plain")
        assert skills.digest("skill://a/notes.txt") == digest_of(data)

    @pytest.mark.parametrize(
        "uri",
        [
            "skill://a/../b/SKILL.md",
            "skill://a/%2e%2e/b/SKILL.md",
            "skill://a/..%2Fb/SKILL.md",
            "skill://a/%2Fetc/passwd",
            "skill://a//SKILL.md",
            "skill://a/SKILL.md/",
            "skill://a/SKILL.md%00",
            "skill://a/\0",
            "skill://a/..\\b\\SKILL.md",
            "skill://a/C:/b",
            "skill://a",
            "skill://",
            "skill:///etc/passwd",
            "file:///etc/passwd",
            "skill://a/.env",
            "skill://a/link",
            "skill://" + "a/" * 4000,
            "",
        ],
    )
    def test_nothing_leads_out(self, skills: Skills, uri: str) -> None:
        """X-SKILL-11: what no listing had is not opened, whatever it is called."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/.env", "SECRET=1")
        skills.write("b/SKILL.md", text_of_skill("b"))
        skills.look()
        with pytest.raises(ResourceNotFound):
            skills.catalog.read(uri)

    @posix
    @pytest.mark.parametrize("replace", ["file", "folder", "skill"])
    def test_a_link_that_comes_between_a_look_and_a_read(
        self, skills: Skills, tmp_path: Path, replace: str
    ) -> None:
        """X-SKILL-11: at no level is it followed."""
        secret = writer(tmp_path)("outside/deep/notes.txt", "secret")
        writer(tmp_path)("outside/SKILL.md", text_of_skill("a"))
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/deep/notes.txt", "open")
        skills.look()
        replaced, target = {
            "file": (skills.root / "a/deep/notes.txt", secret),
            "folder": (skills.root / "a/deep", secret.parent),
            "skill": (skills.root / "a", secret.parent.parent),
        }[replace]
        shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
        replaced.symlink_to(target)
        unit, file = skills.catalog.index.files["skill://a/deep/notes.txt"]
        with pytest.raises((OSError, SkillError)):
            unit.read(file)
        with pytest.raises((ResourceNotFound, ResourceError)) as caught:
            skills.catalog.read("skill://a/deep/notes.txt")
        assert str(tmp_path) not in str(caught.value)
        assert skills.look().names == []

    @posix
    def test_a_pipe_that_comes_between_a_look_and_a_read(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        file = skills.write("a/notes.txt", "open")
        skills.look()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises((ResourceNotFound, ResourceError)):
            skills.catalog.read("skill://a/notes.txt")

    @posix
    def test_a_folder_that_comes_between_a_look_and_a_read(self, skills: Skills) -> None:
        """It stays open no longer than the read takes."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        path = skills.write("a/notes.txt", "open")
        skills.look()
        unit, file = skills.catalog.index.files["skill://a/notes.txt"]
        path.unlink()
        path.mkdir()
        lowest = _lowest_descriptor()
        for _ in range(3):
            with pytest.raises(SkillError, match="a file is none any more"):
                unit.read(file)
        assert _lowest_descriptor() == lowest

    def test_a_file_that_grows_beyond_the_bound(self, skills: Skills) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write("a/notes.txt", "small")
        skills.look()
        skills.write("a/notes.txt", bytes(MOST_BYTES + 1))
        with pytest.raises((ResourceNotFound, ResourceError)):
            skills.catalog.read("skill://a/notes.txt")
        assert skills.names == []

    def test_a_file_that_is_written_while_it_is_read(
        self, skills: Skills, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is read again, and no mixture of two states is served."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        file = skills.write("a/notes.txt", "0")
        skills.look()
        _write_during_reads(monkeypatch, file, times=1)
        assert skills.catalog.read("skill://a/notes.txt")[0] == b"00"

    def test_a_file_that_is_always_written(self, skills: Skills, monkeypatch: pytest.MonkeyPatch) -> None:
        skills.write("a/SKILL.md", text_of_skill("a"))
        file = skills.write("a/notes.txt", "0")
        skills.look()
        _write_during_reads(monkeypatch, file, times=10**6)
        with pytest.raises(ResourceError, match="the file is being written; read it again"):
            skills.catalog.read("skill://a/notes.txt")

    def test_a_file_that_goes_while_the_folder_is_looked_at(
        self, skills: Skills, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The skill stays: the folder is listed anew."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        gone = skills.write("a/gone.txt", "gone")
        listed = sources.list_skill

        def listed_before(folder: folder_module.OpenFolder) -> folder_module.Listing:
            listing = listed(folder)
            gone.unlink(missing_ok=True)
            return listing

        monkeypatch.setattr(sources, "list_skill", listed_before)
        assert skills.look().files("skill://a/SKILL.md") == ["skill://a/SKILL.md"]

    @pytest.mark.parametrize(
        ("name", "data", "mime_type", "is_text"),
        [
            ("a.md", b"# A\r\n", "text/markdown", True),
            ("a.py", b"print()\n", "text/x-python", True),
            ("a.sh", b"#!/bin/sh\n", "text/x-shellscript", True),
            ("a.ts", b"let a\n", "text/x-typescript", True),
            ("a.toml", b"a = 1\n", "application/toml", True),
            ("a.yaml", b"a: 1\n", "application/yaml", True),
            ("a.json", b"{}", "application/json", True),
            ("a.svg", b"<svg/>", "image/svg+xml", True),
            ("LICENSE", b"MIT", "text/plain", True),
            ("empty", b"", "text/plain", True),
            ("bom.txt", b"\xef\xbb\xbfa", "text/plain", True),
            ("a.md", b"\xff", "text/markdown", False),
            ("a.txt", b"a\0b", "text/plain", False),
            ("a.png", b"\x89PNG\r\n\x1a\n", "image/png", False),
            ("a.pdf", b"%PDF-1.4", "application/pdf", False),
            ("a.gif", b"GIF89a", "image/gif", False),
            ("unknown", b"\x00\x01", "application/octet-stream", False),
            ("picture", b"\x89PNG\r\n\x1a\n\xff", "image/png", False),
        ],
    )
    def test_media_types(self, skills: Skills, name: str, data: bytes, mime_type: str, is_text: bool) -> None:
        """X-SKILL-4: text is UTF-8 and byte for byte the same, all else a blob."""
        skills.write("a/SKILL.md", text_of_skill("a"))
        skills.write(f"a/files/{name}", data)
        skills.look()
        read, facts, _ = skills.catalog.read(f"skill://a/files/{name}")
        assert (read, facts.mime_type, facts.is_text) == (data, mime_type, is_text)


def test_the_name_of_a_catalog_is_that_of_its_log() -> None:
    assert catalog.log.name == "enfilade.skills"


def _refuse(*_: object) -> None:
    raise AssertionError("nothing is to be read")


def _lowest_descriptor() -> int:
    """Return the lowest number that no open file has; what is left open takes it."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def _write_during_reads(monkeypatch: pytest.MonkeyPatch, file: Path, times: int) -> None:
    """Let a file change between the two looks at it of each of the first reads."""
    original: Callable[..., object] = os.fstat
    count = 0

    def fstat(descriptor: int) -> object:
        nonlocal count
        status = original(descriptor)
        if os.path.samestat(status, file.stat()):  # type: ignore[arg-type]
            count += 1
            if count % 2 == 1 and count // 2 < times:
                with file.open("ab") as written:
                    written.write(b"0")
        return status

    monkeypatch.setattr(os, "fstat", fstat)
