"""The contract of extensions: what a package adds to the protocol of one app (SEP-2133, R-570, X-EXT-1).

An extension has an id, settings that the server declares, methods, notifications, and functions around calls of
tools. An app that has none pays nothing: their methods are not among those that transports know beforehand, and
a call passes no function of theirs.

Easy to get wrong: who has declared what. A client of 2026-07-28 declares its extensions with each request, one of
a session in its handshake (X-EXT-2); a method that needs the declaration is refused without it (R-571), after the
headers were compared with the body and before the parameters are checked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from enfilade.primitives.errors import named_in_errors
from enfilade.serving.channel import Peer
from enfilade.serving.extensions.method import (
    ExtensionHandler,
    ExtensionMethod,
    NotificationHandler,
    OpenParams,
    declared_by,
)
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import Message, RequestParams
from enfilade.wire.revisions import ALL, SINCE_1125

if TYPE_CHECKING:
    from enfilade.serving.dispatcher import Middleware
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.extensions.functions import FunctionMethod
    from enfilade.serving.request import Request
    from enfilade.serving.subscriptions import OpenTopics
    from enfilade.wire.lifecycle import ServerCapabilities

Settings = Mapping[str, Any] | Callable[[Peer], Mapping[str, Any] | None] | None

F = TypeVar("F", bound=Callable[..., Any])

#: An id has a prefix of labels, which is reversed DNS by convention, and a name (R-570).
_ID: Final = re.compile(r"[A-Za-z](?:[\w-]*\w)?(?:\.[A-Za-z](?:[\w-]*\w)?)*/\w(?:[\w.-]*\w)?", re.ASCII)
_METHOD: Final = re.compile(r"[A-Za-z][\w.-]*(?:/[\w.-]+)+", re.ASCII)
_DECLARING: Final = frozenset(revision for revision in ALL if revision in SINCE_1125)


class Extension:
    """An extension of the protocol, for `app.add_extension`.

    Args:
        id: a prefix and a name: `com.example/notes`.
        settings: what the server declares, `{}` by default; or `def settings(peer)`, where None declares nothing
            to that client.
        revisions: those in which it is declared and its methods exist; by default all that have extensions.

    Raises:
        ValueError: the id is not legal, or there is no such revision.
    """

    def __init__(self, id: str, *, settings: Settings = None, revisions: Iterable[str] | None = None) -> None:
        if not _ID.fullmatch(id):
            raise ValueError(
                f"the id of an extension is a prefix and a name, such as com.example/notes, not {id!r}"
            )
        self.id: Final = id
        self.revisions: Final = _revisions(revisions, _DECLARING)
        self._settings = settings
        self._methods: list[ExtensionMethod] = []
        self._functions: list[tuple[ExtensionMethod, FunctionMethod]] = []
        self._interceptors: list[Middleware] = []
        self._notifications: dict[str, NotificationHandler] = {}
        self._topics: dict[str, OpenTopics] = {}

    # -- what it adds ------------------------------------------------------------------------------------------

    @named_in_errors("extension.method")
    def method(
        self,
        name: str,
        *,
        name_header: str | None = None,
        requires_declaration: bool = False,
        revisions: Iterable[str] | None = None,
    ) -> Callable[[F], F]:
        """Let a function answer requests of a method; a decorator.

        Its parameters are the members of the params, and one that is annotated `Context` takes the context. It
        returns what JSON writes as an object, and raises `ToolError` for an error with its text.

        Args:
            name: the method: `notes/search`.
            name_header: the parameter that the header `Mcp-Name` must equal, over HTTP in 2026-07-28.
            requires_declaration: refuse clients that did not declare the extension.
            revisions: those that have the method; by default those of the extension.

        Raises:
            ValueError: the name is not legal or taken.
        """
        method = ExtensionMethod(
            name=name,
            handler=_unbound,
            revisions=self._checked(name, revisions),
            decode=_decode_open,
            name_header=name_header,
            requires=self.id if requires_declaration else None,
        )

        def add(function: F) -> F:
            from enfilade.serving.extensions.functions import FunctionMethod

            answering = FunctionMethod(name, function)
            if name_header is not None and name_header not in answering.parameters:
                raise ValueError(
                    f"name_header of {name} is a parameter of its function, and {name_header!r} is none"
                )
            self._functions.append((method, answering))
            return function

        return add

    @named_in_errors("extension.add_method")
    def add_method(
        self,
        name: str,
        handler: ExtensionHandler,
        *,
        params: type[Message] = RequestParams,
        name_header: str | None = None,
        requires_declaration: bool = False,
        revisions: Iterable[str] | None = None,
        check: Callable[[Request], Awaitable[None] | None] | None = None,
    ) -> None:
        """Let a handler of requests answer a method.

        Args:
            name: the method: `notes/search`.
            handler: `async def handler(request)`; `request.params` has the type of `params`. It returns a message
                of the protocol, or the members of the result.
            params: the type of the params, a `RequestParams` of `enfilade.extensions`.
            name_header: the member of the params that `Mcp-Name` must equal, over HTTP in 2026-07-28.
            requires_declaration: refuse clients that did not declare the extension.
            revisions: those that have the method; by default those of the extension.
            check: raises the error of a caller without the scopes of what a request names; it is called before
                middleware, which may send something (R-613).

        Raises:
            ValueError: the name is not legal or taken.
        """
        method = ExtensionMethod(
            name=name,
            handler=handler,
            revisions=self._checked(name, revisions),
            decode=msgspec.json.Decoder(params).decode,
            name_header=name_header,
            requires=self.id if requires_declaration else None,
            check=check,
        )
        self._methods.append(method)

    @named_in_errors("extension.notification")
    def notification(self, name: str) -> Callable[[F], F]:
        """Let `async def handler(params, peer)` take notifications that clients send; a decorator.

        Args:
            name: the method: `notifications/notes/read`.

        Raises:
            ValueError: the name is not legal or taken.
        """
        if not name.startswith("notifications/") or not _METHOD.fullmatch(name):
            raise ValueError(f"the method of a notification begins with notifications/, which {name!r} does not")
        if name in self._notifications:
            raise ValueError(f"{name} has a handler already")

        def add(handler: F) -> F:
            self._notifications[name] = handler
            return handler

        return add

    def around_tool_calls(self, function: F) -> F:
        """Put `async def fn(request, call_next)` around all calls of tools; a decorator.

        It is inside the app's middleware, and returns any result: that of `call_next(request)`, or another one.
        """
        self._interceptors.append(function)
        return function

    def add_topics(self, member: str, open_topics: OpenTopics) -> None:
        """Let clients listen to the extension, by a member of the filter of `subscriptions/listen`.

        Args:
            member: the attribute of `SubscriptionFilter`, which has to know it: `task_ids`.
            open_topics: reads what a request asks for; it raises `RpcError` for what cannot be listened to.
        """
        self._topics[member] = open_topics

    def _checked(self, name: str, revisions: Iterable[str] | None) -> frozenset[str]:
        """Check the name of a new method, and return the revisions that have it."""
        if not isinstance(name, str):
            raise TypeError('a method has a name: write @extension.method("notes/search")')
        if not _METHOD.fullmatch(name) or name.startswith("notifications/"):
            raise ValueError(f"the name of a method is such as notes/search, not {name!r}")
        chosen = _revisions(revisions, self.revisions)
        if any(method.name == name and method.revisions & chosen for method in self.own_methods):
            raise ValueError(f"{name} has a handler already")
        return chosen

    # -- for those who build on it -----------------------------------------------------------------------------

    def attach(self, app: Any) -> None:
        """Add tools, resources and prompts of the extension; called once, by `app.add_extension`."""

    def declare(self, request: Request, capabilities: ServerCapabilities) -> None:
        """Put what the server declares for the extension into the capabilities for the client of a request."""
        settings = self._settings
        members = settings(request.peer) if callable(settings) else settings or {}
        if members is None or request.peer.revision not in self.revisions:
            return
        if capabilities.extensions is UNSET:
            capabilities.extensions = {}
        capabilities.extensions[self.id] = dict(members)

    async def start(self) -> None:
        """Begin what runs beside requests; called with the lifespan of the app, after its set-up."""

    async def stop(self) -> None:
        """End it; called before the clean-up of the lifespan."""

    def client_settings(self, peer: Peer) -> dict[str, Any] | None:
        """Return the settings with which a client declared the extension; None if it did not."""
        return declared_by(peer, self.id)

    # -- what it has -------------------------------------------------------------------------------------------

    @property
    def own_methods(self) -> Sequence[ExtensionMethod]:
        """All methods; those of functions cannot be called before they are bound."""
        return [*self._methods, *(method for method, _ in self._functions)]

    @property
    def interceptors(self) -> Sequence[Middleware]:
        """What is around calls of tools, the first outermost."""
        return self._interceptors

    @property
    def notifications(self) -> Mapping[str, NotificationHandler]:
        """What takes notifications, by method."""
        return self._notifications

    @property
    def topics(self) -> Mapping[str, OpenTopics]:
        """What reads members of the filter of `subscriptions/listen`."""
        return self._topics

    @property
    def runs_beside_requests(self) -> bool:
        """Whether it has something to start or to stop."""
        return type(self).start is not Extension.start or type(self).stop is not Extension.stop

    def bound_methods(self, runner: HandlerRunner) -> list[ExtensionMethod]:
        """Return all methods, those of functions with what runs them."""
        bound = [
            msgspec.structs.replace(method, handler=partial(function.answer, runner))
            for method, function in self._functions
        ]
        return [*self._methods, *bound]


def _revisions(chosen: Iterable[str] | None, default: frozenset[str]) -> frozenset[str]:
    if chosen is None:
        return default
    revisions = frozenset([chosen] if isinstance(chosen, str) else chosen)
    if unknown := sorted(revisions.difference(ALL)):
        raise ValueError(f"there is no revision {unknown[0]!r}; there are {', '.join(ALL)}")
    return revisions


async def _unbound(request: Request) -> Message:
    raise RuntimeError(f"{request.method} was called before it was bound")


_members: Final = msgspec.json.Decoder(dict[str, Raw])


def _decode_open(raw: Raw) -> OpenParams:
    members = _members.decode(raw)
    meta: Raw | UnsetType = members.pop("_meta", UNSET)
    if meta is not UNSET and memoryview(meta)[0] != ord("{"):
        raise msgspec.ValidationError("Expected `object` - at `$._meta`")
    return OpenParams(meta=meta, members=Raw(msgspec.json.encode(members)))


class Extensions:
    """The extensions of one app, by id, in the order in which they were added."""

    def __init__(self) -> None:
        self._by_id: dict[str, Extension] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, extension: Extension) -> None:
        """Add one.

        Raises:
            TypeError: it is no extension.
            ValueError: another one has its id, or one of its methods.
        """
        if not isinstance(extension, Extension):
            raise TypeError(
                "app.add_extension() takes an Extension of enfilade.extensions, not "
                f"{extension.__name__ if isinstance(extension, type) else type(extension).__name__}"
            )
        if extension.id in self._by_id:
            raise ValueError(f"the app has the extension {extension.id} already")
        for method in extension.own_methods:
            for other in self._by_id.values():
                if any(method.name == own.name and method.revisions & own.revisions for own in other.own_methods):
                    raise ValueError(f"{extension.id} and {other.id} both have the method {method.name}")
        self._by_id[extension.id] = extension

    def get(self, id: str) -> Extension | None:
        """Return the extension with an id, if it was added."""
        return self._by_id.get(id)

    def all(self) -> list[Extension]:
        """Return all of them."""
        return list(self._by_id.values())


def invalid_params(reason: str) -> RpcError:
    """Return the INVALID_PARAMS error with a reason, for handlers of methods."""
    return RpcError(INVALID_PARAMS, f"Invalid params: {reason}")
