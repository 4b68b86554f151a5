"""The audit: who did what when, with which arguments, and how it ended.

Calls of tools, reads of resources and prompts have entries, those that handlers make of each other as well. An
entry is written when a request has ended, before its response leaves.

*Required.* With `audit_required=True` nothing is done that is not recorded. An entry `begun` is durable before
the handler runs; if it cannot be written, the call is refused and nothing has happened. An entry `ended` with the
same `id` is durable before the response leaves; if that cannot be written, the client reads an error that says
so. An entry `begun` without `ended` is a call during which the process died. Without `audit_required` there is
the entry `ended` alone, nobody waits for it, and a failure is logged.

Easy to get wrong: secrets. Arguments whose schema is `writeOnly` or a password, such as a `SecretStr`, are
masked, and so are arguments that the schema does not have, and the values of the tool's secrets
wherever they stand.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from msgspec import Raw

from enfilade.counters import count
from enfilade.primitives.schema.json_schema import json_type
from enfilade.primitives.schema.references import follow, has_secret, is_marked_secret
from enfilade.primitives.schema.signature import is_async
from enfilade.serving.failures import DeadlineError, LimitedLog
from enfilade.serving.observation.audit_writer import (
    PATIENCE,
    AuditError,
    AuditFile,
    AuditFunction,
    AuditWriter,
    Entry,
)
from enfilade.serving.observation.record import RequestRecord
from enfilade.serving.observation.request_line import timestamp
from enfilade.serving.request import Request
from enfilade.serving.secrets import MASK
from enfilade.wire.jsonrpc import INTERNAL_ERROR, RpcError
from enfilade.wire.message import Message
from enfilade.wire.tools import decode_arguments

if TYPE_CHECKING:
    from enfilade.primitives.tool import Tool

log = logging.getLogger("enfilade.audit")

MethodHandler = Callable[[Request], Awaitable[Message]]
_AUDITED: Final = frozenset({"tools/call", "resources/read", "prompts/get"})
Schema = Mapping[str, Any]
_UNIONS: Final = ("anyOf", "oneOf", "allOf")
_MOST_NESTED: Final = 8  # unions within unions
_MOST_PENDING: Final = 1000  # calls of an `async def` that nobody waits for


class Audit:
    """Writes the entries of an app.

    Args:
        target: a path, or `def` or `async def` of an entry, a dict.
        required: refuse what cannot be recorded.
        default: how much of the arguments is recorded of tools that do not say it: `all`, `names` or `none`.
        tool: finds a tool by its name.
    """

    def __init__(
        self,
        target: object,
        required: bool,
        default: str,
        *,
        tool: "Callable[[str], Tool | None]",
    ) -> None:
        self._required = required
        self._default = default
        self._tool = tool
        self._function: Callable[[Entry], Coroutine[Any, Any, object]] | None = None
        self._writer: AuditWriter | None = None
        if not callable(target):
            self._writer = AuditWriter(AuditFile(Path(cast("str | os.PathLike[str]", target))))
        elif is_async(target):
            self._function = cast("Callable[[Entry], Coroutine[Any, Any, object]]", target)
        else:
            self._writer = AuditWriter(AuditFunction(target))
        self._pending: set[asyncio.Task[None]] = set()
        self._failures = LimitedLog(log)

    def check(self) -> None:
        """Check what can be checked before the first entry.

        Raises:
            OSError: no entry could be written.
        """
        if self._writer is not None:
            self._writer.check()

    @property
    def not_ready(self) -> str | None:
        """Why requests would be refused at present; None if they would not."""
        if self._required and self._writer is not None and self._writer.has_failed:
            return "the audit log cannot be written"
        return None

    def link(self, call_next: MethodHandler) -> MethodHandler:
        """Return what calls the middleware and handlers of an app, and records it."""

        async def audited(request: Request) -> Message:
            if request.method not in _AUDITED:
                return await call_next(request)
            record: Any = request.record
            entry = self._describe(request, record)
            if self._required:
                await self._begin(request, entry)
            try:
                record.result = result = await call_next(request)
            except BaseException as error:
                await self._end(request, record, entry, error)
                raise
            await self._end(request, record, entry, None)
            return result

        return audited

    async def _begin(self, request: Request, entry: Entry) -> None:
        """Record that a request is about to be handled.

        Raises:
            RpcError: it could not be recorded, so nothing is done.
        """
        try:
            await self._write({"event": "begun", **entry})
        except AuditError as error:
            title = request.title()
            self._failures.write(logging.ERROR, "refused, since the audit log failed: %s: %s", title, error)
            text = "The request was refused, and nothing was done: it cannot be recorded at the moment"
            raise RpcError(INTERNAL_ERROR, text, status=503) from None

    async def _end(
        self, request: Request, record: RequestRecord, entry: Entry, error: BaseException | None
    ) -> None:
        """Record how a request ended.

        Raises:
            RpcError: it could not be recorded, and has to be.
        """
        ended = {
            "event": "ended",
            **entry,
            "time": timestamp(time.time()),
            "arguments": _redacted(request, entry["arguments"]),
            "outcome": _outcome(record, error),
            "reason": record.tool_failure,
            "answered_from": record.answered_from,
            "ms": round(record.milliseconds, 3),
        }
        if not self._required:
            self._put(ended)
            return
        try:
            await self._write(ended)
        except AuditError as failure:
            self._failures.write(logging.ERROR, "done, but not recorded: %s: %s", request.title(), failure)
            if error is None:
                text = "The request was carried out, but that cannot be recorded, so its result is withheld"
                raise RpcError(INTERNAL_ERROR, text, status=503) from None

    # -- writing -----------------------------------------------------------------------------------------------

    async def _write(self, entry: Entry) -> None:
        """Write an entry, and return once it is durable.

        Raises:
            AuditError: it could not be written.
        """
        if self._writer is not None:
            await self._writer.write(entry)
            return
        assert self._function is not None
        try:
            async with asyncio.timeout(PATIENCE):
                await self._function(entry)
        except Exception as error:
            raise AuditError(f"{type(error).__name__}: {error}") from error

    def _put(self, entry: Entry) -> None:
        """Write an entry soon."""
        if self._writer is not None:
            self._writer.put(entry)
        elif len(self._pending) < _MOST_PENDING:
            task = asyncio.get_running_loop().create_task(self._write_and_log(entry))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        else:
            count("audit_entries_dropped")
            self._failures.write(logging.ERROR, "an audit entry was dropped: %d wait", _MOST_PENDING)

    async def _write_and_log(self, entry: Entry) -> None:
        try:
            await self._write(entry)
        except AuditError as error:
            self._failures.write(logging.ERROR, "the audit log cannot be written: %s", error)

    async def close(self) -> None:
        """Write what waits, within a limit."""
        if self._pending:
            await asyncio.wait(self._pending, timeout=PATIENCE)
        if self._writer is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._writer.close)

    # -- entries -----------------------------------------------------------------------------------------------

    def _describe(self, request: Request, record: RequestRecord) -> Entry:
        """Return the members that both entries of a request have."""
        parent = record.parent
        return {
            "id": secrets.token_hex(8),
            "time": timestamp(time.time()),
            "worker": os.getpid(),
            "method": request.method,
            "target": record.target,
            "arguments": self._arguments(request),
            "principal": record.principal,
            "client": record.client,
            "session": record.session,
            "revision": record.revision,
            "transport": record.transport,
            "request_id": record.request_id,
            "trace_id": record.trace_id,
            "called_by": None if parent is None else parent.target,
        }

    def _arguments(self, request: Request) -> Any:
        """Return the arguments of a tool or prompt as they are recorded; None where there are none."""
        raw = getattr(request.params, "arguments", None)
        arguments = _decoded(raw)
        if arguments is None:
            return None
        if request.method == "prompts/get":
            return _limited(arguments, self._default)
        tool = self._tool(request.params.name)
        if tool is None:
            return _limited(arguments, "names" if self._default == "all" else self._default)
        level = tool.audit or self._default
        if level != "all":
            return _limited(arguments, level)
        return masked_arguments(arguments, tool.definition.input_schema)


def _decoded(raw: object) -> dict[str, Any] | None:
    if isinstance(raw, Raw):
        try:
            raw = decode_arguments(raw)
        except (ValueError, RecursionError):
            return {}
    return dict(raw) if isinstance(raw, Mapping) else None


def _limited(arguments: dict[str, Any], level: str) -> Any:
    if level == "all":
        return arguments
    return sorted(arguments) if level == "names" else None


def _redacted(request: Request, arguments: Any) -> Any:
    redaction = request.failure_redaction
    return arguments if redaction is None else redaction.inside(arguments)


def _outcome(record: RequestRecord, error: BaseException | None) -> str:
    """Return how a request ended, as its record will say; `input_required` for one that asks the client."""
    if record.asks:
        return "input_required"
    if error is None or isinstance(error, RpcError):
        record.error = error
        outcome = record.outcome
        record.error = None
        return outcome
    if isinstance(error, asyncio.CancelledError):
        request = record.request
        return "deadline" if request is not None and isinstance(request.verdict, DeadlineError) else "cancelled"
    return str(INTERNAL_ERROR)


# -- secrets ---------------------------------------------------------------------------------------------------


def masked_arguments(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return arguments without their secrets.

    Args:
        arguments: of a call.
        schema: of the arguments of the tool.
    """
    properties = schema.get("properties", {})
    if not has_secret(schema, schema):
        return {name: value if name in properties else MASK for name, value in arguments.items()}
    return {
        name: _masked(value, [properties[name]] if name in properties else [], schema)
        for name, value in arguments.items()
    }


def _masked(value: Any, schemas: list[Any], root: Schema) -> Any:
    """Return a value that has one of some schemas."""
    if value is None:
        return None
    branches = [branch for schema in schemas for branch in _branches(schema, root, 0)]
    if not branches or any(map(is_marked_secret, branches)):
        return MASK
    if not any(has_secret(branch, root) for branch in branches):
        return value
    if isinstance(value, dict):
        return {name: _masked(member, _of_member(name, branches), root) for name, member in value.items()}
    if isinstance(value, list):
        return [_masked(item, _of_item(index, branches), root) for index, item in enumerate(value)]
    kind = json_type(value)
    kinds = (kind, "number") if kind == "integer" else (kind,)
    return value if any(_is_of_type(branch, kinds) for branch in branches) else MASK


def _branches(schema: Any, root: Schema, depth: int) -> Iterator[Schema]:
    """Return a schema without references, and those that it is put together from."""
    written = follow(schema, root)
    yield (
        {**written, **schema} if isinstance(schema, Mapping) else written
    )  # what stands beside a reference counts
    if depth < _MOST_NESTED:
        for union in _UNIONS:
            for branch in written.get(union) or ():
                yield from _branches(branch, root, depth + 1)


def _of_member(name: str, branches: list[Schema]) -> list[Any]:
    """Return the schemas that a member may have; none for one that no schema has."""
    found = [branch["properties"][name] for branch in branches if name in branch.get("properties", ())]
    for branch in branches:
        found += branch.get("patternProperties", {}).values()
        if isinstance(more := branch.get("additionalProperties"), Mapping):
            found.append(more)
    return found


def _of_item(index: int, branches: list[Schema]) -> list[Any]:
    """Return the schemas that an item may have."""
    found = []
    for branch in branches:
        prefix = branch.get("prefixItems", ())
        found += [prefix[index]] if index < len(prefix) else []
        if isinstance(branch.get("items"), Mapping):
            found.append(branch["items"])
    return found


def _is_of_type(schema: Schema, kinds: tuple[str, ...]) -> bool:
    types = schema.get("type", ())
    return any(kind == types or (not isinstance(types, str) and kind in types) for kind in kinds)
