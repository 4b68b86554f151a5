"""`serving/prompts.py` over both transports in both eras (R-530)."""

from typing import Any

import pytest
from mcp_types import ElicitResult
from pydantic import BaseModel

from enfilade import Context, MCPApp, connect
from support.harness import McpClient, Outcome


def get(client: McpClient, name: str, **arguments: Any) -> Outcome:
    return client.ask("prompts/get", {"name": name, "arguments": arguments})


def texts(outcome: Outcome) -> list[str]:
    return [message["content"]["text"] for message in outcome.result["messages"]]


def test_lists_prompts(resource_client: McpClient) -> None:
    found = resource_client.ask("prompts/list").result["prompts"]
    assert [each["name"] for each in found] == ["recommend", "describe", "refuse"]
    assert found[0] == {
        "name": "recommend",
        "title": "Recommend a book",
        "description": "Ask for a book.",
        "arguments": [
            {"name": "shelf", "description": "Where to look.", "required": True},
            {"name": "pages", "required": False},
            {"name": "mood", "required": False},
            {"name": "since", "required": False},
            {
                "name": "known",
                "description": "What the reader has read. (as JSON: array of string or null)",
                "required": False,
            },
        ],
        "icons": [{"src": "https://example.org/star.png"}],
    }


def test_arguments_arrive_as_their_types_say(resource_client: McpClient) -> None:
    found = get(
        resource_client, "recommend", shelf="facts", pages="50", mood="dark", since="2026-01-01", known='["Emma"]'
    )
    assert texts(found) == ["FACTS 50 dark datetime.date(2026, 1, 1) ['Emma']", "Let me see."]
    assert [message["role"] for message in found.result["messages"]] == ["user", "assistant"]
    assert found.result["description"] == "Ask for a book."


def test_without_arguments(resource_client: McpClient) -> None:
    """Also where there is no member for them."""
    found = resource_client.ask("prompts/get", {"name": "describe"}).result["messages"]
    assert [message["content"]["type"] for message in found] == ["image", "text", "text"]


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("nothing", {}, "Unknown prompt: nothing"),
        ("recommend", {}, '"shelf" is missing (expected "fiction" or "facts")'),
        ("recommend", {"shelf": "poetry"}, '"shelf" should be "fiction" or "facts", got string "poetry"'),
        (
            "recommend",
            {"shelf": "facts", "page": "1"},
            '"page" is not an argument of this prompt (did you mean "pages"?)',
        ),
        ("recommend", {"shelf": "facts", "pages": 5}, "arguments"),
    ],
    ids=["unknown prompt", "missing", "no choice", "unknown argument", "no string"],
)
def test_wrong_requests(resource_client: McpClient, name: str, arguments: dict[str, Any], why: str) -> None:
    """R-530: -32602, with the argument's name."""
    error = get(resource_client, name, **arguments).error
    assert error["code"] == -32602
    assert why in error["message"]


def test_words_for_the_client(resource_client: McpClient) -> None:
    assert get(resource_client, "refuse", how="told").error == {"code": -32603, "message": "Not today"}


@pytest.mark.parametrize("how", ["crash"])
def test_failures_are_masked(resource_client: McpClient, how: str) -> None:
    """R-719."""
    error = get(resource_client, "refuse", how=how).error
    assert error["code"] == -32603
    assert error["message"].startswith("Internal error (id ")


def test_caching_hints(resource_client: McpClient) -> None:
    """R-2A0: of the list; a prompt itself has none."""
    listed = resource_client.ask("prompts/list").result
    assert (listed.get("ttlMs"), listed.get("cacheScope")) == (
        (1500, "private") if resource_client.stateless else (None, None)
    )
    assert "ttlMs" not in get(resource_client, "describe").result


def test_handlers_use_what_the_server_has(resource_client: McpClient) -> None:
    arguments = {"shelf": "facts", "pages": 7, "known": ["Emma"]}
    found = resource_client.call("fill_in", name="recommend", arguments=arguments)
    assert "FACTS 7 light None ['Emma']" in found.text
    refused = resource_client.call("fill_in", name="nothing", arguments={}).result
    assert (refused["isError"], refused["content"][0]["text"]) == (True, "Unknown prompt: nothing")


class Mood(BaseModel):
    mood: str


@pytest.mark.parametrize("era", ["session", "stateless"])
@pytest.mark.anyio
async def test_prompts_and_resources_may_ask(era: str) -> None:
    """R-286: both of them, in both eras."""
    app = MCPApp()

    @app.prompt
    async def cheer(name: str, ctx: Context) -> str:
        answer = await ctx.elicit(f"How is {name}?", Mood)
        return f"{name} is {answer.data.mood}" if answer.data else answer.action

    @app.resource("mood://{name}")
    async def mood(name: str, ctx: Context) -> str:
        answer = await ctx.elicit(f"How is {name}?", Mood)
        return f"{name} is {answer.data.mood}" if answer.data else answer.action

    async def fine(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"mood": "fine"})

    async with connect(app, era=era, elicitation_callback=fine) as client:
        (message,) = (await client.get_prompt("cheer", {"name": "Ada"})).messages
        assert message.content.text == "Ada is fine"
        (contents,) = (await client.read_resource("mood://Max")).contents
        assert contents.text == "Max is fine"
