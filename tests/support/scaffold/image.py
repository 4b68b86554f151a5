"""Builds and runs a Dockerfile where there is no container engine: each instruction as the engine would do it.

A folder stands for the root directory, and the paths in instructions lead there. A stage begins with an empty
one, so what a stage forgets to copy from another is missing. Programs of the image that would change this machine
(`useradd`, `chown`), or that fetch something (`pip install uv`), are noted in `log` and not run.

The easy thing to get wrong is to know more than Docker does. What is not understood here is an error.
"""

import fnmatch
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from support.scaffold.installing import BASE_PYTHON, OfflinePackages

_INSTRUCTION = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
_OWN_PATHS = re.compile(r"(?<![\w.$}/-])/(opt|data|build|app|tmp)\b")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_KNOWN = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}


@dataclass(frozen=True)
class Instruction:
    """One instruction: its word, and the rest of its lines as one."""

    word: str
    rest: str

    @property
    def words(self) -> list[str]:
        """What follows, but for flags: of a JSON list, or of a line."""
        found: list[str] = json.loads(self.rest) if self.rest.startswith("[") else shlex.split(self.rest)
        return [word for word in found if not word.startswith("--")]

    @property
    def flags(self) -> dict[str, str]:
        """The flags before anything else."""
        return dict(re.findall(r"--([\w-]+)=(\S+)", self.rest.partition(" CMD ")[0]))


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Dockerfile, in order.

    Raises:
        ValueError: there is one that is not known here.
    """
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in _logical(kept):
        match = _INSTRUCTION.fullmatch(line)
        if match is None or match[1] not in _KNOWN:
            raise ValueError(f"what is this? {line}")
        found.append(Instruction(match[1], match[2].strip()))
    return found


def _logical(lines: list[str]) -> list[str]:
    """Return lines with those that go on after a backslash in one."""
    return [line.strip() for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip()]


@dataclass
class Image:
    """What a Dockerfile makes of a project.

    Attributes:
        root: stands for `/`.
        env: what `ENV` has set.
        folder: where commands run.
        log: calls of programs that were noted instead of run.
    """

    root: Path
    shelf: OfflinePackages
    env: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()
    user: str = "root"
    ports: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)

    @property
    def log(self) -> list[str]:
        path = self.root.parent / "log"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def variables(self) -> dict[str, str]:
        """Return the environment of a process in the image."""
        programs = str(self.root.parent / "programs")
        path = self.env.get("PATH", "$PATH").replace("$PATH", f"{programs}{os.pathsep}{os.defpath}")
        return {**self.shelf.env, **self.env, "PATH": path}

    def build(self, context: Path) -> None:
        """Follow the Dockerfile of a project.

        Raises:
            AssertionError: an instruction fails.
        """
        _programs(self.root.parent)
        arguments: dict[str, str] = {}
        stages: dict[str, Path] = {}
        stage = ""
        for each in instructions((context / "Dockerfile").read_text(encoding="utf-8")):
            rest = _OWN_PATHS.sub(lambda found: f"{self.root}/{found[1]}", each.rest)
            made = Instruction(each.word, rest)
            if each.word == "ARG":
                name, _, value = each.rest.partition("=")
                arguments[name] = value
            elif each.word == "FROM":
                if stage:
                    stages[stage] = self.root.rename(self.root.parent / stage)
                base, *alias = _VARIABLE.sub(lambda found: arguments[found[1]], each.rest).split(" AS ")
                assert re.fullmatch(r"python:3\.\d+-slim", base), base
                stage = alias[0] if alias else "last"
                self._begin()
            elif each.word == "COPY":
                self._copy(made, context, stages)
            else:
                self._follow(made)
            self.layers.append(f"{each.word} {each.rest}")

    def _begin(self) -> None:
        self.root.mkdir()
        (self.root / "opt").mkdir()
        self.env, self.folder, self.user = {}, self.root, "root"

    def _follow(self, each: Instruction) -> None:
        if each.word == "ENV":
            for word in shlex.split(each.rest):
                name, _, value = word.partition("=")
                self.env[name] = value
        elif each.word == "WORKDIR":
            self.folder = Path(each.rest)
            self.folder.mkdir(parents=True, exist_ok=True)
        elif each.word == "RUN":
            done = subprocess.run(
                ["sh", "-ec", each.rest],
                cwd=self.folder,
                env=self.variables(),
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            assert done.returncode == 0, f"{each.rest}\n{done.stdout}{done.stderr}"
        elif each.word == "USER":
            self.user = each.rest
        elif each.word == "EXPOSE":
            self.ports.append(each.rest)
        elif each.word == "HEALTHCHECK":
            self.health = json.loads(each.rest.partition(" CMD ")[2])
        else:
            self.command = json.loads(each.rest)

    def _copy(self, each: Instruction, context: Path, stages: dict[str, Path]) -> None:
        *sources, target = each.words
        place = self.folder / target
        if stage := each.flags.get("from"):
            (source,) = sources
            shutil.copytree(stages[stage] / Path(source).relative_to(self.root), place, symlinks=True)
            return
        sent = _sent(context)
        found = [path for path in sent if any(fnmatch.fnmatchcase(path, source) for source in sources)]
        chosen = sent if sources == ["."] else found
        assert chosen, f"COPY {each.rest}: there is no such file"
        for path in chosen:
            copied = place / (path if sources == ["."] else Path(path).name)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(context / path, copied)


def _sent(context: Path) -> list[str]:
    """Return the files of a project that `.dockerignore` lets through."""
    lines = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert not any(pattern.startswith("!") for pattern in patterns)
    return sorted(
        path.relative_to(context).as_posix()
        for path in context.rglob("*")
        if path.is_file() and not _ignored(path.relative_to(context), patterns)
    )


def _ignored(path: Path, patterns: list[str]) -> bool:
    """Whether a file or a folder that it is in is ignored."""
    for part in (path, *path.parents[:-1]):
        for pattern in patterns:
            anywhere = pattern.removeprefix("**/")
            name = part.name if anywhere != pattern else part.as_posix()
            if fnmatch.fnmatchcase(name, anywhere):
                return True
    return False


def _programs(folder: Path) -> None:
    """Write the programs that an image has."""
    note = f'echo "$(basename "$0") $*" >> {shlex.quote(str(folder / "log"))}'
    texts = {
        "python": f'exec {shlex.quote(BASE_PYTHON)} "$@"',
        "pip": f'case "$1" in --python) exec {shlex.quote(sys.executable)} -m pip "$@";; *) {note};; esac',
        "uv": f"{note}; echo exported > requirements.txt",
        "useradd": note,
        "chown": note,
    }
    (folder / "programs").mkdir()
    for name, text in texts.items():
        path = folder / "programs" / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
