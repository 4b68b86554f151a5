"""What is measured: the calls that servers are asked to make, and the answers that are right.

The easy thing to get wrong is to let a wrong answer count: each `Work` says all of what must come back, every
notification included, and `messages.check` compares it before any load.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final

SESSION: Final = "session"
STATELESS: Final = "2026-07-28"
MIB: Final = 1_048_576
MANY: Final = 1000
FEW_LISTENERS: Final = 500
MANY_LISTENERS: Final = 5000


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of call.

    Attributes:
        tool: the tool that is called.
        arguments: what it is called with.
        structured: the structured content that must come back.
        text: the text that must come back, or what it must mean if `json_text`.
        era: `SESSION` or the revision `STATELESS`.
        connections: at how many connections at once.
        progress: number of progress reports that must come before the result.
        logged: number of log messages that must.
        handshake: it is no call, but the opening of a session.
        authorized: every request has an access token, and the server is one that lets nobody in without.
        listeners: streams that hear of the change that the call makes.
        long: it takes so long that a second is too short a turn: what is under way at its end counts for nothing.
    """

    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)
    structured: Any = None
    text: Any = ""
    json_text: bool = False
    era: str = SESSION
    connections: int = 16
    progress: int = 0
    logged: int = 0
    handshake: bool = False
    authorized: bool = False
    listeners: int = 0
    long: bool = False

    def notifications(self, token: int) -> list[dict[str, Any]]:
        """Return the notifications that must come before the result."""
        if self.logged:
            params: list[dict[str, Any]] = [
                {"level": "info", "data": str(number)} for number in range(1, self.logged + 1)
            ]
            return [{"method": "notifications/message", "params": each} for each in params]
        params = [
            {"progressToken": token, "progress": number, "total": self.progress}
            for number in range(1, self.progress + 1)
        ]
        return [{"method": "notifications/progress", "params": each} for each in params]


def _echo(text: str) -> Work:
    return Work(tool="echo", arguments={"text": text}, structured={"result": text}, text=text)


def _count(n: int) -> Work:
    return Work(tool="count", arguments={"n": n}, structured={"result": n}, text=str(n), progress=n)


_LINE: Final = "The quick brown fox jumps over the lazy dog 0123456789 ........ "
_CUSTOMER: Final = {"name": "Ada Lovelace", "email": "ada@example.com", "city": "London"}
_RECEIPT: Final = {"customer": _CUSTOMER, "item": "tea", "quantity": 3, "total": 12.75, "express": True}

ECHO: Final = _echo("hello from the load generator")
ECHO_AT_8: Final = replace(ECHO, connections=8)
ECHO_AT_32: Final = replace(ECHO, connections=32)
ECHO_AT_512: Final = replace(ECHO, connections=512)
ECHO_SYNC: Final = replace(ECHO, tool="echo_sync")
BLOCKED: Final = 0.1  # seconds
BLOCK: Final = Work(
    tool="block",
    arguments={"seconds": BLOCKED},
    structured={"result": BLOCKED},
    text=str(BLOCKED),
    connections=400,
    long=True,
)
ECHO_AUTHORIZED: Final = replace(ECHO, authorized=True)
ECHO_STATELESS: Final = replace(ECHO, era=STATELESS)
ECHO_STATELESS_AUTHORIZED: Final = replace(ECHO_STATELESS, authorized=True)
ECHO_MIB: Final = replace(_echo(_LINE * (MIB // len(_LINE))), connections=2, long=True)
ORDER: Final = Work(
    tool="order",
    arguments={"item": "tea", "quantity": 3, "price": 4.25, "express": True, "customer": _CUSTOMER},
    structured=_RECEIPT,
    text=_RECEIPT,
    json_text=True,
)
STEP: Final = _count(1)
STEP_STATELESS: Final = replace(STEP, era=STATELESS)
COUNT: Final = replace(_count(MANY), connections=2, long=True)
TELL: Final = replace(COUNT, tool="tell", progress=0, logged=MANY)
HANDSHAKE: Final = Work(tool="", handshake=True)
CHANGE: Final = Work(
    tool="change",
    structured={"result": "changed"},
    text="changed",
    connections=1,
    listeners=FEW_LISTENERS,
)
CHANGE_FOR_MANY: Final = replace(CHANGE, listeners=MANY_LISTENERS)
