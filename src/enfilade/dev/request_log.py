"""A line on the terminal for each request, with the notes of its handler and the client.

It is the line that the log of a server has (`serving/observation/request_line.py`), in colours, with reasons and
advice. On a terminal lines are cut at its width and end in `…`; in a pipe they are complete.

Easy to get wrong: printing text of a client as it is. A name may contain control codes of a terminal.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from enfilade.app import MCPApp
from enfilade.serving.channel import Outlet
from enfilade.serving.observation.record import RequestRecord, clean
from enfilade.serving.observation.request_line import (
    OutcomeKind,
    caller,
    duration,
    outcome_kind,
    outcome_words,
    subject,
)
from enfilade.serving.request import Request
from enfilade.wire.message import Message
from enfilade.wire.notifications import SEVERITY, LoggingLevel

_STYLES: Final[dict[OutcomeKind, str]] = {"ok": "green", "asks": "cyan", "warning": "yellow", "failure": "red"}
_WIDE: Final = 110  # columns from which on a line shows the client
_INDENT: Final = " " * 9  # the width of the time
#: Methods whose handlers may send log messages, progress and questions.
_WITH_MESSAGES: Final = {"tools/call", "prompts/get", "resources/read", "completion/complete"}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has ended.

    Attributes:
        subject: method and name.
        milliseconds: its duration.
        outcome: the outcome in one or two words.
        kind: the kind of outcome, which determines the colour.
        peer: era, revision, client and caller; empty if unknown.
        reasons: the reasons of a failure, and advice.
        depth: the number of requests that it is nested in.
    """

    subject: str
    milliseconds: float
    outcome: str
    kind: OutcomeKind
    peer: str = ""
    reasons: tuple[str, ...] = ()
    depth: int = 0


class Screen:
    """Prints lines on a console, by default on standard output."""

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
            f" {duration(line.milliseconds):>9}  ",
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


#: Advice by HTTP status and a text in the error's message; the first match counts.
_ADVICE: Final[tuple[tuple[int, str, str], ...]] = (
    (
        400,
        "session id",
        "a client up to 2025-11-25 sends initialize first, and Mcp-Session-Id with all later requests",
    ),
    (400, "protocol version", "the MCP-Protocol-Version header must have a supported revision"),
    (400, "header", "headers and body must agree: check Mcp-Method, Mcp-Name and MCP-Protocol-Version"),
    (400, "json", "the body must be one JSON-RPC message, in UTF-8"),
    (400, "_meta", "since 2026-07-28 each request has its revision and client in _meta"),
    (403, "needs the scope", "the caller's token lacks scopes of this operation; see requires_scopes="),
    (
        404,
        "session",
        "the session has ended, or was sealed with another secret; the client should send initialize again",
    ),
    (404, "endpoint", "configure the client with the complete URL, including the path"),
    (404, "method", "the server does not support this method; the client may only be testing for it"),
    (406, "", "send Accept: application/json, text/event-stream"),
    (413, "", "send a smaller body, or raise ENFILADE_BODY_LIMIT"),
    (500, "", "the log above has the traceback under the id"),
    (503, "", "the store is unavailable, or the server is stopping; see the log above"),
)


def observed(app: MCPApp, screen: Screen) -> MCPApp:
    """Let a screen show the requests of an app, and return the app."""
    app.add_observer(ScreenObserver(screen))
    return app


class ScreenObserver:
    """Shows requests on a screen when they have ended, and the messages of their handlers before."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def begin(self, record: RequestRecord) -> None:
        """Report the messages of its handler from now on."""
        request = record.request
        if request is not None and request.parent is None and request.method in _WITH_MESSAGES:
            request.channel.outlet = MessageReporter(request, self._screen)
            request.channel.log_level = "debug"

    def end(self, record: RequestRecord) -> None:
        """Show a request."""
        depth, parent = 0, record.parent
        while parent is not None:
            depth, parent = depth + 1, parent.parent
        self._screen.show(
            Line(
                subject=subject(record),
                milliseconds=record.milliseconds,
                outcome=outcome_words(record),
                kind=outcome_kind(record),
                peer=caller(record),
                reasons=tuple(clean(reason) for reason in _reasons(record) if reason),
                depth=depth,
            )
        )


def _reasons(record: RequestRecord) -> Iterator[str | None]:
    """Yield the reasons of a failure, and advice."""
    error = record.error
    if error is not None:
        yield error.message
        if record.status >= 400:
            yield advice(record.status, error.message)
    elif getattr(record.result, "is_error", False) is True:
        yield _text_of(record.result)


class MessageReporter:
    """Replaces the outlet of a request to report its messages, including those below the client's log level."""

    def __init__(self, request: Request, screen: Screen) -> None:
        self._outlet: Outlet = request.channel.outlet
        self._client_level: LoggingLevel | None = request.channel.log_level
        self._subject = clean(_name(request.params) or request.method, 30)
        self._screen = screen

    def push(self, message: bytes) -> bool:
        """Send and report a notification."""
        notification = msgspec.json.decode(message)
        params: dict[str, Any] = notification.get("params") or {}
        if notification["method"] == "notifications/message":
            self._screen.note(self._subject, clean(f"{params['level']}: {_plain(params.get('data'))}"))
            if self._client_level is None or SEVERITY[params["level"]] < SEVERITY[self._client_level]:
                return True
        elif notification["method"] == "notifications/progress":
            total = f" of {params['total']:g}" if "total" in params else ""
            text = f" {params['message']}" if params.get("message") else ""
            self._screen.note(self._subject, clean(f"{params['progress']:g}{total}{text}"))
        return self._outlet.push(message)

    def send(self, message: bytes) -> bool:
        """Send and report a request to the client."""
        method = msgspec.json.decode(message).get("method")
        self._screen.note(self._subject, clean(f"asks the client: {method}"))
        return self._outlet.send(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._outlet, name)


def _name(params: Any) -> str:
    """Return the name of the tool or prompt, or the URI of the resource, in the parameters of a request."""
    name = getattr(params, "name", getattr(params, "uri", None))
    return name if isinstance(name, str) else ""


def _text_of(result: Message) -> str:
    """Return the first text of a failed tool's result."""
    content = getattr(result, "content", None) or ()
    return next((block.text for block in content if isinstance(getattr(block, "text", None), str)), "")


def _plain(data: Any) -> str:
    return data if isinstance(data, str) else msgspec.json.encode(data).decode()


def advice(status: int, message: str) -> str | None:
    """Return advice about a refused request for the author of the server or client; None if there is none.

    400 and 404 have several reasons, which the message of the error tells apart.
    """
    lowered = message.lower()
    return next((hint for code, text, hint in _ADVICE if code == status and text in lowered), None)
