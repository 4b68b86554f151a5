"""A lock between processes: one has it at a time, and it ends with its process."""

import asyncio
import subprocess
import sys
from pathlib import Path

from enfilade.state.file_lock import file_lock

HOLDER = """
import asyncio, pathlib, sys
from enfilade.state.file_lock import file_lock

async def hold():
    async with file_lock(pathlib.Path(sys.argv[1]), 0) as is_held:
        print(is_held, flush=True)
        sys.stdin.read()

asyncio.run(hold())
"""


async def _is_held(path: Path, timeout: float) -> bool:
    async with file_lock(path, timeout) as is_held:
        return is_held


def test_another_process_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == b"True"
        assert not asyncio.run(_is_held(path, 0.1))
        holder.kill()
        assert asyncio.run(_is_held(path, 30))
    assert asyncio.run(_is_held(path, 0))


def test_one_waits_for_the_other(tmp_path: Path) -> None:
    """Two tasks of one process, too."""

    async def run() -> list[str]:
        events = []

        async def task(name: str) -> None:
            async with file_lock(tmp_path / "lock", 30) as is_held:
                events.append(f"{name} has it: {is_held}")
                await asyncio.sleep(0)
                events.append(f"{name} ends")

        await asyncio.gather(task("a"), task("b"))
        return events

    assert asyncio.run(run()) == ["a has it: True", "a ends", "b has it: True", "b ends"]


def test_no_folder(tmp_path: Path) -> None:
    assert not asyncio.run(_is_held(tmp_path / "none" / "lock", 30))
