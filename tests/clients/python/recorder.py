"""What a Python client saw, as the one JSON object that every driver prints.

Both official Python clients run with this file, each in its own environment, so it needs nothing but the standard
library. The node folder has the same recorder in JavaScript: change both or neither.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Target:
    """Where the server is: a URL to connect to, or a command to start."""

    url: str | None
    command: list[str]
    mode: str
    script: dict[str, Any]


def target(argv: list[str] | None = None) -> Target:
    """Read the command line: `[--mode MODE] SCRIPT.json http URL` or `... SCRIPT.json stdio CMD...`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="legacy")
    parser.add_argument("script", type=Path)
    parser.add_argument("transport", choices=["http", "stdio"])
    parser.add_argument("address", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    http = options.transport == "http"
    return Target(
        url=options.address[0] if http else None,
        command=[] if http else options.address,
        mode=options.mode,
        script=json.loads(options.script.read_text(encoding="utf-8")),
    )


@dataclass
class Recorder:
    """Collects events in the order in which the client handed them to its user."""

    revision: str = ""
    server: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def progress(self, call: str) -> Any:
        """Return the progress callback of one call."""

        async def record(progress: float, total: float | None, message: str | None) -> None:
            event = {"kind": "progress", "call": call, "progress": progress, "total": total, "message": message}
            self.events.append(event)

        return record

    def changed(self, what: str) -> None:
        """Note a change that the server told of: a list by its name, or a resource by its URI."""
        self.events.append({"kind": "changed", "what": what})

    def lacks(self, wanted: list[str]) -> bool:
        """Whether some of these changes have not been told of yet."""
        return not {event["what"] for event in self.events if event["kind"] == "changed"} >= set(wanted)

    async def log(self, params: Any) -> None:
        self.events.append({"kind": "log", "level": params.level, "data": params.data})

    def answer(self, answers: dict[str, Any], kind: str, words: str) -> dict[str, Any]:
        """Return what the script answers to a question, and note that it was asked."""
        self.events.append({"kind": "asked", "what": kind, "words": words})
        if kind == "elicit":
            return {"action": "accept", "content": answers["elicit"][words]}
        if kind == "sample":
            text = {"type": "text", "text": answers["sample"][words]}
            return {"role": "assistant", "model": "driver", "content": text}
        return {"roots": answers["roots"]}

    def listed(self, tools: list[Any]) -> None:
        """Keep the listed tools, in order, as they were on the wire."""
        for tool in tools:
            self.tools[tool.name] = tool.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def result(self, call: str, result: Any) -> None:
        data = result.model_dump(mode="json", by_alias=True, exclude_unset=True)
        self.calls[call] = {
            "content": data.get("content"),
            "structuredContent": data.get("structuredContent"),
            "isError": data.get("isError", False),
        }
        self.events.append({"kind": "result", "call": call})

    def error(self, call: str, code: int, message: str) -> None:
        self.calls[call] = {"code": code, "message": message}
        self.events.append({"kind": "error", "call": call})

    def print(self) -> None:
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a pipe is a TextIOWrapper
        json.dump(self.__dict__, sys.stdout, ensure_ascii=False)
