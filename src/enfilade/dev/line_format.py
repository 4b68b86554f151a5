"""The output on the terminal: one line for each request, notes of its handler, and the client.

On a terminal lines are cut at its width and end in `…`; in a pipe they are complete.

Easy to get wrong: printing text of a client as it is. A name may contain control codes of a terminal.
"""

import time
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.text import Text

Kind = Literal["ok", "asks", "warning", "failure"]

_STYLES: Final[dict[Kind, str]] = {"ok": "green", "asks": "cyan", "warning": "yellow", "failure": "red"}
_WIDE: Final = 110  # columns from which on a line shows the client
_INDENT: Final = " " * 9  # the width of the time


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has ended.

    Attributes:
        subject: method and name.
        milliseconds: its duration.
        outcome: the outcome in one or two words.
        kind: the kind of outcome, which determines the colour.
        peer: era, revision and client; empty if unknown.
        reasons: the reasons of a failure, and advice.
        depth: the number of requests that it is nested in.
    """

    subject: str
    milliseconds: float
    outcome: str
    kind: Kind
    peer: str = ""
    reasons: tuple[str, ...] = ()
    depth: int = 0


class Screen:
    """Prints lines on a console.

    Args:
        console: the console; by default standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._last_peer = ""

    def show(self, line: Line) -> None:
        """Print a request."""
        in_line = not self.console.is_terminal or self.console.width >= _WIDE
        if line.peer and not in_line and line.peer != self._last_peer:
            self.line(Text(f"{_INDENT}── {line.peer}", "dim"), cut=True)
        self._last_peer = line.peer or self._last_peer
        width = 48 if in_line and self.console.is_terminal else 38
        subject = Text("  " * line.depth + ("↳ " if line.depth else "") + line.subject)
        if self.console.is_terminal:
            subject.truncate(width, overflow="ellipsis")
        subject.pad_right(max(0, width - subject.cell_len))
        text = Text.assemble(
            (time.strftime("%H:%M:%S "), "dim"),
            subject,
            f" {_duration(line.milliseconds):>9}  ",
            (f"{line.outcome:<{18 if in_line else 0}}", _STYLES[line.kind]),
        )
        if in_line and line.peer:
            text.append(f"  {line.peer}", "dim")
        self.line(text, cut=True)
        for reason in line.reasons:
            self._fold(reason)

    def note(self, subject: str, text: str) -> None:
        """Print a message of a handler that is running."""
        self.line(Text(f"{_INDENT}  {subject}: {text}", "dim"), cut=True)

    def say(self, text: str, style: str = "bold") -> None:
        """Print an event of the server itself."""
        self.line(Text.assemble((time.strftime("%H:%M:%S "), "dim"), (text, style)))

    def block(self, text: str, style: str = "red") -> None:
        """Print several lines unchanged, such as a traceback."""
        self.line(Text(text, style))

    def line(self, text: Text | str, *, cut: bool = False) -> None:
        """Print a line, complete or cut at the width of the terminal."""
        line = Text(text) if isinstance(text, str) else text
        line.rstrip()
        if cut and self.console.is_terminal:
            line.truncate(self.console.width, overflow="ellipsis")
        self.console.print(line, soft_wrap=True)

    def _fold(self, text: str) -> None:
        """Print a sentence, wrapped to the width of the terminal."""
        width = self.console.width - len(_INDENT) - 2
        sentence = Text(text, "yellow")
        for line in sentence.wrap(self.console, max(20, width)) if self.console.is_terminal else [sentence]:
            self.line(Text.assemble(_INDENT, "  ", line))


def clean(text: str, longest: int = 400) -> str:
    """Return a text of a client as one line without control characters, cut at `longest` characters."""
    excerpt = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else "�" for c in excerpt)


def _duration(milliseconds: float) -> str:
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:,.1f} s"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
