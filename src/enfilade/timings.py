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
        eviction_head: for which the head of a request may be on its way before the connection makes room for a
            new one.
        eviction_body: the same for a body, which after that has to be fast enough.
        reserve_head: for the head of a request on a connection above `max_connections`: probes send theirs at
            once.
        parse_turn: of parsing the input of one connection, after which the event loop serves others.
        unread_progress: without progress after which a client counts as one that does not read its response.
        answer_grace: in which calls may still get their own answer, after a session loop wrote an answer without
            an id: the answer of one of them is lost.
        bridge_farewell: that requests have to get their answers when the session of a bridge is over, and events
            to get into their store.
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
    eviction_head: float = 1.0
    eviction_body: float = 2.0
    reserve_head: float = 2.0
    parse_turn: float = 0.0003
    unread_progress: float = 2.0
    answer_grace: float = 2.0
    bridge_farewell: float = 1.0
    folder_lock_wait: float = 5.0
