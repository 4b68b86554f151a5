"""Time limits and intervals, handed in where an object is constructed, so that a test can shorten them.

This module imports nothing of the package.
"""

from msgspec import Struct


class Timings(Struct, frozen=True, kw_only=True):
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
        response_grace: in which calls may still get their own response, after a session loop wrote a response
            without an id: the response to one of them is lost.
        bridge_farewell: that requests have to get their answers when the session of a bridge is over, and events
            to get into their store.
        slow_request: after which a request counts as slow, so that its client is watched: most are answered
            before, and need no timers.
        farewell: for telling a client that the server gives up its request.
        reader_wait: for which a producer waits for a reader that does not read, before it counts as stalled.
        detaching: for which a connection may take its last bytes when its stream continues without it.
        event_gathering: for which events are gathered before they are written to the log, unless the stream ends.
        log_retries: for which a log that refuses is tried again; its events are lost then.
        resume_lookup: between two looks for a stream that is not in the log yet, as its client was cut off at
            once.
        sent_event_check: for another worker to answer whether it sent an event.
        reader_renewal: after which a reader of a stream tells the worker that writes it that it is still there.
        reader_poll: after which a reader looks into the log although no worker has said that there is more.
        stream_retention: for which a stream is retained for a client that was disconnected.
        session_freshness: for which the record of a session counts, unless another worker tells of a change.
        session_freshness_alone: the same with a store that no other process writes to.
        unwinding: for a handler to unwind after it was cancelled; then its caller gets the outcome all the same.
        prepare_delay: after the start of a server, before tools are built ahead of their first call; whatever
            waits for the start has its answer by then.
        change_debounce: within which changes of one kind are sent as one notification.
        change_retry: after which a change is sent again to a client whose buffer was full.
        thread_idle: after which a thread of plain `def` handlers ends that has nothing to do.
        thread_check: between two looks at the threads while calls wait for one.
        thread_wait: for which calls have to wait for a thread before the log has a line about it.
        thread_wait_log: between two such lines.
        lease: for which a worker counts as alive without a renewal.
        lease_renewal: between two renewals of a lease.
        task_farewell: for tasks to come to their end when the server stops, and for side effects of durable ones.
        lease_grace: for which a worker without a lease counts as alive. A store that lost its data has lost the
            leases of live workers as well; longer than `lease_renewal`, so that they can renew them.
        poll_interval: between two reads of the store for what a lost message might have told.
        outcome_wait: for which a call waits for another one that runs with the same arguments or key.
        answer_retention: for which an answer waits in the store for the worker that asked.
        secret_poll: between two reads of the store for secrets because of tokens that cannot be opened: anybody
            can send those.
        secret_wait: for which a worker that has created a secret waits for others to restore theirs.
        secret_wait_poll: between two reads of the store during `secret_wait`.
        agreement_retries: after each failed attempt to agree with the store. A file that was replaced fails once
            for each connection to the old one.
        code_redemption: after which the redemption of an authorization code counts as cut off; its request has
            a limit far below.
        consent_round: for which a call waits for a consent that its client says is under way, before it asks
            again: official clients ask 10 times, and without a pause.
        token_refresh: for which a worker may refresh a token of another service before another one tries.
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
    response_grace: float = 2.0
    bridge_farewell: float = 1.0
    slow_request: float = 0.01
    farewell: float = 1.0
    reader_wait: float = 5.0
    detaching: float = 1.0
    event_gathering: float = 0.02
    log_retries: float = 30.0
    resume_lookup: float = 0.05
    sent_event_check: float = 1.0
    reader_renewal: float = 5.0
    reader_poll: float = 1.0
    stream_retention: float = 30.0
    session_freshness: float = 5.0
    session_freshness_alone: float = 60.0
    unwinding: float = 1.0
    prepare_delay: float = 1.0
    change_debounce: float = 0.05
    change_retry: float = 1.0
    thread_idle: float = 30.0
    thread_check: float = 0.02
    thread_wait: float = 0.5
    thread_wait_log: float = 30.0
    lease: float = 12.0
    lease_renewal: float = 3.0
    task_farewell: float = 3.0
    lease_grace: float = 5.0
    poll_interval: float = 1.0
    outcome_wait: float = 60.0
    answer_retention: float = 300.0
    secret_poll: float = 1.0
    secret_wait: float = 2.0
    secret_wait_poll: float = 0.1
    agreement_retries: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2)
    code_redemption: float = 30.0
    consent_round: float = 20.0
    token_refresh: float = 20.0
    folder_lock_wait: float = 5.0
