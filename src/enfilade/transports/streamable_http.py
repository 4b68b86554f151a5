"""The Streamable HTTP transport: both eras on one endpoint, as a bare ASGI callable.

Theory of operation. A request is judged in a fixed order, because the protocol's statuses depend on it
(protocol §1.6): Host and Origin, who is asking, the HTTP method, size and media types, JSON, JSON-RPC, and only
then the era. A POST goes on to `post.py`; this file is what surrounds it.

    doorway ─▶ Request (one Peer) ─▶ Dispatcher ─▶ Answer (JSON until it must stream)

The easy thing to get wrong is to commit too early: everything that has a status of its own (400, 403, 404) is
decided before the first byte of a stream.
"""

from collections.abc import Callable, MutableMapping
from typing import Any, Final

import msgspec

from enfilade.serving.dispatcher import Dispatcher, masked
from enfilade.serving.exchange import InFlight
from enfilade.serving.live import Questions
from enfilade.serving.peer import Peer
from enfilade.transports.answer import AnswerOptions, Receive, send_empty, send_json
from enfilade.transports.get_stream import OpenStreams
from enfilade.transports.guard import Guard, cors, preflight
from enfilade.transports.incoming import check_version
from enfilade.transports.post import Post
from enfilade.transports.sessions import Session, Sessions
from enfilade.transports.stream import Headers, Send
from enfilade.wire import headers as http
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError, encode_error
from enfilade.wire.lifecycle import InitializeRequestParams
from enfilade.wire.revisions import LONGEST_BATCH, STATELESS, UNSUPPORTED

Scope = MutableMapping[str, Any]
Principal = Callable[[Scope], str | None]

_POST_ONLY: Final[Headers] = [(b"allow", b"POST")]
_OFFERED: Final[Headers] = [(b"allow", b"GET, POST, DELETE, OPTIONS")]


def authenticated_user(scope: Scope) -> str | None:
    """Return who the host's own authentication says is asking, the way Starlette's middleware leaves it."""
    user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(getattr(user, "identity", None) or user.display_name)


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the doorway allows.

    Attributes:
        answers: how answers behave.
        body_limit: largest body in bytes.
        batch_limit: most messages in one 2025-03-26 batch.
        sessions: whether session-era clients get sessions; without, each of their requests stands alone.
    """

    answers: AnswerOptions = AnswerOptions()
    body_limit: int = 4 * 1024 * 1024
    batch_limit: int = LONGEST_BATCH
    sessions: bool = True


class StreamableHTTP:
    """Serves one MCP endpoint.

    Args:
        dispatcher: runs the requests.
        guard: Host and Origin checks.
        sessions: opens and finds sessions.
        options: limits and manners.
        principal: says who is asking; sessions are bound to the answer.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        guard: Guard,
        sessions: Sessions,
        options: HttpOptions,
        principal: Principal = authenticated_user,
    ) -> None:
        self.dispatcher = dispatcher
        self.options = options
        self.in_flight = InFlight()
        self.questions = Questions()
        self.streams = OpenStreams(dispatcher.changes, sessions, options.answers)
        self._guard = guard
        self._sessions = sessions
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request for the endpoint, whatever its path."""
        headers: Headers = []
        try:
            fields = http.read(scope["headers"])
            self._guard.check(fields)
            origin = fields.get(b"origin")
            if origin is not None:
                headers = cors(origin)
            principal = self._principal(scope)
            if scope["method"] == "POST":
                await Post(self, fields, headers, principal, receive, send).serve()
            else:
                await self._other(scope["method"], fields, headers, principal, receive, send)
        except RpcError as error:
            await send_json(send, error.status or 400, encode_error(None, error), headers)
        except Exception as error:  # a failing store or host hook fails this request and nothing else
            failure = masked(error, "an HTTP request could not be served")
            await send_json(send, 500, encode_error(None, failure), headers)

    async def _other(
        self,
        method: str,
        fields: dict[bytes, bytes],
        headers: Headers,
        principal: str | None,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer what is not a POST (E-22, E-23, E-24)."""
        version = version_of(fields)
        if version in STATELESS:
            error = RpcError(INVALID_REQUEST, f"{method} is not part of revision {version}")
            await send_json(send, 405, encode_error(None, error), [*headers, *_POST_ONLY])
        elif method == "OPTIONS" and b"origin" in fields:
            await send_empty(send, 204, preflight(fields[b"origin"], fields))
        elif method == "DELETE" and self.options.sessions:
            check_version(version)
            await self._end(await self.session(fields, principal))
            await send_empty(send, 204, headers)
        elif method == "GET" and self.options.sessions:
            check_version(version)
            session = await self.session(fields, principal)
            await self.streams.serve(session, fields, headers, receive, send)
        else:
            error = RpcError(INVALID_REQUEST, f"{method} is not offered here; messages are POSTed")
            offered = _OFFERED if self.options.sessions else _POST_ONLY
            await send_json(send, 405, encode_error(None, error), [*headers, *offered])

    async def session(self, fields: dict[bytes, bytes], principal: str | None) -> Session:
        """Return the session a request names.

        Raises:
            RpcError: HTTP 400 without an id (R-313) or with another revision than was agreed on (E-19),
                404 for anything that is no live session of this principal (R-315, R-317).
        """
        token = fields.get(http.SESSION_ID)
        if token is None:
            raise RpcError(INVALID_REQUEST, "Missing session ID: send initialize first", status=400)
        session = await self._sessions.find(token.strip(), principal)
        if session is None:
            raise RpcError(INVALID_REQUEST, "Session not found: send initialize again", status=404)
        version = version_of(fields)
        if version and version != session.peer.revision:
            agreed = f"{UNSUPPORTED} {version!r}: this session agreed on {session.peer.revision}"
            raise RpcError(INVALID_REQUEST, agreed, status=400)
        return session

    async def _end(self, session: Session) -> None:
        """End a session: let nobody use it again, and cancel what runs for it here (R-316)."""
        await session.end()
        self.in_flight.cancel_all(session.peer.session_id, "the session was ended")
        self.streams.end(session)

    def introduce(
        self, params: InitializeRequestParams, revision: str, principal: str | None
    ) -> tuple[Peer, Session | None, str | None]:
        """Return the peer that introduces itself by `initialize`, and its session with the id for it, if any."""
        if self.options.sessions:
            session, token = self._sessions.create(params, revision, principal)
            return session.peer, session, token
        info, capabilities = params.client_info, params.capabilities
        peer = Peer(revision=revision, client_info=info, capabilities=capabilities, principal=principal)
        return peer, None, None


def version_of(fields: dict[bytes, bytes]) -> str:
    """Return the text of the `MCP-Protocol-Version` header, empty if it is absent."""
    return fields.get(http.PROTOCOL_VERSION, b"").strip().decode("latin-1")
