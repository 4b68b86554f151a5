"""A transport for the official client to a server in the same process, for tests of servers.

Needs the official client, `pip install "enfilade[client]"`. Messages are encoded and decoded as over stdio, so a
test sees what a client sees.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from enfilade.serving.dispatcher import Dispatcher
from enfilade.transports.message_connection import Connection


class Serveable(Protocol):
    """A server to connect to: an `MCPApp`."""

    def running(self) -> AbstractAsyncContextManager[Dispatcher]:
        """Start the server and yield its dispatcher."""
        ...


class _DirectOutlet:
    """Passes each message of the server to the client at once."""

    is_congested = False

    def __init__(self, deliver: Any) -> None:
        self._deliver = deliver

    def push(self, message: bytes) -> bool:
        self._deliver(message)
        return True

    def send(self, message: bytes) -> bool:
        self._deliver(message)
        return True

    def close_connection(self, retry: float | None) -> bool:
        return False

    async def wait_for_room(self) -> None:
        return

    async def write(self, message: bytes) -> None:
        self._deliver(message)


@asynccontextmanager
async def streams(app: Serveable, principal: str | None = None) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the (read, write) streams that the official client expects of a transport.

    Args:
        app: the server.
        principal: the client's identity, as if a host had authenticated it; None for none.
    """
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    async with app.running() as dispatcher, anyio.create_task_group() as tasks:
        to_client, client_reads = anyio.create_memory_object_stream[Any](float("inf"))
        client_writes, from_client = anyio.create_memory_object_stream[Any](0)

        def deliver(message: bytes) -> None:
            to_client.send_nowait(SessionMessage(jsonrpc_message_adapter.validate_json(message, by_name=False)))

        outlet = _DirectOutlet(deliver)
        connection = Connection(dispatcher, outlet, outlet.write, principal=principal)

        async def serve() -> None:
            async for message in from_client:
                connection.feed(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

        tasks.start_soon(serve)
        try:
            yield client_reads, client_writes
        finally:
            client_writes.close()
            from_client.close()
            tasks.cancel_scope.cancel()
            await connection.close()
            to_client.close()
            client_reads.close()
