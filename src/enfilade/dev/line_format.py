"""What is shown on the terminal: one line for each request, notes between them, and who is asking.

On a terminal a line is as wide as that, and what is too long ends in `…`; in a pipe nothing is cut, and every
line says all. The easy thing to get wrong is to show what a client sent as it is: a name may hold the control
codes of a terminal.
"""

import time
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.text import Text

Kind = Literal["ok", "asks", "warning", "failure"]

_STYLES: Final[dict[Kind, str]] = {"ok": "green", "asks": "cyan", "warning": "yellow", "failure": "red"}
_WIDE: Final = 110  # columns from which on a line has room for the client
_INDENT: Final = " " * 9  # as wide as the time


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One request, when its outcome is known.

    Attributes:
        what: method and name.
        milliseconds: how long it took.
        outcome: a word or two.
        kind: what that means.
        peer: who asked, in which revision; empty if nobody knows.
        reasons: why, and what to do, if it went wrong.
        depth: how many requests it was made by.
    """

    what: str
    milliseconds: float
    outcome: str
    kind: Kind
    peer: str = ""
    reasons: tuple[str, ...] = ()
    depth: int = 0


class Screen:
    """Shows lines on a console.

    Args:
        console: where to; by default standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._last_peer = ""

    def show(self, line: Line) -> None:
        """Show a request."""
        in_line = not self.console.is_terminal or self.console.width >= _WIDE
        if line.peer and not in_line and line.peer != self._last_peer:
            self.line(Text(f"{_INDENT}── {line.peer}", "dim"), cut=True)
        self._last_peer = line.peer or self._last_peer
        width = 48 if in_line and self.console.is_terminal else 38
        what = Text("  " * line.depth + ("↳ " if line.depth else "") + line.what)
        if self.console.is_terminal:
            what.truncate(width, overflow="ellipsis")
        what.pad_right(max(0, width - what.cell_len))
        text = Text.assemble(
            (time.strftime("%H:%M:%S "), "dim"),
            what,
            f" {_duration(line.milliseconds):>9}  ",
            (f"{line.outcome:<{18 if in_line else 0}}", _STYLES[line.kind]),
        )
        if in_line and line.peer:
            text.append(f"  {line.peer}", "dim")
        self.line(text, cut=True)
        for reason in line.reasons:
            self._fold(reason)

    def note(self, about: str, text: str) -> None:
        """Show what a handler says before it ends."""
        self.line(Text(f"{_INDENT}  {about}: {text}", "dim"), cut=True)

    def say(self, text: str, style: str = "bold") -> None:
        """Show what happens to the server itself."""
        self.line(Text.assemble((time.strftime("%H:%M:%S "), "dim"), (text, style)))

    def block(self, text: str, style: str = "red") -> None:
        """Show several lines as they are, such as a traceback."""
        self.line(Text(text, style))

    def line(self, text: Text | str, *, cut: bool = False) -> None:
        """Show a line that is whole, or cut where the terminal ends."""
        shown = Text(text) if isinstance(text, str) else text
        shown.rstrip()
        if cut and self.console.is_terminal:
            shown.truncate(self.console.width, overflow="ellipsis")
        self.console.print(shown, soft_wrap=True)

    def _fold(self, text: str) -> None:
        """Show a sentence, on as many lines as it takes."""
        room = self.console.width - len(_INDENT) - 2
        whole = Text(text, "yellow")
        for part in whole.wrap(self.console, max(20, room)) if self.console.is_terminal else [whole]:
            self.line(Text.assemble(_INDENT, "  ", part))


def clean(text: str, longest: int = 400) -> str:
    """Return what somebody sent as something that is safe on a terminal, in one line."""
    shown = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\r\t" else "�" for c in shown)


def _duration(milliseconds: float) -> str:
    if milliseconds >= 10_000:
        return f"{milliseconds / 1000:,.1f} s"
    return f"{milliseconds:.1f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
