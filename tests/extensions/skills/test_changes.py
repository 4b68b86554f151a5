"""Skills that change while a server runs: what clients get next, and what they are told (X-SKILL-10)."""

import asyncio
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from enfilade.extensions.skills.contents import digest_of
from support.cluster.server_processes import ProcessCluster
from support.harness import Http, Serving
from support.servers.changing_server import get, listen
from support.servers.processes import enfilade_command
from support.servers.skill_server import SkillServer, Write, bytes_of, text_of_skill, verify, writer
from support.waiting import eventually, until

NOTES = "skill://a/notes.txt"
SKILL = "skill://a/SKILL.md"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    write = writer(tmp_path / "skills")
    write("a/SKILL.md", text_of_skill("a"))
    write("a/notes.txt", "one")
    return write


@pytest.fixture
def http(tmp_path: Path, write: Write) -> Iterator[Http]:
    """A server that looks only when a client asks."""
    with Serving(SkillServer(tmp_path / "skills")) as serving:
        yield serving.http


@pytest.fixture
def polled(tmp_path: Path, write: Write) -> Iterator[Http]:
    """A server that looks by itself."""
    with Serving(SkillServer(tmp_path / "skills", poll_interval=0.02)) as serving:
        yield serving.http


def digests(http: Http, uri: str = SKILL) -> dict[str, str]:
    entry = http.modern("skills/get", {"uri": uri}).result["skill"]
    return {resource["uri"]: resource["digest"] for resource in entry["resources"]}


def read(http: Http, uri: str) -> dict[str, Any]:
    (contents,) = http.modern("resources/read", {"uri": uri}).result["contents"]
    found: dict[str, Any] = contents
    return found


def names(http: Http) -> list[str]:
    return [entry["frontmatter"]["name"] for entry in http.modern("skills/list").result["skills"]]


class TestNextAnswer:
    def test_a_changed_file(self, http: Http, write: Write) -> None:
        """X-SKILL-10: the next `skills/get` has another digest, and the file has those bytes."""
        assert digests(http)[NOTES] == digest_of(b"one")
        for text in ("two", "six", "a longer one", ""):
            write("a/notes.txt", text)
            assert digests(http)[NOTES] == digest_of(text.encode())
            assert bytes_of(read(http, NOTES)) == text.encode()

    def test_a_file_that_is_read_before_anybody_has_looked(self, http: Http, write: Write) -> None:
        write("a/notes.txt", "two")
        assert bytes_of(read(http, NOTES)) == b"two"
        write("a/new.txt", "new")
        assert bytes_of(read(http, "skill://a/new.txt")) == b"new"

    def test_a_new_skill(self, http: Http, write: Write) -> None:
        write("b/SKILL.md", text_of_skill("b"))
        assert bytes_of(read(http, "skill://b/SKILL.md")) == text_of_skill("b").encode()
        write("c/SKILL.md", text_of_skill("c"))
        assert list(digests(http, "skill://c/SKILL.md")) == ["skill://c/SKILL.md"]
        write("d/SKILL.md", text_of_skill("d"))
        assert names(http) == ["a", "b", "c", "d", "in-code", "state-of-things"]
        listed = [each["name"] for each in http.modern("resources/list").result["resources"]]
        assert sorted(listed) == sorted(names(http))

    def test_a_folder(self, http: Http, write: Write) -> None:
        """X-SKILL-8."""
        write("a/more/x.txt", "x")
        result = http.modern("resources/directory/read", {"uri": "skill://a/more"}).result
        assert [child["uri"] for child in result["resources"]] == ["skill://a/more/x.txt"]

    def test_a_skill_that_is_gone(self, http: Http, tmp_path: Path) -> None:
        shutil.rmtree(tmp_path / "skills/a")
        assert http.modern("skills/get", {"uri": SKILL}).error["code"] == -32602
        assert http.modern("resources/read", {"uri": NOTES}).error["code"] == -32602
        assert names(http) == ["in-code", "state-of-things"]

    def test_another_front_matter(self, http: Http, write: Write) -> None:
        write("a/SKILL.md", text_of_skill("a", "Does more.", "license: MIT\n"))
        entry = http.modern("skills/get", {"uri": SKILL}).result["skill"]
        assert entry["frontmatter"] == {"name": "a", "description": "Does more.", "license": "MIT"}
        verify(entry, lambda uri: read(http, uri))
        (listed,) = [each for each in http.modern("resources/list").result["resources"] if each["name"] == "a"]
        assert listed["description"] == "Does more."
        assert listed["_meta"] == {"io.modelcontextprotocol.skills/license": "MIT"}

    def test_one_that_breaks_a_rule_and_is_mended(self, http: Http, write: Write) -> None:
        write("a/SKILL.md", "---\nname: a\n---\n")
        assert http.modern("skills/get", {"uri": SKILL}).error["code"] == -32602
        write("a/SKILL.md", text_of_skill("a"))
        assert SKILL in digests(http)


class TestNotifications:
    def test_by_polling(self, polled: Http, write: Write) -> None:
        """X-SKILL-10: whoever watches a file or the list hears of changes."""
        with listen(polled, resourceSubscriptions=[NOTES, "skill://b/SKILL.md"]) as heard:
            write("a/notes.txt", "two")
            assert heard.until(NOTES) == []
            write("b/SKILL.md", text_of_skill("b"))
            assert heard.until("skill://b/SKILL.md") == []
        with listen(polled, resourcesListChanged=True) as heard:
            write("c/SKILL.md", text_of_skill("c"))
            assert heard.until("resources") == []

    def test_in_a_session(self, polled: Http, write: Write) -> None:
        """X-SKILL-10."""
        session = polled.initialize()
        session.ask("resources/subscribe", {"uri": NOTES})
        with get(session) as heard:
            write("a/notes.txt", "two")
            assert heard.until(NOTES) == []
            write("b/SKILL.md", text_of_skill("b"))
            assert heard.until("resources") == []

    def test_by_a_request_of_somebody(self, http: Http, write: Write) -> None:
        """X-SKILL-10: without polling a change is noticed by whoever asks next."""
        with listen(http, resourceSubscriptions=[NOTES], resourcesListChanged=True) as heard:
            write("a/notes.txt", "two")
            digests(http)
            assert heard.until(NOTES) == []
            write("a/more.txt", "more")
            read(http, "skill://a/more.txt")
            assert heard.until("resources") == []

    def test_nothing_without_a_change(self, http: Http, write: Write) -> None:
        with listen(http, resourceSubscriptions=[NOTES, "skill://x"], resourcesListChanged=True) as heard:
            for _ in range(3):
                names(http)
                digests(http)
            write("a/notes.txt", "one")  # the same again
            digests(http)
            write("a/notes.txt", "two")
            digests(http)
            assert heard.until(NOTES) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs processes that share a port")
def test_workers_see_the_same_files(tmp_path: Path, write: Write) -> None:
    """Each looks by itself, and finds what it does not know yet."""
    script = tmp_path / "server.py"
    script.write_text(
        "from enfilade import MCPApp\n"
        "from enfilade.extensions.skills import SkillsExtension\n"
        "app = MCPApp('workers')\n"
        "app.add_extension(SkillsExtension(poll_interval=0, freshness=0))\n"
        f"app.add_skills({str(tmp_path / 'skills')!r})\n",
        encoding="utf-8",
    )
    command = enfilade_command("run", str(script), "--transport", "http", "--port", "{port}")
    with ExitStack() as stack:
        cluster = stack.enter_context(ProcessCluster(2, command, f"sqlite:///{tmp_path / 'store.db'}"))
        http = cluster.http
        for text in ("two", "three"):
            write("a/notes.txt", text)
            write(f"{text}/SKILL.md", text_of_skill(text))
            for _ in range(4):  # the proxy lets them take turns
                assert digests(http)[NOTES] == digest_of(text.encode())
                assert bytes_of(read(http, NOTES)) == text.encode()
                assert bytes_of(read(http, f"skill://{text}/SKILL.md")) == text_of_skill(text).encode()
        assert {tuple(names(http)) for _ in range(4)} == {("a", "three", "two")}


@pytest.mark.anyio
async def test_one_look_at_a_time(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are cancelled while a file system hangs take one thread of the server, and not one each."""
    app = SkillServer(tmp_path / "skills")
    hanging, going_on = threading.Event(), threading.Event()
    refresh = app.skills._catalog.refresh

    def hang() -> None:
        hanging.set()
        assert going_on.wait(30)
        refresh()

    monkeypatch.setattr(app.skills._catalog, "refresh", hang)
    async with app.running():
        assert app.skills._runner is not None
        threads = app.skills._runner.threads
        for _ in range(5):
            look = asyncio.create_task(app.skills._look(None))
            await until(hanging.is_set)
            await asyncio.sleep(0)
            look.cancel()
            with pytest.raises(asyncio.CancelledError):
                await look
            assert threads.busy() == 1
            assert threads.queued() == 0
        going_on.set()
        await app.skills._look(None)


def test_polling_ends_with_the_server(tmp_path: Path, write: Write) -> None:
    app = SkillServer(tmp_path / "skills", poll_interval=0.01)
    for _ in range(2):
        with Serving(app) as serving:
            assert names(serving.http) == ["a", "in-code", "state-of-things"]
        assert app.skills._polling is None


def test_a_look_that_fails_does_not_end_the_polling(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = SkillServer(tmp_path / "skills", poll_interval=0.01)
    refresh, failures = app.skills._catalog.refresh, iter([True])

    def failing() -> None:
        if next(failures, False):
            raise RuntimeError("a fault")
        refresh()

    monkeypatch.setattr(app.skills._catalog, "refresh", failing)
    with Serving(app) as serving:
        eventually(lambda: "the folders of skills could not be looked at" in caplog.text)
        write("b/SKILL.md", text_of_skill("b"))
        eventually(lambda: "skill://b/SKILL.md" in app.resources)
        assert names(serving.http)[:2] == ["a", "b"]
