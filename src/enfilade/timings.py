"""Time limits and intervals, handed in where an object is constructed, so that a test can shorten them.

This module imports nothing of the package.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Durations in seconds.

    Attributes:
        store_operation: after which an operation of a store has failed if it has no outcome, so that no request
            waits for a store for longer.
        sqlite_lock_wait: for which a transaction waits for a lock of another process; shorter than
            `store_operation`, so that the error names the lock.
        sqlite_sweep_interval: between two deletions of expired rows: rare enough to cost nothing.
        sqlite_message_age: for which a message stays in the table; longer than any process takes to read it.
        sqlite_bus_interval: after which a process checks for messages even if the file shows no change, for file
            systems without reliable times.
        redis_exchange: for connecting, sending a batch and reading its replies. Below half of `store_operation`,
            as a batch may be preceded by another.
        redis_idle: after which a connection is probed before it is used: a proxy may have dropped it.
        redis_silence: after which the connection that receives messages is probed: a dead one looks like a quiet
            one.
        folder_lock_wait: for the lock under which private folders are created; it is held for moments only.
    """

    store_operation: float = 5.0
    sqlite_lock_wait: float = 4.0
    sqlite_sweep_interval: float = 10.0
    sqlite_message_age: float = 60.0
    sqlite_bus_interval: float = 0.5
    redis_exchange: float = 2.0
    redis_idle: float = 1.0
    redis_silence: float = 5.0
    folder_lock_wait: float = 5.0
