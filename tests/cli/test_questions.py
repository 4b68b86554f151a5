"""Questions to whoever is at the terminal: what is typed, and what becomes of it."""

import asyncio
import contextlib
import io
from typing import Any

import pytest
from rich.console import Console

from enfilade.cli.questions import QuestionPrompt
from enfilade.testing import Answer, Question, accept, cancel, decline
from support.servers.processes import ROOT

FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your \x1b[2Jname", "description": "as on the [b]card[/b]"},
        "size": {"oneOf": [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}], "default": "s"},
    },
    "required": ["name"],
}


def asked(typed: list[str | None], interactive: bool = True, **question: Any) -> tuple[Answer, str]:
    """Ask, type line by line, and return the answer and what was shown."""
    lines = iter(typed)

    async def read() -> str | None:
        return next(lines)

    async def scenario() -> Answer:
        prompt = QuestionPrompt(console, read, interactive, contextlib.nullcontext)
        return await prompt.ask(Question("elicitation", "Well \x1b[31m?", **question))

    console = Console(file=io.StringIO(), width=80)
    answer = asyncio.run(scenario())
    assert next(lines, "all was read") == "all was read"
    return answer, console.file.getvalue()  # type: ignore[attr-defined]


CASES: list[tuple[list[str | None], dict[str, Any], Answer]] = [
    (["Ada", "large"], {"schema": FORM}, accept({"name": "Ada", "size": "l"})),
    (["", "Ada", ""], {"schema": FORM}, accept({"name": "Ada", "size": "s"})),
    (["Ada", "!decline"], {"schema": FORM}, decline()),
    (["!cancel"], {"schema": FORM}, cancel()),
    ([None], {"schema": FORM}, cancel()),
    (["yes"], {"schema": {"type": "object", "properties": {}}}, accept()),
    ([""], {"schema": {}}, decline()),
    (["what?", "c"], {"schema": {}}, cancel()),
    (["y"], {"url": "https://x.example"}, accept()),
    (["n"], {"url": "https://x.example"}, decline()),
    ([None], {"url": "https://x.example"}, cancel()),
]


@pytest.mark.parametrize(("typed", "question", "answer"), CASES)
def test_what_is_typed_becomes_the_answer(
    typed: list[str | None], question: dict[str, Any], answer: Answer
) -> None:
    found, output = asked(typed, **question)
    assert found == answer
    assert "\x1b" not in output
    assert question.get("url", "") in output


def test_a_form_shows_what_is_asked() -> None:
    _, output = asked(["Ada", "1"], schema=FORM)
    for arguments in (
        "The server asks: Well [31m?",
        "!decline refuses",
        "as on the [b]card[/b]",
        "Your [2Jname [string]:",
        "1  Small  (s)",
        "size [number or name, s if empty]:",
    ):
        assert arguments in output


def test_the_page_shows_a_form_as_it_is_printed() -> None:
    page = (ROOT / "docs/inspect-and-call.md").read_text(encoding="utf-8")
    schema = {"properties": {"sugar": {"type": "integer", "default": 0}}}
    _, output = asked(["2"], schema=schema)
    hint, field = output.splitlines()[1:]
    assert f"The server asks: How would you like it?\n{hint}\n{field}2\n" in page


def test_nobody_is_taken_for_somebody() -> None:
    answer, output = asked([], interactive=False, schema=FORM)
    assert answer == decline()
    assert "nobody can be asked: declined" in output
