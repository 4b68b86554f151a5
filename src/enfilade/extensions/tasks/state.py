"""What is kept of a task, and how clients see it in each dialect.

The states of a task, in both dialects; the last three are final (R-373):

    working ⇄ input_required ─▶ completed | failed | cancelled

Who may act on a task that is not final, the store decides by its `due` time: a running task is due when the lease
of its worker ends, one that sleeps when it wakes, one that waits for input when that is given up.

Easy to get wrong: a tool that fails. Its result has `isError`; that is `completed` in 2026-07-28 (R-586) and
`failed` in 2025-11-25 (R-377).
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw

from enfilade.serving.callers.local import is_local, local_base
from enfilade.serving.channel import Peer
from enfilade.serving.principal import Principal
from enfilade.serving.request import Request
from enfilade.wire.lifecycle import ClientCapabilities, Implementation
from enfilade.wire.revisions import STATELESS
from enfilade.wire.tasks import TaskStatus

TASKS: Final = "io.modelcontextprotocol/tasks"

FINAL: Final = frozenset({"completed", "failed", "cancelled"})

#: Most characters of a status message.
LONGEST_MESSAGE: Final = 1024


class PendingInput(msgspec.Struct, array_like=True, frozen=True):
    """A question of a task that has no answer yet.

    Attributes:
        method: its kind.
        request: the whole question as JSON, with method and params.
        form: the schema of its form as JSON, for one that is checked when its answer comes; else None.
    """

    method: str
    request: bytes
    form: bytes | None = None


class Client(msgspec.Struct, array_like=True, frozen=True):
    """Who has called, for as long as the task is kept.

    Attributes:
        revision: of the protocol, which decides the dialect.
        info, capabilities: what the client says of itself, as JSON.
        principal: the key of its principal; None if nobody is known.
        session_id: of its session; None without one.
        identity: subject, issuer, client id, scopes, claims as JSON and expiry of its principal, without its
            token; None if nobody is known. Claims of a host that JSON cannot hold are left out.
        local_scopes: what it may do over stdio; None over HTTP.
        local_base: by which URL a client on this machine has reached the server, empty over a pipe; None for any
            other client.
    """

    revision: str
    info: bytes
    capabilities: bytes
    principal: str | None
    session_id: str | None
    identity: tuple[str, str | None, str | None, list[str], bytes, float | None] | None
    local_scopes: list[str] | None
    local_base: str | None = None

    @classmethod
    def of(cls, request: Request) -> "Client":
        """Return what is kept of who calls."""
        peer, principal, channel = request.peer, request.principal, request.channel
        local_scopes = channel.local_scopes
        identity = None
        if principal is not None:
            identity = (
                principal.subject,
                principal.issuer,
                principal.client_id,
                sorted(principal.scopes),
                _kept_claims(principal.claims),
                principal.expires_at,
            )
        return cls(
            peer.revision,
            b"" if peer.client_info is None else msgspec.json.encode(peer.client_info),
            msgspec.json.encode(peer.capabilities),
            peer.principal,
            peer.session_id,
            identity,
            None if local_scopes is None else sorted(local_scopes),
            local_base(channel) if is_local(channel) else None,
        )

    def peer(self) -> Peer:
        """Return the client as its request had it."""
        return Peer(
            revision=self.revision,
            client_info=msgspec.json.decode(self.info, type=Implementation) if self.info else None,
            capabilities=msgspec.json.decode(self.capabilities, type=ClientCapabilities),
            principal=self.principal,
            session_id=self.session_id,
        )

    def restored_principal(self) -> Principal | None:
        """Return its principal, without a token."""
        if self.identity is None:
            return None
        subject, issuer, client_id, scopes, claims, expires_at = self.identity
        principal = Principal(
            subject,
            issuer=issuer,
            client_id=client_id,
            scopes=frozenset(scopes),
            claims=msgspec.json.decode(claims),
            expires_at=expires_at,
        )
        if self.principal is not None and principal.key != self.principal:  # a verifier has named it
            object.__setattr__(principal, "key", self.principal)
        return principal


class TaskState(msgspec.Struct, array_like=True):
    """All that is kept of a task.

    Attributes:
        id: its id, 128 random bits (R-58B).
        tool: the name of its tool.
        params: those of the call, as JSON.
        client: who has called.
        created: when, in seconds since the epoch.
        updated: when its status was last changed.
        ttl: seconds from `created` for which it is kept at least.
        retention: seconds for which it is kept after its end.
        durable: whether it is run again if its worker dies.
        worker: the worker that runs it; empty if none does.
        status: as the protocol has it.
        message: the status message; empty for none.
        inputs: the questions without an answer, by their keys.
        answers: answers that its handler has not got yet, as JSON, by the keys of their questions.
        keys: of questions of a durable task, by identity.
        inputs_made: how many keys were made; none is used again (R-585, X-TASK-11).
        journal: of a durable task: its questions, answers and side effects, encoded.
        wakes: when it sleeps until, in seconds since the epoch; 0.0 if it does not.
        attempts: how often it was taken over since its journal has last changed.
        result: what it came to, as JSON; empty for none.
        error: the JSON-RPC error that it came to, as JSON; empty for none.
        has_failed: whether the result is the failure of its tool.
    """

    id: str
    tool: str
    params: bytes
    client: Client
    created: float
    updated: float
    ttl: float
    retention: float
    durable: bool = False
    worker: str = ""
    status: TaskStatus = "working"
    message: str = ""
    inputs: dict[str, PendingInput] = {}
    answers: dict[str, bytes] = {}
    keys: dict[bytes, str] = {}
    inputs_made: int = 0
    journal: bytes = b""
    wakes: float = 0.0
    attempts: int = 0
    result: bytes = b""
    error: bytes = b""
    has_failed: bool = False

    @property
    def is_final(self) -> bool:
        """Whether it has come to its end."""
        return self.status in FINAL

    @property
    def is_stateless(self) -> bool:
        """Whether it has the dialect of 2026-07-28."""
        return self.client.revision in STATELESS

    def set_status(self, status: TaskStatus, message: str | None = None) -> None:
        """Change the status; None leaves the message."""
        self.status, self.updated = status, max(self.updated, time.time())
        if message is not None:
            self.message = message[:LONGEST_MESSAGE]

    def end(self, status: Literal["completed", "failed", "cancelled"], message: str = "") -> None:
        """Come to an end, and forget what only a task that goes on needs."""
        self.set_status(status, message)
        self.ttl = max(self.ttl, time.time() - self.created + self.retention)
        self.worker, self.journal, self.wakes = "", b"", 0.0
        self.inputs, self.answers, self.keys = {}, {}, {}

    def due(self, lease: float) -> float:
        """Return the seconds after which another worker may take a task that goes on.

        Args:
            lease: seconds for which a worker has it that runs it.
        """
        if self.worker:
            return lease
        if self.answers or not (self.inputs or self.wakes):
            return 0.0
        times = [self.created + self.ttl] if self.inputs else []
        if self.wakes:
            times.append(self.wakes)
        return max(0.0, min(times) - time.time())

    @property
    def kept_for(self) -> float:
        """Seconds for which a final task is kept from now on (X-TASK-8)."""
        return max(1.0, self.created + self.ttl - time.time())

    # -- as clients see it -------------------------------------------------------------------------------------

    def outline(self, poll_interval: float) -> dict[str, Any]:
        """Return the task without its outcome, in the dialect of its client: flat in 2026-07-28 (X-TASK-7).

        Args:
            poll_interval: seconds between two looks of the client.
        """
        members: dict[str, Any] = {"taskId": self.id, "status": self.status}
        if self.message:
            members["statusMessage"] = self.message
        members |= {"createdAt": _iso(self.created), "lastUpdatedAt": _iso(self.updated)}
        names = ("ttlMs", "pollIntervalMs") if self.is_stateless else ("ttl", "pollInterval")
        return members | dict(zip(names, (round(self.ttl * 1000), round(poll_interval * 1000)), strict=True))

    def details(self, poll_interval: float) -> dict[str, Any]:
        """Return the task as `tasks/get` of 2026-07-28 has it: with its questions or its outcome (R-583)."""
        members = self.outline(poll_interval)
        if self.status == "input_required":
            members["inputRequests"] = {key: Raw(pending.request) for key, pending in self.inputs.items()}
        elif self.result:
            members["result"] = Raw(self.result)
        elif self.error:
            members["error"] = Raw(self.error)
        return members


def _kept_claims(claims: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(dict(claims))
    except (TypeError, ValueError):
        return msgspec.json.encode({name: value for name, value in claims.items() if _is_json(name, value)})


def _is_json(name: str, value: Any) -> bool:
    try:
        msgspec.json.encode({name: value})
    except (TypeError, ValueError):
        return False
    return True


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(TaskState).decode


def encode_state(state: TaskState) -> bytes:
    """Return the bytes of a task."""
    return _encode(state)


def decode_state(encoded: bytes) -> TaskState:
    """Return the task of its bytes.

    Raises:
        msgspec.DecodeError: they are of another version of this package.
    """
    return _decode(encoded)


def result_is_error(result: Any) -> bool:
    """Whether the result of a tool says that it has failed."""
    return getattr(result, "is_error", UNSET) is True
