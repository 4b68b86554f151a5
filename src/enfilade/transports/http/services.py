"""What the requests of one endpoint share: its options, its limits, and the services behind it."""

import msgspec
from msgspec import UNSET

from enfilade.serving.client_requests.session import SessionAsker
from enfilade.serving.cluster import WorkerChannel
from enfilade.serving.dispatcher import Dispatcher
from enfilade.serving.request import InFlight
from enfilade.transports.http.event_log import SealedEventLog
from enfilade.transports.http.limits import RequestLimit, StreamQuota
from enfilade.transports.http.request_checks import BODY_MEMORY, BodyReader
from enfilade.transports.http.response import ResponseOptions
from enfilade.transports.http.sessions import Session, Sessions
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError
from enfilade.wire.notifications import CancelledNotificationParams
from enfilade.wire.revisions import LONGEST_BATCH


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint allows.

    Attributes:
        responses: how responses behave.
        body_limit: largest body in bytes.
        body_memory: bytes that unfinished bodies, and large ones of requests in flight, may take together.
        max_requests: requests in flight at once.
        max_streams: event streams that one principal, or one session, may have open.
        max_questions: unanswered questions of one principal, or one session.
        batch_limit: most messages in one 2025-03-26 batch.
        sessions: whether session-era clients get sessions; without, each of their requests stands alone.
        session_ttl: seconds without use after which a session may end.
        stream_age: seconds that a stream can be resumed after its last event.
    """

    responses: ResponseOptions = ResponseOptions()
    body_limit: int = 4 * 1024 * 1024
    body_memory: int = BODY_MEMORY
    max_requests: int = 1000
    max_streams: int = 64
    max_questions: int = 64
    batch_limit: int = LONGEST_BATCH
    sessions: bool = True
    session_ttl: float = 86_400.0
    stream_age: float = 3600.0


class Services(msgspec.Struct, frozen=True, kw_only=True):
    """What a request needs besides itself.

    Attributes:
        options: what the endpoint allows.
        dispatcher: runs requests.
        worker_channel: the store, and the workers that share it.
        sessions: the sessions of clients.
        asker: asks the clients of sessions.
        in_flight: the requests of sessions that wait for something, by their ids.
        event_log: where streams of sessions are recorded; None if they cannot be resumed.
        bodies: reads the bodies of requests.
        request_limit: bounds the requests in flight.
        stream_quota: bounds the open event streams.
    """

    options: HttpOptions
    dispatcher: Dispatcher
    worker_channel: WorkerChannel
    sessions: Sessions
    asker: SessionAsker
    in_flight: InFlight
    event_log: SealedEventLog | None
    bodies: BodyReader
    request_limit: RequestLimit
    stream_quota: StreamQuota

    async def find_session(self, fields: dict[bytes, bytes], principal: str | None) -> Session:
        """Return the session that a request names.

        Raises:
            RpcError: HTTP 400 without an id (R-313, E-16), 404 for anything that is no live session (R-315, E-17)
                of this principal (R-317, E-39).
        """
        token = fields.get(http.SESSION_ID)
        if token is None:
            raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
        session = await self.sessions.find(token.strip(), principal)
        if session is None:
            raise session_not_found()
        return session

    def cancel(self, session_id: str, params: CancelledNotificationParams) -> None:
        """Do what a client's `notifications/cancelled` asks, wherever the request is served (R-363)."""
        if not self.in_flight.cancel(session_id, params) and params.request_id is not UNSET:
            self.worker_channel.send("cancel", [session_id, params.request_id, params.reason or None])


def session_not_found() -> RpcError:
    """Return the one refusal of what is no live session, also of its requests in flight (R-315, R-317)."""
    return RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
