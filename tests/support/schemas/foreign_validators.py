"""Asks validators of other languages about JSON Schemas: those of both official TypeScript clients, and Ajv.

They run in one Node process, which answers line by line, so that thousands of questions take seconds.
"""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from support import tooling

_SCRIPT = Path(__file__).parents[2] / "clients/node/schemas.mjs"


class ForeignValidators:
    """The validators, in a process of their own; made by `foreign_validators`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def faults(self, schema: Any, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return what any of them has against a schema, or against values of it.

        Args:
            schema: the schema.
            values: parsed JSON.

        Returns:
            For each fault `by` (the validator), and either `schema` (what is wrong with it) or `place` (which
            value) and `value` (what is wrong with that).
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"schema": schema, "values": list(values)}).decode() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the validators have ended"
        found: list[dict[str, Any]] = json.loads(line)
        return found


@contextmanager
def foreign_validators() -> Iterator[ForeignValidators]:
    """Start the validators.

    Raises:
        tooling.ToolMissing: Node or a package is not installed.
    """
    for package in ("sdk", "client"):
        tooling.node_package(f"@modelcontextprotocol/{package}")
    command = [tooling.node(), "--import", (_SCRIPT.parent / "resolve.mjs").as_uri(), str(_SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as process:
        yield ForeignValidators(process)
        assert process.stdin is not None
        process.stdin.close()
