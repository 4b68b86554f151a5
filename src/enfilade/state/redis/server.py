"""The Redis or Valkey server of a store: its address, its availability, and advice for its errors.

The easy things to get wrong are the password and the herd. The password is part of the URL, and errors like to
quote what they could not read. So nothing here quotes the URL, `ServerAddress.name` is the address without it,
and every text from the client or the server passes through `ServerAddress.without_password`. And while the server
is unavailable every operation fails, so each may neither wait for its own time-out nor write a line of its own to
the log.
"""

import logging
import urllib.parse
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Connection, SSLConnection

from enfilade.state.store import StoreError
from enfilade.timings import Timings

log = logging.getLogger("enfilade.state")

_PORT: Final = 6379
_PREFIX: Final = "enfilade:"
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_FORM: Final = (
    "write it as redis://user:password@host:6379/0, with rediss:// for TLS, "
    "and with %XX for characters of the password other than letters and digits"
)

#: Errors of a connection, besides the error replies of Redis: no such host, refused, cut, no TLS, too slow.
FAILURES: Final = (exceptions.RedisError, OSError, UnicodeError)
#: Seconds after a failed exchange in which no other is tried.
_BACK_OFF: Final = 0.5
_EXCERPT: Final = 200

# Versions of the client differ in which error codes become a class and which stay in the text. The first row with
# a token in the class name or the text applies.
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
        "its user may not do this; allow the commands get, set, del, unlink, eval, evalsha, time, exists, "
        "pexpire, persist, xadd, xrange, xrevrange, hget, hset, zadd, zrem, zcard, zrangebyscore, zrangebylex, "
        "publish, subscribe and ping, and the keys and channels of the prefix",
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


class ServerAddress:
    """The parts of a URL.

    Args:
        url: `redis://`, `rediss://` (TLS), `valkey://` or `valkeys://` (TLS), then `user:password@host:port/0`,
            of which all but the host are optional. `?prefix=` is the prefix of all keys and channels. With TLS
            also `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files), `ssl_cert_reqs` (none, optional,
            required) and `ssl_check_hostname` (true, false).

    Attributes:
        name: the address without user, password and options, for messages.
        prefix: of all keys and channels.
        database: its number.

    Raises:
        ValueError: it cannot be read; the text says how it should look.
    """

    def __init__(self, url: str, timings: Timings = Timings()) -> None:
        self._timings = timings
        try:
            parts = urllib.parse.urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port or _PORT
            self._host.encode("idna")
            self.database = int(parts.path.strip("/") or 0)
        except ValueError:
            raise ValueError(f"store= cannot be read as the URL of a Redis or Valkey server; {_FORM}") from None
        if not self._host or self.database < 0:
            raise ValueError(f"store= names no host or no possible database; {_FORM}")
        self._secure = parts.scheme in ("rediss", "valkeys")
        self._user = urllib.parse.unquote(parts.username) if parts.username else None
        self._password = urllib.parse.unquote(parts.password) if parts.password else None
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.name = f"{parts.scheme}://{host}:{self._port}/{self.database}"
        options = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        self.prefix = options.pop("prefix", _PREFIX)
        if not self.prefix:
            raise ValueError("store= has an empty prefix; leave ?prefix= out, or name one, such as ?prefix=shop:")
        if not self.prefix.endswith(":"):
            self.prefix += ":"
        self._tls = self._read_tls(options)
        self.connection()  # so that what the client refuses is an error now

    def _read_tls(self, options: dict[str, str]) -> dict[str, str]:
        known_options = ("prefix", *(_TLS if self._secure else ()))
        for option in options:
            if option not in known_options:
                raise ValueError(
                    f"store= has an unknown option {option!r}; known for this URL: {', '.join(known_options)}"
                )
        if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
            raise ValueError("store= has an unknown ssl_cert_reqs; use one of none, optional, required")
        if options.get("ssl_check_hostname", "true") not in ("true", "false"):
            raise ValueError("store= has an unknown ssl_check_hostname; use true or false")
        return options

    def connection(self) -> Connection:
        """Return a connection that is not open yet, has no time limit for replies, and never retries.

        Raises:
            ValueError: the client refuses the options of the URL.
        """
        # RESP2: lists and byte strings in every version of the client and of the server.
        common: dict[str, Any] = {
            "host": self._host,
            "port": self._port,
            "db": self.database,
            "username": self._user,
            "password": self._password,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": self._timings.redis_exchange,
            "socket_keepalive": True,
        }
        try:
            if not self._secure:
                return Connection(**common)
            return SSLConnection(
                **common,
                ssl_cert_reqs=self._tls.get("ssl_cert_reqs", "required"),
                # Before version 6 the client did not check the host name of a certificate by default.
                ssl_check_hostname=self._tls.get("ssl_check_hostname", "true") == "true"
                and self._tls.get("ssl_cert_reqs") != "none",
                ssl_ca_certs=self._tls.get("ssl_ca_certs"),
                ssl_certfile=self._tls.get("ssl_certfile"),
                ssl_keyfile=self._tls.get("ssl_keyfile"),
            )
        except exceptions.RedisError as error:
            raise ValueError(f"store={self.name}: {self.without_password(str(error))}") from None

    def without_password(self, text: str) -> str:
        """Return the text with the password, if it is quoted there, replaced."""
        return text.replace(self._password, "***") if self._password else text


class ServerAvailability:
    """Whether the server can be reached: logs its loss and its return, each once, and pauses after a failure."""

    def __init__(self, address: "ServerAddress") -> None:
        self._address = address
        self._failing: set[str] = set()
        self._refuse_until = 0.0
        self._refusal = ""

    @property
    def is_lost(self) -> bool:
        """Whether it has been logged that the server cannot be reached."""
        return bool(self._failing)

    def explain(self, error: BaseException) -> StoreError:
        """Return the error of the store for an error of the client, with advice."""
        text = self._address.without_password(str(error))
        name_and_text = f"{type(error).__name__} {text}"
        for tokens, advice in _ADVICE:
            if any(token in name_and_text for token in tokens):
                return StoreError(f"the store {self._address.name}: {advice}")
        if isinstance(error, TimeoutError | exceptions.TimeoutError):
            return StoreError(f"the store {self._address.name} does not answer in time")
        if isinstance(error, exceptions.ResponseError):
            return StoreError(f"the store {self._address.name} answered: {text[:_EXCERPT]}")
        return StoreError(f"the store {self._address.name} is out of reach: {text[:_EXCERPT]}")

    def check(self, now: float) -> None:
        """Refuse an exchange with a server that has just failed.

        Args:
            now: the event loop's time, seconds.

        Raises:
            StoreError: it failed less than half a second ago.
        """
        if now < self._refuse_until:
            raise StoreError(self._refusal)

    def report_lost(self, purpose: str, error: StoreError) -> None:
        """Report that the connection for a purpose is lost; logged if no other was lost."""
        if not self._failing:
            log.warning("%s", error)
        self._failing.add(purpose)

    def back_off(self, now: float, error: StoreError) -> None:
        """Let `check` refuse for half a second."""
        self._refuse_until, self._refusal = now + _BACK_OFF, str(error)

    def report_back(self, purpose: str) -> None:
        """Report that the connection for a purpose works; logged if it was the last one that was lost."""
        if purpose in self._failing:
            self._failing.discard(purpose)
            if not self._failing:
                log.warning("the store %s is back", self._address.name)
