"""The limit for the number of values in a large message.

Bytes are no measure for what a message costs: four megabytes of text are read in milliseconds, four megabytes of
`[],[],…` become over a million objects. So the arrays and objects of a large message are counted in its bytes,
before anything is decoded.
"""

import re
from typing import Final

from msgspec import UNSET, UnsetType

from enfilade.transports.refusal_log import RefusalError
from enfilade.wire.jsonrpc import INVALID_REQUEST, PARSE_ERROR, Envelope, RequestId, RpcError, decode

#: Size in bytes up to which the values of a message are not counted.
LARGE_MESSAGE: Final = 64 * 1024

#: Arrays and objects that any large message may hold.
_FREE: Final = 65_536
#: Bytes of a message for each array or object beyond that.
_BYTES_EACH: Final = 32

#: A string, also one without an end, so that no search starts twice in the same bytes.
_STRING_PATTERN: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_STRING: Final = re.compile(_STRING_PATTERN, re.DOTALL)
#: A chunk of a message that ends where no string is open. It has so few strings that little is copied at once.
_CHUNK: Final = re.compile(rb'(?:[^"]++|' + _STRING_PATTERN + rb"){1,8192}+", re.DOTALL)


def check_values(body: bytes) -> None:
    """Check that a large message does not hold too many arrays and objects.

    Raises:
        RefusalError: INVALID_REQUEST with HTTP status 413, and with the id of the message if it has one.
        RpcError: PARSE_ERROR for what is no JSON.
    """
    most = max(_FREE, len(body) // _BYTES_EACH)
    if _containers(body) <= most or not _holds_more(body, most):
        return
    text = f"Invalid request: a message of this size holds at most {most} arrays and objects"
    raise RefusalError("", INVALID_REQUEST, text, id=_id_of(body), status=413)


def _holds_more(body: bytes, most: int) -> bool:
    """Whether there are more arrays and objects than that, brackets within strings not counted."""
    count = 0
    for chunk in _CHUNK.finditer(body):
        count += _containers(_STRING.sub(b"", chunk.group()))
        if count > most:
            return True
    return False


def _containers(json: bytes) -> int:
    return json.count(b"[") + json.count(b"{")


def _id_of(body: bytes) -> RequestId | UnsetType:
    """Return the id of a message, which is found without building the rest of it.

    Raises:
        RpcError: PARSE_ERROR.
    """
    try:
        envelope = decode(body)
    except RpcError as error:
        if error.code == PARSE_ERROR:
            raise
        return error.id
    return envelope.id if isinstance(envelope, Envelope) else UNSET
