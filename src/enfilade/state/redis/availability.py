"""Whether the Redis server can be reached: what to say when it cannot, once, and how long not to ask again.

The easy thing to get wrong is the herd: while the server is away every operation fails, so each may neither wait
for its own time-out nor write a line of its own to the log.
"""

import logging
from typing import TYPE_CHECKING, Final

from redis import exceptions

from enfilade.state.store import StoreError

if TYPE_CHECKING:
    from enfilade.state.redis.address import Address

log = logging.getLogger("enfilade.state")

#: What a connection can fail with, beside what Redis answers: no such host, refused, cut, no TLS, too slow.
FAILURES: Final = (exceptions.RedisError, OSError, UnicodeError)
#: Seconds after a failed exchange in which no other is tried.
_REST: Final = 0.5
_EXCERPT: Final = 200

# What the client makes of an answer differs with its version: some codes become a class, others stay in the text.
# The first row of which a word is found in either counts.
_ADVICE: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("OutOfMemoryError", "OOM "), "it is full (maxmemory); give it more memory, or keep fewer events"),
    (("ReadOnlyError", "READONLY"), "it is a replica, which takes no writes; name the primary in store="),
    (("BusyLoadingError", "LOADING"), "it is loading its data; it will be ready in a while"),
    (("Authentication required", "NOAUTH"), "it wants a password; put one into store=redis://:password@host"),
    (
        ("AuthenticationError", "AuthenticationWrongNumberOfArgsError", "WRONGPASS", "invalid password"),
        "it refused the user or password; correct them in store=",
    ),
    (
        ("NoPermissionError", "NOPERM"),
        "its user may not do this; allow the commands get, set, del, unlink, eval, exists, pexpire, xadd, "
        "xrange, xrevrange, publish, subscribe and ping, and the keys and channels of the prefix",
    ),
    (("max number of clients", "MaxClientsError"), "it has too many clients; raise its maxclients"),
    (("MISCONF",), "it cannot write its data to disk and takes no writes; see its log, make room on its disk"),
    (("MasterDownError", "MASTERDOWN"), "it is a replica that has lost its primary; name the primary in store="),
    (("NOREPLICAS",), "it has too few replicas to take writes; see its min-replicas-to-write"),
    (
        ("MovedError", "MOVED", "AskError", "ASK ", "CLUSTERDOWN", "ClusterDownError", "CROSSSLOT", "CrossSlot"),
        "it is part of a cluster, which is not supported; name a server that stands alone, or its primary",
    ),
    (("WRONGTYPE",), "another program uses the same keys; give each its own with ?prefix= in store="),
    (("Invalid Database", "DB index is out of range"), "it has no such database; correct the number in store="),
    (("unknown command", "NOMKSTREAM"), "it does not know a command; Redis 6.2 or newer, or Valkey, is needed"),
    (("DENIED", "protected mode"), "it is in protected mode; give it a password, or turn protected-mode off"),
    (("BUSY ",), "it is busy with a script of another program"),
    (("CERTIFICATE_VERIFY_FAILED",), "its certificate is not trusted; name the authority in ?ssl_ca_certs="),
    (("WRONG_VERSION_NUMBER",), "it speaks no TLS on this port; use redis:// or its TLS port"),
    (("InvalidResponse", "Protocol error"), "what answers there is no Redis or Valkey server; see host and port"),
)


class Reach:
    """What is known about one server's being there.

    Args:
        address: the server's.
    """

    def __init__(self, address: "Address") -> None:
        self._address = address
        self._lost: set[str] = set()
        self._closed_until = 0.0
        self._why = ""

    @property
    def reported(self) -> bool:
        """Whether the log says that it is away."""
        return bool(self._lost)

    def complaint(self, error: BaseException) -> StoreError:
        """Return the error that says what is wrong and what to do about it."""
        said = self._address.without_password(str(error))
        known = f"{type(error).__name__} {said}"
        for words, advice in _ADVICE:
            if any(word in known for word in words):
                return StoreError(f"the store {self._address.name}: {advice}")
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            return StoreError(f"the store {self._address.name} does not answer in time")
        if isinstance(error, exceptions.ResponseError):
            return StoreError(f"the store {self._address.name} answered: {said[:_EXCERPT]}")
        return StoreError(f"the store {self._address.name} is out of reach: {said[:_EXCERPT]}")

    def check(self, now: float) -> None:
        """Refuse to ask a server that has just failed.

        Args:
            now: the event loop's time, seconds.

        Raises:
            StoreError: it failed less than half a second ago.
        """
        if now < self._closed_until:
            raise StoreError(self._why)

    def lost(self, part: str, why: StoreError) -> None:
        """Note that one way to the server is gone; said in the log if all were well."""
        if not self._lost:
            log.warning("%s", why)
        self._lost.add(part)

    def rest(self, now: float, why: StoreError) -> None:
        """Let `check` refuse for a short time."""
        self._closed_until, self._why = now + _REST, str(why)

    def back(self, part: str) -> None:
        """Note that one way to the server works; said in the log if it was the last one that did not."""
        if part in self._lost:
            self._lost.discard(part)
            if not self._lost:
                log.warning("the store %s is back", self._address.name)
