"""Somebody at a terminal who types what the README of an example says.

A block of commands may have the comment `<!-- serve -->` before it, and then starts a server, in place of one on
the same port; or one with `<!-- output -->` behind it, whose lines are in what the commands print: one line for
each command that prints something. The ports 8000 and 9000 become free ones. `$LINK` is the last link to a page
of authorization that was printed.
"""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from support.docs.reader import CURL
from support.servers.processes import ServerProcess, enfilade_command, environment, free_port

_BLOCK = re.compile(r"(<!-- serve -->\n)?```sh\n(.*?)```\n(?:\n<!-- output -->\n```text\n(.*?)```)?", re.DOTALL)
_AT_9000 = ("python issuer.py", "python provider.py")
_LINK = re.compile(r"http://127\.0\.0\.1:\d+/auth/start/[\w-]+")


@dataclass(frozen=True)
class Step:
    """A block of commands, and what they print: each line in turn is in the output of one command."""

    commands: list[str]
    output: list[str]
    serves: bool


def steps(text: str) -> Iterator[Step]:
    """Yield what a reader of a text types."""
    for serves, commands, output in _BLOCK.findall(text):
        yield Step(commands.splitlines(), output.splitlines(), bool(serves))


class ReadmeReader:
    """Types the commands.

    Args:
        folder: where they are typed.
        variables: of the environment; addresses in them get the ports of this reader.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str] = {}) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.ports = {"8000": str(free_port()), "9000": str(free_port())}
        self.environment = environment(
            ENFILADE_PORT=self.ports["8000"], **{name: self.here(value) for name, value in variables.items()}
        )

    def here(self, text: str) -> str:
        """Return a text with the ports of this reader."""
        return re.sub(
            r"(?<=127\.0\.0\.1:)(8000|9000)\b|(?<=--port )(8000)\b",
            lambda match: self.ports[match[1] or match[2]],
            text,
        )

    def command(self, line: str) -> list[str]:
        """Return the words of a line, with the programs of this environment."""
        words = [
            re.sub(r"\$(\w+)", lambda match: self.variables[match[1]], word)
            for word in shlex.split(self.here(line))
        ]
        program, *arguments = words
        if program == "enfilade":
            return enfilade_command(*arguments)
        if program == "uvicorn":
            return [sys.executable, "-m", "uvicorn", *arguments]
        if program == "curl":
            found = shutil.which(program)
            return [found, *arguments] if found else [sys.executable, "-c", CURL, *arguments]
        assert program == "python", line
        return [sys.executable, *arguments]

    def type(self, line: str) -> str:
        """Run a line, and return what it prints; `NAME=$(...)` keeps that."""
        assignment = re.fullmatch(r"(\w+)=\$\((.*)\)", line)
        done = subprocess.run(
            self.command(assignment[2] if assignment else line),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        if assignment:
            assert done.returncode == 0, done.stderr
            self.variables[assignment[1]] = done.stdout.strip()
            return ""
        for link in _LINK.findall(done.stdout + done.stderr):
            self.variables["LINK"] = link
        return done.stdout + done.stderr

    def follow(self, text: str) -> int:
        """Type what a text says, and return how many outputs were compared.

        Raises:
            AssertionError: a command prints something else.
        """
        compared = 0
        running: dict[int, ServerProcess] = {}
        with ExitStack() as servers:
            for step in steps(text):
                if step.serves:
                    (line,) = step.commands
                    port = int(self.ports["9000" if line in _AT_9000 else "8000"])
                    if port in running:
                        running[port].stop()
                    server = ServerProcess(self.command(line), port=port, env=self.environment, cwd=self.folder)
                    running[port] = servers.enter_context(server)
                    continue
                outputs = [output for output in map(self.type, step.commands) if output]
                assert len(outputs) == len(step.output), outputs
                for output, expected in zip(outputs, step.output, strict=True):
                    assert expected in output, f"{output!r} has no {expected!r}"
                compared += len(outputs)
        return compared
