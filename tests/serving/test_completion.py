"""`completion/complete` over both transports in both eras (R-531)."""

import sys
from typing import Any

import pytest

from support.harness import McpClient, Outcome, Stdio
from support.servers import resource_server as served

PROMPT = {"type": "ref/prompt", "name": "recommend"}
COVER = {"type": "ref/prompt", "name": "describe"}
BOOK = {"type": "ref/resource", "uri": "library://{shelf}/{title}{?page}"}
LOANS = {"type": "ref/resource", "uri": "loans://{reader}{/days*}"}


def complete(client: McpClient, ref: dict[str, str], name: str, value: str, **more: Any) -> Outcome:
    return client.ask("completion/complete", {"ref": ref, "argument": {"name": name, "value": value}, **more})


@pytest.mark.parametrize(
    ("ref", "name", "value", "values"),
    [
        (PROMPT, "shelf", "", ["fiction", "facts"]),
        (PROMPT, "shelf", "FA", ["facts"]),
        (PROMPT, "mood", "ar", ["dark"]),
        (PROMPT, "pages", "1", []),
        (BOOK, "shelf", "fi", ["fiction"]),
        (BOOK, "title", "x", []),
        (LOANS, "reader", "a", ["Ada", "Adam", "Max"]),
    ],
    ids=["enum", "enum, typed", "literal", "nothing known", "template", "template, nothing known", "given list"],
)
def test_suggests(
    resource_client: McpClient, ref: dict[str, str], name: str, value: str, values: list[str]
) -> None:
    found = complete(resource_client, ref, name, value).result["completion"]
    assert found == {"values": values, "total": len(values), "hasMore": False}


def test_a_function_knows_what_is_settled(resource_client: McpClient) -> None:
    found = complete(resource_client, PROMPT, "known", "E", context={"arguments": {"shelf": "facts"}})
    assert found.result["completion"]["values"] == [f"E of facts in {resource_client.revision}"]


def test_no_more_than_a_hundred(resource_client: McpClient) -> None:
    found = complete(resource_client, COVER, "cover", "x").result["completion"]
    assert (len(found["values"]), found["values"][1], found["total"], found["hasMore"]) == (100, "x1", 250, True)


@pytest.mark.parametrize(
    ("ref", "name", "why"),
    [
        ({"type": "ref/prompt", "name": "nothing"}, "x", "Unknown prompt: nothing"),
        ({"type": "ref/resource", "uri": "a://{b}"}, "b", "Unknown resource template: a://{b}"),
        ({"type": "ref/resource", "uri": "library://rules"}, "b", "Unknown resource template: library://rules"),
        (PROMPT, "colour", "Unknown argument 'colour' of prompt: recommend"),
        ({"type": "ref/tool", "name": "fetch"}, "uri", "ref"),
    ],
    ids=["prompt", "template", "no template", "argument", "kind"],
)
def test_wrong_references(resource_client: McpClient, ref: dict[str, str], name: str, why: str) -> None:
    """R-531: -32602."""
    error = complete(resource_client, ref, name, "x").error
    assert error["code"] == -32602
    assert why in error["message"]


def test_failures_are_masked(resource_client: McpClient) -> None:
    """R-719."""
    assert complete(resource_client, COVER, "cover", "crash").error["message"].startswith("Internal error (id ")


def test_the_oldest_revision_is_served_without_being_told() -> None:
    """R-501: 2024-11-05 has the method and not the capability."""
    with Stdio([sys.executable, served.__file__, "stdio"]) as stdio:
        offered = stdio.initialize("2024-11-05")["result"]["capabilities"]
        assert "completions" not in offered
        assert {"resources", "prompts"} <= offered.keys()
        params = {"ref": PROMPT, "argument": {"name": "mood", "value": "l"}}
        assert stdio.ask("completion/complete", params)["result"]["completion"]["values"] == ["light"]
