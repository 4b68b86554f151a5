"""Every official client sees the same server, over stdio and in every cell of the matrix: one table for all."""

from typing import Any

import pytest

from clients.drivers import Driver, PlayScript, Report, ServerLocation

PLACE = {"city": "Riga", "latitude": 56.95, "longitude": 24.11, "aliases": ["Rīga", "Рига"]}
INVALID_PARAMS = -32602


@pytest.fixture
def report(play_script: PlayScript, driver: Driver, location: ServerLocation) -> Report:
    """What one client saw of `server.py` at one place."""
    return play_script(driver, "calls.json", location)


def test_agrees_on_the_newest_revision_it_knows(report: Report, driver: Driver) -> None:
    """R-109: the client's newest revision is ours too, whichever era it speaks."""
    assert report.revision == driver.revision


def test_learns_the_servers_name(report: Report, driver: Driver) -> None:
    known = {"name": "client-tests", "version": "1.2.3"} if driver.knows_server else {}
    assert report.server == report.server | known


def test_lists_tools_in_the_order_they_were_written(report: Report) -> None:
    """R-2A5."""
    assert list(report.tools) == ["add", "greet", "locate", "fail", "climb", "chatter", "meet"]


@pytest.mark.parametrize(
    ("tool", "properties", "required"),
    [
        ("add", {"a": "integer", "b": "integer"}, ["a", "b"]),
        ("greet", {"name": "string"}, ["name"]),
        ("climb", {"steps": "integer"}, ["steps"]),
        ("chatter", {}, []),
    ],
)
def test_lists_input_schemas(report: Report, tool: str, properties: dict[str, str], required: list[str]) -> None:
    """R-512: an object schema of the arguments, which the context is none of."""
    schema = report.tools[tool]["inputSchema"]
    assert schema["type"] == "object"
    assert {name: part["type"] for name, part in schema["properties"].items()} == properties
    assert schema.get("required", []) == required


def test_lists_output_schemas(report: Report) -> None:
    schema = report.tools["locate"]["outputSchema"]
    assert schema["type"] == "object"
    assert list(schema["properties"]) == list(PLACE)


@pytest.mark.parametrize(
    ("call", "text", "structured"),
    [
        ("add", "5", {"result": 5}),
        ("greet", "Hello, Zoë 🌍!", {"result": "Hello, Zoë 🌍!"}),
        ("climb", "climbed 3", {"result": "climbed 3"}),
        ("left", "left done", {"result": "left done"}),
        ("right", "right done", {"result": "right done"}),
    ],
)
def test_results(report: Report, call: str, text: str, structured: dict[str, Any]) -> None:
    """R-503, R-514: structured content, and the same as text."""
    content = [{"type": "text", "text": text}]
    assert report.calls[call] == {"content": content, "structuredContent": structured, "isError": False}


def test_a_model_arrives_as_structured_content(report: Report) -> None:
    """R-503, R-514."""
    assert report.calls["locate"]["structuredContent"] == PLACE
    assert "Рига" in report.text("locate")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("fail", ["This tool failed: the kettle is cold"]),
        ("invalid", ["a", "integer", "b", "missing"]),
    ],
)
def test_a_failing_call_is_a_result_the_model_can_read(report: Report, call: str, words: list[str]) -> None:
    """R-518: what a tool raises and what its arguments lack are results, not protocol errors."""
    assert report.calls[call]["isError"] is True
    assert [word for word in words if word not in report.text(call)] == []


def test_an_unknown_tool_is_a_protocol_error(report: Report) -> None:
    """R-518."""
    assert report.calls["unknown"]["code"] == INVALID_PARAMS
    assert "no_such_tool" in report.calls["unknown"]["message"]


@pytest.mark.parametrize(
    ("call", "progress"),
    [
        ("climb", [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]),
        ("left", [(1, 2, "left waits"), (2, 2, "left met")]),
        ("right", [(1, 2, "right waits"), (2, 2, "right met")]),
    ],
)
def test_progress_reaches_its_own_call_before_the_result(
    report: Report, call: str, progress: list[tuple[float, float, str]]
) -> None:
    """R-2B0: rising, by the call's own token, and nothing after completion."""
    assert report.progress(call) == progress
    assert report.after_result(call) == []


def test_calls_run_side_by_side(report: Report) -> None:
    """`meet` returns only when both calls are inside it at once, whichever worker each is in."""
    assert (report.text("left"), report.text("right")) == ("left done", "right done")


def test_log_messages_arrive_from_the_asked_level_up(report: Report) -> None:
    """R-367, R-2B4: asked for by logging/setLevel in the session era, by `_meta` of each request afterwards."""
    assert report.logs() == [("info", "kettle on"), ("warning", "kettle boiling"), ("error", "kettle dry")]


def test_the_quickstart_works(play_script: PlayScript, driver: Driver, location: ServerLocation) -> None:
    """The newcomer's server, as the command line serves it."""
    report = play_script(driver, "quickstart.json", location)
    assert list(report.tools) == ["add", "forecast", "countdown"]
    assert report.calls["add"]["structuredContent"] == {"result": 42}
    assert report.calls["forecast"]["structuredContent"] == {"city": "Lisbon", "celsius": 21.5, "sky": "clear"}
    assert report.text("countdown") == "Lift-off!"
    assert report.progress("countdown") == [(0, 3, "T minus 3"), (1, 3, "T minus 2"), (2, 3, "T minus 1")]
    assert report.logs() == [("info", "Counting down from 3")]


def test_changes_reach_the_clients_user(
    play_script: PlayScript, driver: Driver, location: ServerLocation
) -> None:
    """R-369, R-368, R-2CB, D11: by the session's stream or by a listen, whichever the client's era has."""
    report = play_script(driver, "changes.json", location)
    assert report.changes() == {"tools", "prompts", "resources", "note://today"}
