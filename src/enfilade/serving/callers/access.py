"""Who may see and use what a server offers: scopes of operations, and functions that make items visible.

An item that is not visible is unknown: lists leave it out, and whatever names it gets the error of a name that
does not exist. One whose scopes the caller lacks is there, and to use it is refused with an error that names all
of them: HTTP 403 with a challenge for a client's request over HTTP (R-605), a plain error wherever there is no
response of its own (stdio, a batch, a call that a tool makes).

Easy to get wrong: middleware. It may send something before it calls on, which decides the status; so the
dispatcher checks first what the client asked for (R-613). And it may call on for something else, so each handler
checks again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import msgspec

from enfilade.serving.failures import ends_more, log_safely
from enfilade.wire.jsonrpc import INVALID_REQUEST, RpcError

if TYPE_CHECKING:
    from enfilade.primitives.access import Access
    from enfilade.primitives.resource_index import ResourceIndex
    from enfilade.serving.channel import Peer
    from enfilade.serving.principal import Principal
    from enfilade.serving.request import Request

log = logging.getLogger("enfilade.serving")

#: Grants every scope to the local user, as a value of the setting `stdio_scopes`.
EVERY_SCOPE: Final = "*"
#: Sets of scopes whose closure is remembered, and functions that are reported once.
_MOST_REMEMBERED: Final = 1024
#: Seconds of the event loop that a check of many URIs takes at a time.
_SLICE: Final = 0.005

NOTHING: Final[frozenset[Any]] = frozenset()


class Item(Protocol):
    """A tool, resource, template or prompt."""

    @property
    def access(self) -> Access | None:
        """Who may see and use it; None for everybody."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


class Caller(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        principal: who it is; None if that is unknown.
        peer: the client.
        local_scopes: what a client over stdio may do; None for any other.
        lists_all: whether lists hide nothing from it; what it may use is decided as for others.
    """

    principal: Principal | None
    peer: Peer
    local_scopes: frozenset[str] | None = None
    lists_all: bool = False


def caller_of(request: Request) -> Caller:
    """Return who makes a request, or made the request that led to it."""
    channel = request.root.channel
    return Caller(request.principal, request.peer, channel.local_scopes, channel.lists_all)


def needs(scopes: Sequence[str]) -> str:
    """Return the text of an error for scopes that an operation needs."""
    return f"This needs the scope{'s' if len(scopes) > 1 else ''} {' '.join(scopes)}"


def with_included(scopes: frozenset[str], hierarchy: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return scopes with those that they include, and that these include in turn (R-607)."""
    reached, waiting = set(scopes), list(scopes)
    while waiting:
        new = set(hierarchy.get(waiting.pop(), ())) - reached
        reached |= new
        waiting.extend(new)
    return frozenset(reached)


class AccessPolicy:
    """Decides who may see and use the items of one server.

    Args:
        scope_hierarchy: for a scope those that it includes (R-607).
        list_by_scope: leave out of lists what the caller lacks the scopes for.
        resources: what is at a URI; None if nothing is.
        lacks_scopes: makes the errors for requests over HTTP, from the request and the scopes; it returns None if
            nobody authenticates callers there.

    Attributes:
        leeway: seconds after the expiry of a token for which it is still accepted, as clocks differ.
    """

    def __init__(
        self,
        scope_hierarchy: Mapping[str, Sequence[str]] | None = None,
        *,
        list_by_scope: bool = False,
        resources: ResourceIndex | None = None,
        lacks_scopes: Callable[[Any, Sequence[str]], RpcError | None] = lambda http, scopes: None,
        leeway: float = 30.0,
    ) -> None:
        self.leeway = leeway
        self._hierarchy = scope_hierarchy or {}
        self._list_by_scope = list_by_scope
        self._closures: dict[frozenset[str], frozenset[str]] = {}
        self._reported: dict[int, object] = {}
        self._resources = resources
        self._lacks_scopes = lacks_scopes

    # -- one item ----------------------------------------------------------------------------------------------

    def admits(self, request: Request, access: Access) -> bool:
        """Whether an item is there for the caller of a request, who may then use it.

        Raises:
            RpcError: it is there, and the caller lacks scopes.
        """
        caller = caller_of(request)
        if not self.sees(caller, access):
            return False
        if not self.holds(caller, access.scopes):
            raise self.refusal(request, access.scopes)
        if access.scopes:
            request.root.channel.outlet.note_scopes(access.scopes)
        return True

    def sees(self, caller: Caller, access: Access | None) -> bool:
        """Whether an item is there for a caller."""
        if access is None or access.visible is None:
            return True
        visible = access.visible
        try:
            verdict = visible(caller.principal, caller.peer)
        except BaseException as error:
            if ends_more(error):
                raise
            self._report(visible, f"raised {type(error).__name__}", error)
            return False
        if verdict is True or verdict is False:
            return verdict
        self._report(visible, f"returned {type(verdict).__name__} in place of True or False")
        return False

    def holds(self, caller: Caller, scopes: Iterable[str]) -> bool:
        """Whether a caller has all of some scopes, by itself or by broader ones (R-607)."""
        if caller.principal is not None:
            granted = caller.principal.scopes
        elif caller.local_scopes is not None:
            granted = caller.local_scopes
        else:
            granted = NOTHING
        if caller.principal is None and EVERY_SCOPE in granted:
            return True
        return self._closure(granted).issuperset(scopes)

    def lists(self, caller: Caller, access: Access | None) -> bool:
        """Whether an item is in a caller's lists."""
        if access is None or caller.lists_all:
            return True
        return self.sees(caller, access) and (not self._list_by_scope or self.holds(caller, access.scopes))

    def require_for_all(self, uris: Iterable[str], request: Request) -> None:
        """Check that the caller of a request may read the resources at some URIs.

        Raises:
            RpcError: scopes are lacking; it names those of all of them (R-606).
        """
        caller = caller_of(request)
        self._require(request, caller, [self._scopes_at(uri, caller) for uri in uris])

    async def require_for_many(self, uris: Iterable[str], request: Request) -> None:
        """Check the same for many URIs, and let other requests go on meanwhile (R-714).

        A URI is compared with every template, which takes long for long ones and many templates.
        """
        caller = caller_of(request)
        found: list[Sequence[str]] = []
        since = time.monotonic()
        for uri in uris:
            found.append(self._scopes_at(uri, caller))
            if time.monotonic() - since > _SLICE:
                await asyncio.sleep(0)
                since = time.monotonic()
        self._require(request, caller, found)

    def _require(self, request: Request, caller: Caller, needed: Sequence[Sequence[str]]) -> None:
        if not all(self.holds(caller, scopes) for scopes in needed):
            raise self.refusal(request, dict.fromkeys(scope for scopes in needed for scope in scopes))

    def _scopes_at(self, uri: str, caller: Caller) -> Sequence[str]:
        """Return the scopes that reading a URI needs; none if nothing is there for the caller."""
        if self._resources is None or not self._resources.is_restricted:
            return ()
        match = self._resources.match(uri, partial(self.sees, caller))
        return () if match is None or match[0].access is None else match[0].access.scopes

    def may_hear(self, uri: str, caller: Caller) -> bool:
        """Whether a caller hears of an update of the resource at a URI: it may read it, or nothing is there."""
        if self._resources is None or not self._resources.is_restricted:
            return True
        match = self._resources.match(uri, partial(self.sees, caller))
        if match is None:
            return self._resources.match(uri, lambda access: True) is None
        return match[0].access is None or self.holds(caller, match[0].access.scopes)

    def refusal(self, request: Request, scopes: Iterable[str]) -> RpcError:
        """Return the error of a caller that lacks scopes; it says what is missing (X-AUTH-5, X-AUTH-31).

        Args:
            scopes: all that the operation needs (R-606).
        """
        scopes = list(scopes)
        http, caller = request.channel.http, caller_of(request)
        text, pronoun = needs(scopes), "them" if len(scopes) > 1 else "it"
        if request.parent is not None:
            return RpcError(INVALID_REQUEST, f"{text}, which the caller lacks")
        if http is not None:
            return self.refusal_over_http(scopes, caller, http)
        if caller.principal is not None:
            return RpcError(INVALID_REQUEST, f"{text}, which the caller lacks")
        if caller.local_scopes is not None:
            advice = f"ENFILADE_STDIO_SCOPES={','.join(scopes)} gives {pronoun} to the client of this process"
        else:
            advice = f'connect(app, principal=Principal("ada", scopes={scopes!r})) names who calls'
            advice += (
                f", and ENFILADE_STDIO_SCOPES={','.join(scopes)} gives {pronoun} to whoever is in this process"
            )
        return RpcError(INVALID_REQUEST, f"{text}, and nobody is known to call; {advice}")

    def refusal_over_http(self, scopes: Sequence[str], caller: Caller, http: object) -> RpcError:
        """Return the error of a request over HTTP, with its status and its challenge."""
        if (refusal := self._lacks_scopes(http, scopes)) is not None:
            return refusal
        nobody = ", and this server does not know who calls: it has no auth="
        reason = nobody if caller.principal is None else ", which the caller lacks"
        error = RpcError(INVALID_REQUEST, needs(scopes) + reason)
        error.status = 403
        challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
        error.headers = [(b"www-authenticate", challenge.encode())]
        return error

    # -- lists -------------------------------------------------------------------------------------------------

    def filters(self, items: Iterable[Item]) -> bool:
        """Whether lists of these items are not the same for everybody."""
        return any(
            access is not None and (access.visible is not None or self._list_by_scope)
            for access in (item.access for item in items)
        )

    def offers(self, items: Iterable[Item], caller: Caller) -> bool:
        """Whether any of some items is there for a caller, who may have to ask for more scopes to use it."""
        return any(caller.lists_all or self.sees(caller, item.access) for item in items)

    def hidden(self, items: Iterable[ItemT], caller: Caller) -> frozenset[ItemT]:
        """Return the items that are not in a caller's lists (X-AUTH-6).

        A function that several of them have is called once.
        """
        verdicts: dict[tuple[tuple[str, ...], int], bool] = {}
        hidden = []
        for item in items:
            if (access := item.access) is not None:
                key = access.scopes, id(access.visible)
                if key not in verdicts:
                    verdicts[key] = self.lists(caller, access)
                if not verdicts[key]:
                    hidden.append(item)
        return frozenset(hidden)

    def shown(self, items: Sequence[ItemT], caller: Caller) -> Sequence[ItemT]:
        """Return the items that are in a caller's lists, in order."""
        hidden = self.hidden(items, caller)
        return [item for item in items if item not in hidden] if hidden else items

    # -- what is remembered ------------------------------------------------------------------------------------

    def _closure(self, granted: frozenset[str]) -> frozenset[str]:
        """Return scopes with those that they include."""
        if not self._hierarchy:
            return granted
        closure = self._closures.get(granted)
        if closure is None:
            if len(self._closures) >= _MOST_REMEMBERED:
                self._closures.clear()
            closure = self._closures[granted] = with_included(granted, self._hierarchy)
        return closure

    def _report(self, visible: object, fault: str, error: BaseException | None = None) -> None:
        """Log once for each function why it hides its items."""
        if id(visible) not in self._reported and len(self._reported) < _MOST_REMEMBERED:
            self._reported[id(visible)] = visible  # so that its id is that of no other
            name = getattr(visible, "__qualname__", type(visible).__name__)
            text = "visible=%s %s; the items that have it are hidden from every caller for whom that happens"
            log_safely(log, logging.ERROR, text, name, fault, exc_info=error)


class ReaderScopes(NamedTuple):
    """What a client may read that resumes a stream, whose operations another token may have been allowed (R-605).

    Attributes:
        http: the request that resumes it.
    """

    policy: AccessPolicy
    caller: Caller
    http: object

    def may_read(self, scopes: Iterable[str]) -> bool:
        """Whether the client has the scopes that a stream needs."""
        return self.policy.holds(self.caller, scopes)

    def refusal(self, scopes: Iterable[str]) -> RpcError:
        """Return the error of a client that lacks some of them; it names all (R-606)."""
        return self.policy.refusal_over_http(sorted(scopes), self.caller, self.http)
