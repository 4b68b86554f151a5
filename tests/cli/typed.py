"""What somebody types, and what the command says: as a process, with pipes or at a terminal.

Easy to get wrong: a terminal echoes what is typed, and ends lines in its own way.
"""

import os
import subprocess
import time
from pathlib import Path

from servers import ROOT, enfilade_command


def environment(**variables: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS", "FORCE_COLOR"}}
    return {**kept, "PYTHONPATH": str(ROOT / "src"), **variables}


def typed(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `enfilade` with some words to its end, where nobody can answer."""
    return subprocess.run(
        enfilade_command(*words),
        cwd=folder,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def at_terminal(folder: Path, *words: str, answers: dict[str, str]) -> tuple[int, str]:
    """Run `enfilade` at a terminal, and return its status and all that was to be seen.

    Args:
        folder: where.
        words: what is typed after `enfilade`.
        answers: what to type, by the end of the question that it is for; each is asked once, in this order.
    """
    import pty
    import select

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        enfilade_command(*words),
        cwd=folder,
        env=environment(NO_COLOR="1", TERM="dumb"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    waiting, seen, new = list(answers.items()), "", ""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(ours, 4096).decode()
        except OSError:  # as Linux says that nobody is there any more
            chunk = ""
        if not chunk:
            break
        seen += chunk
        new += chunk
        if waiting and waiting[0][0] in new:
            os.write(ours, (waiting.pop(0)[1] + "\n").encode())
            new = ""
    os.close(ours)
    if waiting:
        process.kill()  # it has ended with less than it was to ask, or asks something else
    return process.wait(10), seen.replace("\r\n", "\n")
