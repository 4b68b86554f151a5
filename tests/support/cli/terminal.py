"""A person at a terminal: a shell of its own, what was typed, and the screen as it was seen.

Easy to get wrong: what a screen shows is not what was sent. A progress bar draws over itself, so the bytes go
through an emulator of a terminal before anybody looks at them.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pexpect
import pyte
import pytest

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="there is no pseudo-terminal")

#: A prompt that tells the exit status of what came before, where only programs look: in the window's title.
_PROMPT = "\x1b]0;$?\x07$ "
_PROMPTED = re.compile(r"\x1b\]0;(\d+)\x07\$ ")
_LINES = 3000


class Terminal:
    """A shell at a pseudo-terminal.

    Args:
        folder: where it begins.
        env: all its variables.
        columns: how wide the terminal is.
        patience: seconds that anything may take.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], columns: int = 80, patience: float = 240.0) -> None:
        self._screen = pyte.Screen(columns, _LINES)
        self._stream = pyte.Stream(self._screen)
        self.sent = ""  #: all that came from programs, with what controls a terminal
        self._shell: Any = pexpect.spawn(
            "/bin/sh",
            ["-i"],
            cwd=str(folder),
            env={"TERM": "xterm-256color", **env, "PS1": _PROMPT},  # an activated environment has one, too
            encoding="utf-8",
            codec_errors="replace",
            dimensions=(24, columns),
            timeout=patience,
        )
        self._shell.delaybeforesend = None
        self._wait_for(_PROMPTED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shell.close(force=True)

    @property
    def screen(self) -> str:
        """All that was seen so far."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def type(self, line: str) -> str:
        """Type a command, wait until it has ended, and return what it showed.

        Raises:
            AssertionError: it failed; with what was seen.
        """
        before = len(self.screen)
        self.start(line)
        return self.ended(before)

    def start(self, line: str) -> None:
        """Type a line, and wait for nothing."""
        self._shell.sendline(line)

    def reply(self, asked: str, line: str) -> None:
        """Wait for a question, and type the answer."""
        self._wait_for(re.compile(re.escape(asked)))
        self._shell.sendline(line)

    def see(self, text: str) -> None:
        """Wait until something is shown."""
        self._wait_for(re.compile(re.escape(text)))

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._shell.sendintr()

    def ended(self, before: int = 0, status: int = 0) -> str:
        """Wait for the prompt, and return what was shown since."""
        self._wait_for(_PROMPTED)
        shown = self.screen[before:]
        assert int(self._shell.match[1]) == status, self.screen
        return shown

    def _wait_for(self, pattern: re.Pattern[str]) -> None:
        try:
            self._shell.expect(pattern)
        except (pexpect.TIMEOUT, pexpect.EOF):
            self._feed(self._shell.before or "")
            raise AssertionError(f"waited in vain for {pattern.pattern!r}:\n{self.screen}") from None
        self._feed(self._shell.before + self._shell.after)

    def _feed(self, text: str) -> None:
        self.sent += text
        self._stream.feed(text)
