"""Which store a `store=` URL names.

The modules of a store are imported when its URL is opened, so that a server loads the one that it uses.
"""

import os

from enfilade.state.store import LogLimits, Store
from enfilade.timings import Timings


def check_location(url: str) -> None:
    """Check at start-up that the store named by a URL can exist.

    A running server waits for its store to come back; with a wrong name it would wait for ever.

    Raises:
        ValueError: the directory of an SQLite file does not exist; the text names it.
    """
    if url.startswith("sqlite:"):
        from enfilade.state.sqlite.store import sqlite_path

        directory = os.path.dirname(sqlite_path(url))
        if not os.path.isdir(directory):
            raise ValueError(f"store={url!r}: there is no directory {directory}; make it, or name another file")


def open_store(url: str, limits: LogLimits | None = None, timings: Timings = Timings()) -> Store:
    """Return the store that a URL names; it opens nothing before `start`.

    Args:
        url: `memory://`: in this process, lost with it. `sqlite:///relative.db`, `sqlite:////absolute.db`: a
            file for all processes of one host. `redis://`, `rediss://` (TLS), `valkey://`, `valkeys://`: a server
            for many hosts.
        limits: limits of the event log.
        timings: time limits and intervals of the store.

    Raises:
        ValueError: no such kind of store, or it needs a package that is not installed; the text says what to do.
    """
    scheme = url.partition("://")[0]
    if scheme == "memory":
        from enfilade.state.memory import MemoryStore

        return MemoryStore(limits or LogLimits())
    if scheme == "sqlite":
        from enfilade.state.sqlite.store import SqliteStore

        return SqliteStore(url, limits or LogLimits(), timings)
    if scheme in ("redis", "rediss", "valkey", "valkeys"):
        from enfilade.state.redis.store import RedisStore

        return RedisStore(url, limits or LogLimits(), timings)
    examples = "memory://, sqlite:///file.db, redis://host:6379/0"
    prefix = url[: len(scheme) + len("://")]  # the rest may hold a password
    raise ValueError(f"store={prefix!r}: unknown kind of store {scheme!r}; use one of {examples}")
