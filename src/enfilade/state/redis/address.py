"""Where a Redis or Valkey server is, from a `store=` URL, and connections to it.

The easy thing to get wrong is the password: it is part of the URL, and errors like to quote what they could not
read. So nothing here quotes the URL, `name` is the address without it, and `without_password` is what every text
from the client or the server goes through.
"""

import urllib.parse
from typing import Any, Final

from redis.asyncio import Connection, SSLConnection
from redis.exceptions import RedisError

#: Seconds for everything that one exchange with the server takes: connecting, sending, and all the answers.
PATIENCE: Final = 2.0
_PORT: Final = 6379
_PREFIX: Final = "enfilade:"
_TLS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_FORM: Final = (
    "write it as redis://user:password@host:6379/0, with rediss:// for TLS, "
    "and with %XX for characters of the password other than letters and digits"
)


class Address:
    """What a URL says.

    Args:
        url: `redis://`, `rediss://` (TLS), `valkey://` or `valkeys://` (TLS), then `user:password@host:port/0`,
            of which all but the host can be left out. `?prefix=` is what all keys and channels begin with. With
            TLS also `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` (files), `ssl_cert_reqs` (none, optional,
            required) and `ssl_check_hostname` (true, false).

    Attributes:
        name: the address for texts, without user, password and options.
        prefix: what all keys and channels begin with.
        database: its number.

    Raises:
        ValueError: it cannot be read; the text says how it should look.
    """

    def __init__(self, url: str) -> None:
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
        self.connection()  # so that what the client will not take is said now

    def _read_tls(self, options: dict[str, str]) -> dict[str, str]:
        known = ("prefix", *(_TLS if self._secure else ()))
        for option in options:
            if option not in known:
                raise ValueError(
                    f"store= has an unknown option {option!r}; known for this URL: {', '.join(known)}"
                )
        if options.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
            raise ValueError("store= has an unknown ssl_cert_reqs; use one of none, optional, required")
        if options.get("ssl_check_hostname", "true") not in ("true", "false"):
            raise ValueError("store= has an unknown ssl_check_hostname; use true or false")
        return options

    def connection(self) -> Connection:
        """Return a connection that is not open yet, has no time limits, and never tries anything twice.

        Raises:
            ValueError: the client does not take what the URL says.
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
            "socket_connect_timeout": PATIENCE,
            "socket_keepalive": True,
        }
        try:
            if not self._secure:
                return Connection(**common)
            return SSLConnection(
                **common,
                ssl_cert_reqs=self._tls.get("ssl_cert_reqs", "required"),
                # Before version 6 the client looked only at who had signed the certificate, not at whose it is.
                ssl_check_hostname=self._tls.get("ssl_check_hostname", "true") == "true"
                and self._tls.get("ssl_cert_reqs") != "none",
                ssl_ca_certs=self._tls.get("ssl_ca_certs"),
                ssl_certfile=self._tls.get("ssl_certfile"),
                ssl_keyfile=self._tls.get("ssl_keyfile"),
            )
        except RedisError as error:
            raise ValueError(f"store={self.name}: {self.without_password(str(error))}") from None

    def without_password(self, text: str) -> str:
        """Return the text without the password, in case it was quoted there."""
        return text.replace(self._password, "***") if self._password else text
