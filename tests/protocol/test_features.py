"""The features of each revision over the wire: what it is served, told and spared, row by row.

The matrix is a table of fields with the revisions that know them; the codes of errors are one table over all
revisions. Every message is checked against the schema of its revision as well (`harness.py`). Easy to get
wrong: a field that is absent proves nothing unless the same row finds it present elsewhere, so each row has both.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest

from enfilade import Context, MCPApp, SamplingMessage, TextContent, sampling, url_elicitation
from enfilade.wire.content import ToolResultContent, ToolUseContent
from enfilade.wire.revisions import ALL, LATEST_STATELESS
from support.every_revision import open_revision, opening_of
from support.harness import Http, McpClient
from support.http_client.asgi_calls import AsgiClient
from support.http_client.connection import stateless_meta
from support.rounds import EVERYTHING, Call, server
from support.servers.content_server import BIG, META, SECRET, SOUND

Y2024, Y0326, Y0618, Y1125, Y0728 = ALL
UNTIL_1125, UNTIL_0618, UNTIL_0326 = (Y2024, Y1125), (Y2024, Y0618), (Y2024, Y0326)
SINCE_0326, SINCE_0618, SINCE_1125, ONLY_0728 = (Y0326, Y0728), (Y0618, Y0728), (Y1125, Y0728), (Y0728, Y0728)
EVERY = (Y2024, Y0728)

PREFIX = "io.modelcontextprotocol/"
NO_METHOD, BAD_PARAMS, INTERNAL, NOT_FOUND = -32601, -32602, -32603, -32002


def knows(span: tuple[str, str], revision: str) -> bool:
    return span[0] <= revision <= span[1]


def named(items: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the item of a list with a name."""
    return next(item for item in items if item["name"] == name)


# -- methods --------------------------------------------------------------------------------------------------

GUIDE = {"type": "ref/prompt", "name": "guide"}

METHODS: list[tuple[str, dict[str, Any] | None, tuple[str, str] | None]] = [
    ("ping", None, UNTIL_1125),
    ("server/discover", None, ONLY_0728),
    ("tools/list", None, EVERY),
    ("tools/call", {"name": "measure"}, EVERY),
    ("prompts/list", None, EVERY),
    ("prompts/get", {"name": "guide", "arguments": {"visitor": "Ada"}}, EVERY),
    ("resources/list", None, EVERY),
    ("resources/templates/list", None, EVERY),
    ("resources/read", {"uri": "gallery://hall"}, EVERY),
    ("completion/complete", {"ref": GUIDE, "argument": {"name": "visitor", "value": "A"}}, EVERY),
    ("resources/subscribe", {"uri": "gallery://hall"}, UNTIL_1125),
    ("resources/unsubscribe", {"uri": "gallery://hall"}, UNTIL_1125),
    ("logging/setLevel", {"level": "info"}, UNTIL_1125),
    ("tasks/list", None, None),
    ("tasks/get", {"taskId": "t"}, None),
    ("elicitation/create", None, None),
    ("sampling/createMessage", None, None),
    ("roots/list", None, None),
]


@pytest.mark.parametrize(("method", "params", "span"), METHODS, ids=[f"5.1-{row[0]}" for row in METHODS])
def test_a_method_is_served_where_it_exists(
    each_client: McpClient, method: str, params: dict[str, Any] | None, span: tuple[str, str] | None
) -> None:
    """R-214, R-533: and elsewhere there is no such method; list methods need no params in a session."""
    outcome = each_client.ask(method, params)
    if span is not None and knows(span, each_client.revision):
        assert "result" in (outcome.response or {}), outcome.response
    else:
        assert outcome.error["code"] == NO_METHOD


def test_533_the_stateless_era_needs_params_for_its_metadata(content_http: Http) -> None:
    """R-533: without params there is no `_meta`, and without that no answer but an error."""
    headers = {"mcp_protocol_version": LATEST_STATELESS, "mcp_method": "tools/list"}
    reply = content_http.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, **headers)
    assert (reply.status, reply.error["code"]) == (400, BAD_PARAMS)


# -- the matrix -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ALL)
def seen(request: pytest.FixtureRequest, content_http: Http) -> Iterator[dict[str, Any]]:
    """All that a client of one revision gets to see of the content server."""
    with open_revision(request.param, content_http) as client:
        meta = {"progressToken": "t"}
        if client.stateless:
            meta[PREFIX + "logLevel"] = "info"
        report = client.call("report", meta=meta)
        opening = opening_of(client, content_http)
        listed = {
            key: client.ask(method).result
            for key, method in (
                ("tools", "tools/list"),
                ("prompts", "prompts/list"),
                ("resources", "resources/list"),
                ("resourceTemplates", "resources/templates/list"),
            )
        }
        server = opening.get("serverInfo") or opening["_meta"][PREFIX + "serverInfo"]
        shown = client.call("show").result
        yield {
            "revision": client.revision,
            "opening": opening,
            "server": server,
            "listed": listed,
            "tool": named(listed["tools"]["tools"], "show"),
            "measure": named(listed["tools"]["tools"], "measure"),
            "prompt": named(listed["prompts"]["prompts"], "guide"),
            "resource": named(listed["resources"]["resources"], "hall"),
            "template": named(listed["resourceTemplates"]["resourceTemplates"], "room"),
            "shown": shown,
            "blocks": shown["content"],
            "measured": client.call("measure").result,
            "counted": client.call("count").result,
            "bare": client.call("bare").result,
            "nothing": client.call("nothing").result,
            "read": client.ask("resources/read", {"uri": "gallery://both"}).result,
            "got": client.ask("prompts/get", {"name": "guide", "arguments": {"visitor": "Ada"}}).result,
            "progress": report.sent("notifications/progress"),
            "log": report.sent("notifications/message"),
        }


Look = Callable[[dict[str, Any]], Any]

FIELDS: list[tuple[str, tuple[str, str], Look, str]] = [
    ("resultType-list", ONLY_0728, lambda s: s["listed"]["tools"], "resultType"),
    ("resultType-call", ONLY_0728, lambda s: s["measured"], "resultType"),
    ("resultType-prompt", ONLY_0728, lambda s: s["got"], "resultType"),
    ("ttlMs-tools", ONLY_0728, lambda s: s["listed"]["tools"], "ttlMs"),
    ("cacheScope-resources", ONLY_0728, lambda s: s["listed"]["resources"], "cacheScope"),
    ("cacheScope-read", ONLY_0728, lambda s: s["read"], "cacheScope"),
    ("serverInfo-meta", ONLY_0728, lambda s: s["shown"]["_meta"], PREFIX + "serverInfo"),
    ("serverInfo-list", ONLY_0728, lambda s: s["listed"]["prompts"].get("_meta", {}), PREFIX + "serverInfo"),
    ("result-meta", EVERY, lambda s: s["shown"]["_meta"], "example.org/shelf"),
    ("meta-tool", SINCE_0618, lambda s: s["tool"], "_meta"),
    ("meta-prompt", SINCE_0618, lambda s: s["prompt"], "_meta"),
    ("meta-resource", SINCE_0618, lambda s: s["resource"], "_meta"),
    ("meta-template", SINCE_0618, lambda s: s["template"], "_meta"),
    ("meta-contents-text", SINCE_0618, lambda s: s["read"]["contents"][0], "_meta"),
    ("meta-contents-blob", SINCE_0618, lambda s: s["read"]["contents"][1], "_meta"),
    ("meta-text", SINCE_0618, lambda s: s["blocks"][0], "_meta"),
    ("meta-image", SINCE_0618, lambda s: s["blocks"][1], "_meta"),
    ("meta-embedded", SINCE_0618, lambda s: s["blocks"][4], "_meta"),
    ("meta-embedded-contents", SINCE_0618, lambda s: s["blocks"][4]["resource"], "_meta"),
    ("title-tool", SINCE_0618, lambda s: s["tool"], "title"),
    ("title-prompt", SINCE_0618, lambda s: s["prompt"], "title"),
    ("title-argument", SINCE_0618, lambda s: s["prompt"]["arguments"][0], "title"),
    ("title-resource", SINCE_0618, lambda s: s["resource"], "title"),
    ("title-template", SINCE_0618, lambda s: s["template"], "title"),
    ("title-server", SINCE_0618, lambda s: s["server"], "title"),
    ("annotations-tool", SINCE_0326, lambda s: s["tool"], "annotations"),
    ("outputSchema", SINCE_0618, lambda s: s["measure"], "outputSchema"),
    ("structuredContent-object", SINCE_0618, lambda s: s["measured"], "structuredContent"),
    ("structuredContent-wrapped", SINCE_0618, lambda s: s["counted"], "structuredContent"),
    ("structuredContent-array", ONLY_0728, lambda s: s["bare"], "structuredContent"),
    ("structuredContent-null", ONLY_0728, lambda s: s["nothing"], "structuredContent"),
    ("icons-tool", SINCE_1125, lambda s: s["tool"], "icons"),
    ("icons-prompt", SINCE_1125, lambda s: s["prompt"], "icons"),
    ("icons-resource", SINCE_1125, lambda s: s["resource"], "icons"),
    ("icons-template", SINCE_1125, lambda s: s["template"], "icons"),
    ("icons-link", SINCE_1125, lambda s: s["blocks"][3], "icons"),
    ("icons-server", SINCE_1125, lambda s: s["server"], "icons"),
    ("websiteUrl-server", SINCE_1125, lambda s: s["server"], "websiteUrl"),
    ("audience-block", EVERY, lambda s: s["blocks"][0]["annotations"], "audience"),
    ("priority-resource", EVERY, lambda s: s["resource"]["annotations"], "priority"),
    ("lastModified-block", SINCE_0618, lambda s: s["blocks"][0]["annotations"], "lastModified"),
    ("lastModified-resource", SINCE_0618, lambda s: s["resource"]["annotations"], "lastModified"),
    ("lastModified-template", SINCE_0618, lambda s: s["template"]["annotations"], "lastModified"),
    ("size-resource", EVERY, lambda s: s["resource"], "size"),
    ("progress-message", SINCE_0326, lambda s: s["progress"][0], "message"),
    ("progress-total", EVERY, lambda s: s["progress"][0], "total"),
    ("completions", SINCE_0326, lambda s: s["opening"]["capabilities"], "completions"),
    ("logging", EVERY, lambda s: s["opening"]["capabilities"], "logging"),
    ("protocolVersion", UNTIL_1125, lambda s: s["opening"], "protocolVersion"),
    ("supportedVersions", ONLY_0728, lambda s: s["opening"], "supportedVersions"),
    ("serverInfo-body", UNTIL_1125, lambda s: s["opening"], "serverInfo"),
]


@pytest.mark.parametrize(
    ("span", "look", "name"), [row[1:] for row in FIELDS], ids=[f"5.2-{r[0]}" for r in FIELDS]
)
def test_a_field_is_sent_to_those_who_know_it(
    seen: dict[str, Any], span: tuple[str, str], look: Look, name: str
) -> None:
    """R-501: present where the revision has it, and nowhere else."""
    assert (name in look(seen)) == knows(span, seen["revision"])


def test_each_kind_of_content_or_what_stands_for_it(seen: dict[str, Any]) -> None:
    """R-517: what a revision has no word for comes as a text that says what it was."""
    revision, blocks = seen["revision"], seen["blocks"]
    audio = "audio" if knows(SINCE_0326, revision) else "text"
    link = "resource_link" if knows(SINCE_0618, revision) else "text"
    assert [block["type"] for block in blocks] == ["text", "image", audio, link, "resource", "resource"]
    assert blocks[2].get("data", SOUND) == SOUND
    assert "audio/wav" in json.dumps(blocks[2])
    assert "gallery://hall" in json.dumps(blocks[3])
    in_prompt = [message["content"]["type"] for message in seen["got"]["messages"]]
    assert in_prompt == ["text", audio, link]


def test_a_title_that_has_no_field_is_a_hint(seen: dict[str, Any]) -> None:
    """R-501: 2025-03-26 keeps a tool's title among its annotations."""
    hints = seen["tool"].get("annotations", {})
    assert hints.get("title") == ("Show" if seen["revision"] == Y0326 else None)


def test_502_null_is_not_absent(seen: dict[str, Any]) -> None:
    """R-502: a logged null is a value; and nothing that was left unset is sent as null."""
    assert seen["log"][0]["data"] is None
    for part in ("tool", "measure", "prompt", "resource", "template", "server", "opening", "got"):
        assert None not in seen[part].values()
    assert all("nextCursor" not in page for page in seen["listed"].values())


def test_503_data_is_text_as_well(seen: dict[str, Any]) -> None:
    """R-503, R-504: in every revision; an array is an object for those who know only objects, or text alone."""
    assert json.loads(seen["measured"]["content"][0]["text"]) == {"width": 2, "height": None}
    assert json.loads(seen["bare"]["content"][0]["text"]) == [1, 2]
    assert seen["nothing"]["content"][0]["text"] == "null"
    data = seen["counted"].get("structuredContent", {"result": [1, 2, BIG]})
    assert data == {"result": [1, 2, BIG]}


def test_506_large_integers_are_exact(seen: dict[str, Any]) -> None:
    """R-506: beyond what a double can hold."""
    assert json.loads(seen["counted"]["content"][0]["text"])[2] == BIG


def test_505_foreign_keys_of_meta_pass(seen: dict[str, Any]) -> None:
    """R-505: the author's own keys are left as they are."""
    known = knows(SINCE_0618, seen["revision"])
    assert seen["tool"].get("_meta") == (META if known else None)
    assert {key: seen["shown"]["_meta"][key] for key in META} == META


def test_21_progress_rises(seen: dict[str, Any]) -> None:
    """R-2B0: the token keeps its type, and a report that is no further is not one."""
    assert [(each["progressToken"], each["progress"]) for each in seen["progress"]] == [("t", 0.5), ("t", 2)]


def test_log_levels(seen: dict[str, Any]) -> None:
    """R-2B4, R-367: what is below the level is not sent."""
    assert [each["level"] for each in seen["log"]] == ["info"]


def test_510_520_530_531_capabilities_are_declared(seen: dict[str, Any]) -> None:
    """R-510, R-520, R-530, R-531, R-284: all that is served, and nothing that is not."""
    declared = dict(seen["opening"]["capabilities"])
    declared.pop("completions", None)
    assert declared == {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "prompts": {"listChanged": True},
        "logging": {},
    }


def test_512_a_tool_without_arguments_has_a_schema(seen: dict[str, Any]) -> None:
    """R-512: never null, and closed."""
    schema = seen["tool"]["inputSchema"]
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)


def test_516_hints_are_sent_as_given(seen: dict[str, Any]) -> None:
    """R-516: what the author leaves unsaid keeps the default of the schema, so it is not sent."""
    hints = seen["tool"].get("annotations", {})
    hints.pop("title", None)
    assert hints == ({"readOnlyHint": True} if knows(SINCE_0326, seen["revision"]) else {})


def test_522_525_several_contents_and_annotations(seen: dict[str, Any]) -> None:
    """R-520, R-522, R-525: text and base64; for whom it is and how much it matters."""
    text, blob = seen["read"]["contents"]
    assert (text["text"], "blob" in text, blob["mimeType"], "text" in blob) == (
        "a text",
        False,
        "image/gif",
        False,
    )
    notes = seen["resource"]["annotations"]
    assert (notes["audience"], notes["priority"]) == (["user"], 0.5)
    if knows(SINCE_0618, seen["revision"]):
        assert notes["lastModified"] == "2026-01-01T00:00:00Z"


# -- codes ----------------------------------------------------------------------------------------------------

NOWHERE = {"uri": "nowhere://x"}
COMPLETE = {"argument": {"name": "visitor", "value": ""}}
LOUD = {PREFIX + "logLevel": "loud"}

# What is asked, and the code until 2025-06-18, in 2025-11-25 and in 2026-07-28.
CODES: list[tuple[str, str, dict[str, Any], int, int, int]] = [
    ("no-resource", "resources/read", NOWHERE, NOT_FOUND, NOT_FOUND, BAD_PARAMS),
    ("no-tool", "tools/call", {"name": "zzz"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("malformed-call", "tools/call", {"arguments": {}}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("no-prompt", "prompts/get", {"name": "zzz"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("no-prompt-argument", "prompts/get", {"name": "guide"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("cursor-tools", "tools/list", {"cursor": "!"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("cursor-resources", "resources/list", {"cursor": "!"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("cursor-templates", "resources/templates/list", {"cursor": "!"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("cursor-prompts", "prompts/list", {"cursor": "!"}, BAD_PARAMS, BAD_PARAMS, BAD_PARAMS),
    ("no-such-ref", "completion/complete", {"ref": {"type": "ref/zzz"}, **COMPLETE}, *[BAD_PARAMS] * 3),
    (
        "no-ref-prompt",
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "zzz"}, **COMPLETE},
        *[BAD_PARAMS] * 3,
    ),
    (
        "no-ref-template",
        "completion/complete",
        {"ref": {"type": "ref/resource", "uri": "z://{a}"}, **COMPLETE},
        *[BAD_PARAMS] * 3,
    ),
    ("no-level", "logging/setLevel", {"level": "loud"}, BAD_PARAMS, BAD_PARAMS, NO_METHOD),
    ("no-method", "zzz/zzz", {}, NO_METHOD, NO_METHOD, NO_METHOD),
    ("internal-resource", "resources/read", {"uri": "gallery://crash"}, INTERNAL, INTERNAL, INTERNAL),
    ("internal-prompt", "prompts/get", {"name": "crash"}, INTERNAL, INTERNAL, INTERNAL),
]


@pytest.mark.parametrize(
    ("method", "params", "codes"),
    [(row[1], row[2], row[3:]) for row in CODES],
    ids=[f"5.3-{row[0]}" for row in CODES],
)
def test_the_code_is_that_of_the_revision(
    each_client: McpClient, method: str, params: dict[str, Any], codes: tuple[int, int, int]
) -> None:
    """R-523: and what broke is not told to the client."""
    outcome = each_client.ask(method, params)
    wanted = (
        codes[0] if each_client.revision <= Y0618 else codes[1] if each_client.revision == Y1125 else codes[2]
    )
    assert outcome.error["code"] == wanted
    assert SECRET not in json.dumps(outcome.error)
    if params is NOWHERE:
        assert outcome.error["data"] == NOWHERE


def test_53_arguments_that_do_not_fit_are_for_the_model(each_client: McpClient) -> None:
    """SEP-1303, C-03: a result that the model can read and act on, in every revision."""
    outcome = each_client.call("measure", width="wide")
    assert outcome.result["isError"] is True
    assert '"width"' in outcome.text
    assert "structuredContent" not in outcome.result


def test_518_what_a_tool_raises_is_a_result(each_client: McpClient) -> None:
    """R-518, R-719: without its words, which may be anything."""
    outcome = each_client.call("crash")
    assert outcome.result["isError"] is True
    assert SECRET not in json.dumps(outcome.response)


def test_53_a_level_that_is_none(content_http: Http) -> None:
    """R-2B5: of a stateless request."""
    reply = content_http.modern("tools/list", meta=LOUD)
    assert (reply.status, reply.error["code"]) == (400, BAD_PARAMS)


@pytest.mark.parametrize("tool", ["write", "ask", "visit"])
def test_53_a_capability_that_the_client_lacks(each_client: McpClient, tool: str) -> None:
    """R-289, R-290, R-303, R-540: it is not asked; stateless clients are told what they would have to declare."""
    outcome = each_client.call(tool)
    if each_client.stateless:
        wanted = {"write": {"sampling": {}}, "ask": {"elicitation": {}}, "visit": {"elicitation": {"url": {}}}}
        assert (outcome.error["code"], outcome.error["data"]) == (-32021, {"requiredCapabilities": wanted[tool]})
    else:
        assert outcome.result["isError"] is True
    assert outcome.notifications == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    "method", ["completion/complete", "prompts/list", "prompts/get", "resources/list", "resources/read"]
)
async def test_213_what_a_server_does_not_have_it_does_not_serve(method: str) -> None:
    """R-213, R-531, D16: 404 in the stateless era, and in a session an error in the band (R-327).

    But lists are empty there: clients ask for all of them, whatever the capabilities say.
    """
    asgi = AsgiClient(MCPApp("empty"))
    answered = await asgi.modern(method, {"name": "x", "uri": "x:y"})
    assert (answered.status, answered.response["error"]["code"]) == (404, NO_METHOD)
    opened = await asgi.initialize()
    assert set(opened.result["capabilities"]) == {"tools", "logging"}
    answered = await asgi.ask(opened.headers["mcp-session-id"], method)
    assert answered.status == 200
    if method.endswith("/list"):
        assert answered.result == {method.partition("/")[0]: []}
    else:
        assert answered.response["error"]["code"] == NO_METHOD


# -- completion -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "argument"),
    [(GUIDE, "visitor"), ({"type": "ref/resource", "uri": "gallery://{room}"}, "room")],
    ids=["531-prompt", "531-template"],
)
def test_531_completion(each_client: McpClient, ref: dict[str, Any], argument: str) -> None:
    """R-531: of both kinds of reference, in all revisions; the context of older ones is empty."""
    asked = {"ref": ref, "argument": {"name": argument, "value": ""}}
    found = each_client.ask("completion/complete", asked).result["completion"]
    assert found["values"] == (["Ada", "Alan"] if ref is GUIDE else ["east"])


# -- questions ------------------------------------------------------------------------------------------------


def question_in(http: Http, revision: str, tool: str, capabilities: dict[str, Any]) -> dict[str, Any]:
    """Call a tool and return the params of what it asks first, and whatever else it came with."""
    if revision == LATEST_STATELESS:
        meta = stateless_meta(clientCapabilities=capabilities)
        result = http.modern("tools/call", {"name": tool}, meta=meta).result
        (asked,) = result["inputRequests"].values()
        return dict(asked)
    session = http.initialize(revision, capabilities)
    with session.start("tools/call", {"name": tool}) as waiting:
        asked = next(waiting.events())
        session.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "cancel"}})
        return dict(asked)


@pytest.mark.parametrize("revision", [Y0618, Y1125, Y0728])
def test_540_542_forms(content_http: Http, revision: str) -> None:
    """R-540, R-542: defaults and titled choices as each revision has them; 2025-06-18 has no mode."""
    params = question_in(content_http, revision, "ask", {"elicitation": {}})["params"]
    fields = params["requestedSchema"]["properties"]
    assert (fields["sure"]["type"], fields["sure"]["default"]) == ("boolean", True)
    assert all(("default" in fields[name]) == (revision >= Y1125) for name in ("name", "count", "size"))
    assert ("oneOf" in fields["size"]) == (revision >= Y1125)
    assert ("enumNames" in fields["size"]) == (revision == Y0618)
    assert params.get("mode", "form") == "form"
    assert "mode" not in params or revision >= Y1125
    assert not any("pattern" in field for field in fields.values())


@pytest.mark.parametrize("revision", [Y1125, Y0728])
def test_541_544_546_547_pages(content_http: Http, revision: str) -> None:
    """R-541, R-544, R-546, R-547: a page for what is secret; with an id in 2025-11-25 alone."""
    params = question_in(content_http, revision, "visit", EVERYTHING)["params"]
    assert (params["mode"], params["url"]) == ("url", "https://example.org/sign-in")
    assert ("elicitationId" in params) == (revision == Y1125)
    assert "requestedSchema" not in params


@pytest.mark.parametrize("revision", [Y0618, Y0326])
def test_541_pages_are_impossible_for_older_clients(content_http: Http, revision: str) -> None:
    """R-541: and a form is no substitute, so the tool fails in words."""
    reply = content_http.initialize(revision, EVERYTHING).call("visit")
    assert [message.get("method") for message in reply.messages] == [None]
    assert reply.result["isError"] is True


@pytest.mark.parametrize("revision", [Y0326, Y0618, Y1125, Y0728])
def test_552_sampling(content_http: Http, revision: str) -> None:
    """R-550, R-552: messages and the most that may be written; one block is no array."""
    asked = question_in(content_http, revision, "write", {"sampling": {}})
    assert asked["method"] == "sampling/createMessage"
    assert asked["params"]["messages"] == [{"role": "user", "content": {"type": "text", "text": "Write"}}]
    assert isinstance(asked["params"]["maxTokens"], int)
    assert {"tools", "toolChoice", "includeContext"}.isdisjoint(asked["params"])


def test_519_a_result_may_ask(content_http: Http) -> None:
    """R-519, R-287: with neither content nor caching."""
    meta = stateless_meta(clientCapabilities={"elicitation": {}})
    result = content_http.modern("tools/call", {"name": "explicit"}, meta=meta).result
    assert result["resultType"] == "input_required"
    assert {"content", "ttlMs", "cacheScope"}.isdisjoint(result)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sign-in",
        "/sign-in",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https://ada:pw@example.org/",
    ],
)
def test_544_what_is_no_page(url: str) -> None:
    """R-544: it is refused before anybody is asked; and what looks like credentials is not repeated."""
    with pytest.raises(ValueError) as raised:
        url_elicitation("Sign in", url)
    assert "pw" not in str(raised.value)


def turn(*blocks: Any, role: Literal["user", "assistant"] = "user") -> SamplingMessage:
    return SamplingMessage(role=role, content=list(blocks))


USE = turn(ToolUseContent(id="1", name="add", input={}), role="assistant")
RESULT = ToolResultContent(tool_use_id="1", content=[TextContent(text="3")])
TEXT = TextContent(text="and?")

TURNS: dict[str, tuple[list[Any], bool]] = {
    "result-follows": ([USE, turn(RESULT), "and?"], True),
    "result-and-text": ([USE, turn(RESULT, TEXT)], False),
    "text-follows": ([USE, "and?"], False),
    "nothing-follows": (["add", USE], False),
    "result-of-another": ([USE, turn(ToolResultContent(tool_use_id="2", content=[]))], False),
    "result-too-late": ([USE, "and?", turn(RESULT)], False),
    "result-of-nothing": ([turn(RESULT)], False),
}


@pytest.mark.parametrize(("messages", "legal"), TURNS.values(), ids=[f"551-{name}" for name in TURNS])
def test_551_tools_and_their_results_take_turns(messages: list[Any], legal: bool) -> None:
    """R-551: what a client would have to refuse is not sent."""
    if legal:
        assert len(sampling(messages).request.params.messages) == len(messages)
    else:
        with pytest.raises(ValueError, match="tools"):
            sampling(messages)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "found",
    [[], [{"uri": "file:///home/ada", "name": "home"}], [{"uri": "https://example.org/"}]],
    ids=["554-none", "554-one", "554-no-file"],
)
async def test_554_roots(found: list[Any]) -> None:
    """R-554: none is an answer as well, and no URI is refused; they are asked for on each call."""

    async def look(ctx: Context) -> list[str]:
        return [root.uri for root in await ctx.roots()]

    app = server(look)
    for _ in range(2):
        call = Call(app, "look")
        await call.round()
        ((key, question),) = call.asked.items()
        assert question["method"] == "roots/list"
        answered = await call.round({key: {"roots": found}})
        assert answered.result["structuredContent"] == {"result": [root["uri"] for root in found]}

    undeclared = await Call(app, "look", capabilities={"elicitation": {}, "sampling": {}}).round()
    assert undeclared.response["error"]["data"] == {"requiredCapabilities": {"roots": {}}}
