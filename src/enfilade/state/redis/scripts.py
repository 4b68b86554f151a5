"""Scripts of a Redis or Valkey server: each a decision in one step and one round trip."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from redis import exceptions

if TYPE_CHECKING:
    from enfilade.state.redis.connection import Connections, Reply

_encode: Final = msgspec.msgpack.Encoder().encode


class Script:
    """A script, which the server has under its digest once it was sent as a whole.

    Args:
        text: in Lua; `cmsgpack.unpack(ARGV[1])` are its arguments. Run twice, it must have the same effect.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

    async def run(
        self,
        connections: "Connections",
        names: Sequence[bytes],
        arguments: object,
        *more: bytes,
        is_read: bool = False,
    ) -> "Reply":
        """Run it and return its reply.

        Args:
            connections: to the server.
            names: of the keys.
            arguments: what MessagePack can encode.
            more: further arguments, as they are.
            is_read: whether it goes over the connection for long replies.

        Raises:
            StoreError: the server does not answer.
        """
        rest = (b"%d" % len(names), *names, _encode(arguments), *more)
        connection = connections.reads if is_read else connections.commands
        [reply] = await connection.execute_unchecked((b"EVALSHA", self._digest, *rest))
        if isinstance(reply, exceptions.NoScriptError):
            [reply] = await connection.execute((b"EVAL", self._text, *rest))
        if isinstance(reply, Exception):
            raise connections.availability.explain(reply)
        return reply
