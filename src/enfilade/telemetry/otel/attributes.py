"""Names and attributes of spans and metrics, from records of requests.

They are those of the semantic conventions for MCP (https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/), as
text: the constants are in a package of their own, which changes with each revision of the conventions.

Easy to get wrong: cardinality. The name of a span, and the attributes of a metric, have a tool only if the server
has it: clients may invent names. `mcp.session.id` is a digest, since the id itself lets whoever has it use the
session. Nothing here has arguments of a call or what it returned.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from enfilade.serving.observation.record import RequestRecord, clean, session_digest
from enfilade.wire.jsonrpc import INVALID_PARAMS
from enfilade.wire.revision_tables import METHODS

Attributes = dict[str, Any]

#: Returns the tool or prompt of a name; None if there is none.
Find = Callable[[str], Any]

_LONGEST_DESCRIPTION: Final = 200
#: Texts of clients: spans wait in a queue, and the exporter keeps what it has encoded.
_LONGEST_ID: Final = 128
_LONGEST_ADDRESS: Final = 64
_OUTCOMES: Final = {"deadline": "timeout"}
#: The outcomes that are no failures.
_FINE: Final = frozenset({"ok"})
_OTHER: Final = "_OTHER"  # for methods that the protocol does not have
_HTTP_METHODS: Final = frozenset({"GET", "POST", "DELETE", "OPTIONS"})
_NAMED: Final = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}
_WITH_TARGET: Final = {
    **_NAMED,
    **dict.fromkeys(("resources/read", "resources/subscribe", "resources/unsubscribe"), "mcp.resource.uri"),
}


class Described:
    """What requests of one kind have in common: the name of their spans, and attributes of metrics as well.

    Attributes:
        target: the attribute that has what they are about, where that is not the same for all of them.
        encoded: the same as an exporter has encoded it, by the kind of the span.
    """

    __slots__ = ("attributes", "encoded", "name", "target")

    def __init__(self, name: str, attributes: Attributes, target: str | None = None) -> None:
        self.name = name
        self.attributes: Final = attributes
        self.target = target
        self.encoded: Final[dict[Any, bytes]] = {}


class Describer:
    """Describes requests.

    Args:
        tool: returns the tool of a name, of those that the server has.
        prompt: likewise for prompts.
    """

    def __init__(self, tool: Find, prompt: Find) -> None:
        self._find = {"tools/call": tool, "prompts/get": prompt}

    def describe(self, record: RequestRecord) -> Described:
        """Return the name and the attributes of few values of a request."""
        request, http, target = record.request, record.http, None
        if request is not None and record.is_dispatched:  # nearly always
            method, params, revision = request.method, request.params, request.peer.revision
        else:
            known, params, revision = record.method, record.params, record.revision or ""
            if known is None:
                method = record.http_method if record.http_method in _HTTP_METHODS else ""
            else:
                method = known if known in METHODS else ""
        if (find := self._find.get(method)) is not None and (name := getattr(params, "name", None)) is not None:
            found = find(name)
            target = None if found is None else found.name  # it may have been called by an alias
        return _described(method, target, revision, record.transport, "" if http is None else http.version)


@lru_cache(maxsize=4096)
def _described(method: str, target: str | None, revision: str | None, transport: str, version: str) -> Described:
    attributes: Attributes = {} if method in _HTTP_METHODS else {"mcp.method.name": method or _OTHER}
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
    if target is not None:
        attributes[_NAMED[method]] = target
    if revision:
        attributes["mcp.protocol.version"] = revision
    if transport == "http":
        attributes["network.transport"] = "tcp"
        attributes["network.protocol.name"] = "http"
        if version:
            attributes["network.protocol.version"] = version
    elif transport == "stdio":
        attributes["network.transport"] = "pipe"
    name = method or ("HTTP" if transport == "http" else "message")
    named = _WITH_TARGET.get(method)
    return Described(
        name if target is None else f"{name} {target}", attributes, None if named in attributes else named
    )


def own_attributes(record: RequestRecord, described: Described) -> Attributes:
    """Return the attributes that a span has beside those of all requests of its kind."""
    attributes: Attributes = {}
    request, http = record.request, record.http
    if request is not None:
        if request.id is not None:
            attributes["jsonrpc.request.id"] = clean(str(request.id), _LONGEST_ID)
        session_id = request.peer.session_id
        if session_id is not None:
            attributes["mcp.session.id"] = session_digest(session_id)
    if described.target is not None and (target := record.target) is not None:
        attributes[described.target] = target
    if http is not None and record.parent is None and (client := http.client) is not None:
        attributes["client.address"] = clean(client[0], _LONGEST_ADDRESS)
        if client[1]:
            attributes["client.port"] = client[1]
    return attributes


def failure_attributes(record: RequestRecord) -> Attributes:
    """Return the attributes of a request that has failed; none for any other."""
    outcome = record.outcome
    if outcome in _FINE:
        return {}
    attributes: Attributes = {"error.type": _OUTCOMES.get(outcome, outcome)}
    if record.error is not None:
        attributes["rpc.response.status_code"] = str(record.error.code)
    if record.status >= 400:
        attributes["http.response.status_code"] = record.status
    return attributes


def failure_text(record: RequestRecord) -> str | None:
    """Return the message of an error, for the status of a span; None where it may quote arguments."""
    error = record.error
    if error is None or error.code == INVALID_PARAMS:
        return None
    return clean(error.message, _LONGEST_DESCRIPTION)
