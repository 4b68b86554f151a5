"""Extensions of the protocol (SEP-2133): the contract, for those who write one.

`app.add_extension(extension)` adds one. `docs/extensions.md` builds one.
"""

from enfilade.serving.channel import Peer
from enfilade.serving.dispatcher import MethodHandler, Middleware
from enfilade.serving.extensions.contract import Extension, invalid_params
from enfilade.serving.extensions.method import ExtensionHandler, NotificationHandler
from enfilade.serving.request import Request
from enfilade.wire.jsonrpc import RpcError
from enfilade.wire.message import Message, RequestParams, Result

__all__ = [
    "Extension",
    "ExtensionHandler",
    "Message",
    "MethodHandler",
    "Middleware",
    "NotificationHandler",
    "Peer",
    "Request",
    "RequestParams",
    "Result",
    "RpcError",
    "invalid_params",
]
