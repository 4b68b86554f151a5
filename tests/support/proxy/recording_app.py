"""Serve a file's app with a recorder around it: every message that leaves the server is written to a log.

    python tests/support/proxy/recording_app.py FILE[:NAME] http|stdio PORT LOG

Tests that drive real clients start their servers through `command` and have `validate_log` judge the log
afterwards, by the revision that each client spoke. Nothing of the server knows: over HTTP its ASGI callable is
wrapped, over stdio this process stands between the client and the real one and passes every line on.

Easy to get wrong: a response does not say what it answers, so each line of the log has the method and the
revision beside the message. A response that leaves on a resumed stream, perhaps another worker's, finds its
method where the request was recorded.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a process of its own finds `support`

from support.exchanges import PipeExchange, SentRequests, messages_of, parsed, requests_over_http, typed_id

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def command(file: str | Path, transport: str, port: int | str | None, log: str | Path) -> list[str]:
    """Return the command that serves a file's app and records what leaves it.

    Args:
        file: `FILE` or `FILE:NAME`, as for `enfilade run`.
        transport: `http` or `stdio`.
        port: where to listen; anything, such as None, for stdio. A text like `{port}` is handed on.
        log: file that the record is appended to.
    """
    return [sys.executable, str(Path(__file__).resolve()), str(file), transport, str(port or 0), str(log)]


def validate_log(*paths: str | Path) -> int:
    """Check every recorded message against the schema of its revision.

    Args:
        paths: the records of all workers that served the same sessions.

    Returns:
        How many messages there were.

    Raises:
        AssertionError: one is not legal; the text says which and why.
    """
    entries = [
        (f"{path}:{number}", json.loads(line))
        for path in paths
        for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), 1)
    ]
    asked_in: dict[Any, str] = {}
    for _, entry in entries:
        known = entry.get("unanswered", [])
        if entry.get("method") is not None:  # it may leave a second time, on a stream that is resumed
            known = [(entry["message"]["id"], entry["method"])]
        asked_in |= {(entry.get("session"), typed_id(id)): method for id, method in known}
    messages = [(place, entry) for place, entry in entries if "unanswered" not in entry]
    for place, entry in messages:
        assert "unreadable" not in entry, f"{place}: no JSON-RPC left the server: {entry['unreadable']!r}"
        asked, message = SentRequests(entry["revision"]), entry["message"]
        if answers(message):
            id = typed_id(message["id"])
            method = entry["method"] or asked_in.get((entry.get("session"), id))
            if method is not None:
                asked.methods[id] = method
        asked.check(message)
    return len(messages)


def answers(message: dict[str, Any]) -> bool:
    """Say whether a message is a response."""
    return "id" in message and "method" not in message


class Recorder:
    """Appends what leaves the server to a file, one JSON object a line."""

    def __init__(self, path: str) -> None:
        # Unbuffered, since several processes append to it, and each line has to be one write.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - it stays open as long as the process
        self._lock = threading.Lock()

    def record(self, asked: SentRequests, message: dict[str, Any], session: str | None = None) -> None:
        method = asked.methods.get(typed_id(message["id"])) if answers(message) else None
        entry = {"revision": asked.revision, "method": method, "message": message}
        self._write(entry if session is None else {**entry, "session": session})

    def record_unanswered(self, session: str, asked: SentRequests, messages: list[dict[str, Any]]) -> None:
        """Note what was asked in a session and not answered there: the response may leave another worker."""
        answered = {typed_id(message["id"]) for message in messages if answers(message)}
        left = [(id[1], method) for id, method in asked.methods.items() if id not in answered]
        if left:
            self._write({"session": session, "unanswered": left})

    def record_unreadable(self, data: bytes) -> None:
        self._write({"unreadable": data.decode("utf-8", "backslashreplace")})

    def _write(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry).encode() + b"\n")


def tapped(asgi: Any, recorder: Recorder) -> Any:
    """Return an ASGI callable that does the same and records the messages of its responses."""
    sessions: dict[str, str] = {}

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await asgi(scope, receive, send)
            return
        came, left, head = bytearray(), bytearray(), {}

        async def receiving() -> MutableMapping[str, Any]:
            message = await receive()
            came.extend(message.get("body", b""))
            return message

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                head.update(
                    {
                        name.decode("latin-1").lower(): value.decode("latin-1")
                        for name, value in message["headers"]
                    }
                )
            else:
                left.extend(message.get("body", b""))
            await send(message)

        try:
            await asgi(scope, receiving, sending)
        finally:
            fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            asked = requests_over_http(bytes(came), fields, sessions)
            _record(recorder, asked, head, bytes(left), sessions, fields.get("mcp-session-id"))

    return serve


def _record(
    recorder: Recorder,
    asked: SentRequests,
    head: dict[str, str],
    body: bytes,
    sessions: dict[str, str],
    session: str | None,
) -> None:
    streams = head.get("content-type", "").startswith("text/event-stream")
    whole = body[: body.rfind(b"\n\n") + 2] if streams else body  # the client may have left within an event
    try:
        messages = messages_of(head.get("content-type", ""), whole)
    except ValueError:
        recorder.record_unreadable(body)
        return
    for message in messages:
        if "mcp-session-id" in head and "protocolVersion" in message.get("result", {}):
            sessions[head["mcp-session-id"]] = message["result"]["protocolVersion"]
        recorder.record(asked, message, session)
    if session is not None:
        recorder.record_unanswered(session, asked, messages)


def serve_http(file: str, port: int, recorder: Recorder) -> None:
    """Serve the file's app with uvicorn, as `run()` does."""
    import uvicorn

    from enfilade.discovery import load_app

    uvicorn.run(
        tapped(load_app(file), recorder),
        host="127.0.0.1",
        port=port,
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=1,  # some clients leave their event stream open
    )


def serve_stdio(file: str, recorder: Recorder) -> int:
    """Run the real server as a child and pass on every line; returns its exit code."""
    serve = [sys.executable, "-c", "from enfilade.cli import main; main()", "run", file, "--transport", "stdio"]
    child = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    piped = PipeExchange()

    def record_line(line: bytes) -> None:
        message = parsed(line)
        if isinstance(message, dict):
            recorder.record(piped.request_of(message), message)
        else:
            recorder.record_unreadable(line)

    from_client = (sys.stdin.buffer, child.stdin, lambda line: piped.note_request(parsed(line)))
    threading.Thread(target=_pass_on, args=from_client, daemon=True).start()
    _pass_on(child.stdout, sys.stdout.buffer, record_line)
    code = child.wait()
    sys.stdout.flush()
    os._exit(code)  # the reading thread may still hold stdin


def _pass_on(source: IO[bytes], target: IO[bytes], look: Callable[[bytes], None]) -> None:
    try:
        for line in source:
            look(line)
            target.write(line)
            target.flush()
        if target is not sys.stdout.buffer:
            target.close()
    except OSError:
        return  # the other end is gone; the server notices by itself


def main() -> None:
    """Run the command line above."""
    file, transport, port, log = sys.argv[1:]
    recorder = Recorder(log)
    if transport == "http":
        serve_http(file, int(port), recorder)
    else:
        serve_stdio(file, recorder)


if __name__ == "__main__":
    main()
