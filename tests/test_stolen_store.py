"""What a copy of the database gives a thief: where the secret is elsewhere, and where the database has it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from enfilade import Context, MCPApp
from enfilade.auth import APIKeys, Principal, ResourceServer
from enfilade.auth.api_keys import hash_key
from support.harness import Serving
from support.http_client.task_client import TaskClient

SECRET, KEY = "a secret of these tests, which is long", "a-key-of-these-tests"
MARKS = (b"mark-of-an-argument", b"mark-of-a-result", b"mark-of-a-state", KEY.encode(), SECRET.encode())


@pytest.fixture(autouse=True)
def no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENFILADE_SECRET", raising=False)


@contextmanager
def served(folder: Path, key: str = KEY, **options: Any) -> Iterator[TaskClient]:
    """Yield a client of a server with a SQLite store in a folder, at which a key is that of Ada."""
    keys = APIKeys({hash_key(key): Principal("ada")})
    auth = ResourceServer("http://127.0.0.1:8000/mcp", verifiers=[keys])
    app = MCPApp("stolen", store=f"sqlite:///{folder / 'state.db'}", auth=auth, **options)

    @app.tool(task="required")
    async def work(text: str, ctx: Context) -> str:
        """Keep something, and say something."""
        await ctx.state.set("kept", "mark-of-a-state")
        return "mark-of-a-result"

    with Serving(app) as serving:
        yield TaskClient(serving.port, authorization=f"Bearer {key}")


def stolen(folder: Path, **options: Any) -> tuple[str, Path]:
    """Return the id of a task that has ended, and a copy of the database of its server."""
    folder.mkdir()
    with served(folder, **options) as client:
        id = client.call("work", text="mark-of-an-argument")["taskId"]
        assert client.until(id, {"completed"})["result"]["content"][0]["text"] == "mark-of-a-result"
        return id, Path(shutil.copytree(folder, folder.with_name("stolen")))


def read_by_thief(folder: Path, id: str) -> bytes:
    """Return what a server of the thief's own says of a task; a key of the thief's is Ada's there."""
    with served(folder, key="a-key-of-the-thief") as client:
        return client.ask("tasks/get", {"taskId": id}).body


def test_a_copy_without_the_secret(tmp_path: Path) -> None:
    """A12, B13: neither arguments nor results of tasks, nor the state of users, nor keys of callers."""
    id, copy = stolen(tmp_path / "state", secret=SECRET)
    content = b"".join(path.read_bytes() for path in copy.iterdir())
    assert [mark for mark in MARKS if mark in content] == []
    assert b"principal:" in content, "tasks are counted by their users, whose names can be read"
    assert b"mark-of" not in read_by_thief(copy, id)


def test_a_copy_that_has_the_secret(tmp_path: Path) -> None:
    """Without a secret of the operator's the store has the key to all that it keeps."""
    id, copy = stolen(tmp_path / "state")
    assert b"mark-of-a-result" in read_by_thief(copy, id)
