"""Elicitation at the terminal: forms field by field, and URLs to visit.

Without a terminal a form is declined, and a line on stderr says so. A page is not declined, since somebody may
still visit it: the command fails with its URL, and can be called again after the visit.

Easy to get wrong: the thread that reads a line. If the call ends while it waits, the command must end without
another key press. Python's own files are locked while they are read, so the thread reads the descriptor.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console

from enfilade.cli.command import CommandError
from enfilade.cli.output import printable, rich_text
from enfilade.client.json_values import choices, kinds, suggestion, type_name, value_of
from enfilade.client.scripted_answers import Answer, Question, accept, cancel, decline

#: Input that refuses a form or cancels it.
_WAYS_OUT: Final = {"!decline": decline, "!cancel": cancel}
_CONSENT: Final = {
    **dict.fromkeys(("y", "yes"), accept),
    **dict.fromkeys(("n", "no", ""), decline),
    **dict.fromkeys(("c", "cancel"), cancel),
}


class QuestionPrompt:
    """Asks the user the questions of a server.

    Args:
        read_answer: reads a line of input; None at the end of input.
        interactive: whether there is a terminal to ask at.
        pause: hides the progress bar while a question is on the screen.
    """

    def __init__(
        self,
        console: Console,
        read_answer: Callable[[], Awaitable[str | None]],
        interactive: bool,
        pause: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._console = console
        self._read_answer = read_answer
        self._interactive = interactive
        self._pause = pause
        self._lock = asyncio.Lock()  # questions may arrive together, and are asked one by one

    async def ask(self, question: Question) -> Answer:
        """Return the user's answer.

        Raises:
            CommandError: a page is to be visited, and there is no terminal.
        """
        if not self._interactive:
            self._console.print(rich_text(f"The server asks: {question.message}", "yellow"))
            if question.url is not None:
                raise CommandError(f"open this page, and then call again: {question.url}")
            self._console.print("This is not a terminal, so nobody can be asked: declined.")
            return decline()
        async with self._lock:
            with self._pause():
                self._console.print(rich_text(f"The server asks: {question.message}", "bold yellow"))
                if question.url is not None:
                    self._console.print("It wants you to visit this page:")
                    self._console.print(rich_text(question.url, "underline"), soft_wrap=True)
                    return await self._consent("Did you, or will you?")
                fields = fields_of(question.schema or {})
                return await (self._form(fields) if fields else self._consent("Accept?"))

    async def _consent(self, prompt: str) -> Answer:
        while True:
            text = await self._prompt(f"{prompt} [y/N/c to cancel] ")
            if text is None:
                return cancel()
            if (answer := _CONSENT.get(text.lower())) is not None:
                return answer()
            self._console.print("y for yes, n for no, c to cancel", style="red")

    async def _form(self, fields: list[FormField]) -> Answer:
        self._console.print("!decline refuses the form, !cancel cancels it.", style="dim")
        content: dict[str, Any] = {}
        for field in fields:
            self._introduce(field)
            value = await self._field(field)
            if isinstance(value, Answer):
                return value
            if value is not OMITTED:
                content[field.name] = value
        return accept(content)

    def _introduce(self, field: FormField) -> None:
        if field.schema.get("description"):
            self._console.print(rich_text(field.schema["description"], "dim"))
        for number, (value, title) in enumerate(field.choices, start=1):
            named = f"  ({value})" if str(value) != title else ""
            self._console.print(rich_text(f"  {number}  {title}{named}"))

    async def _field(self, field: FormField) -> Any:
        while True:
            default = field.schema.get("default")
            fallback = "" if default is None else f", {_shown(default)} if empty"
            optional = "" if field.required or default is not None else ", may be empty"
            text = await self._prompt(
                f"{printable(field.title)} [{printable(field.hint + fallback + optional)}]: "
            )
            if text is None:
                return cancel()
            if text in _WAYS_OUT:
                return _WAYS_OUT[text]()
            try:
                return field.read(text)
            except ValueError as error:
                self._console.print(rich_text(str(error), "red"))

    async def _prompt(self, prompt: str) -> str | None:
        self._console.print(rich_text(prompt, "bold"), end="")
        self._console.file.flush()
        text = await self._read_answer()
        return None if text is None else text.strip()


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return {True: "y", False: "n"}[value] if isinstance(value, bool) else str(value)


# -- The fields of a form ---
#: The value of a field that is omitted from the form.
OMITTED: Final = object()


@dataclass(frozen=True)
class FormField:
    """A field of a form.

    Attributes:
        name: its name in the form.
        schema: the schema of its value.
        required: whether it must not be omitted.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool

    @property
    def title(self) -> str:
        """The title for the user."""
        return str(self.schema.get("title") or self.name)

    @property
    def is_multiple(self) -> bool:
        """Whether its value is a list of choices."""
        return "array" in kinds(self.schema)

    @property
    def choices(self) -> list[tuple[Any, str]]:
        """The values to choose from, each with its title; empty if there is no enumeration."""
        items = self.schema.get("items")
        return choices(items if self.is_multiple and isinstance(items, Mapping) else self.schema)

    @property
    def hint(self) -> str:
        """The expected input in a few words."""
        if self.choices:
            return "numbers or names, separated by commas" if self.is_multiple else "number or name"
        if "boolean" in kinds(self.schema):
            return "y/n"
        return str(self.schema.get("format") or type_name(self.schema, self.schema))

    def read(self, text: str) -> Any:
        """Return the value of a typed text; an empty text gives the default, or omits the field.

        Raises:
            ValueError: the text is no valid value; the message says what is expected.
        """
        if not text:
            if "default" in self.schema:
                return self.schema["default"]
            if self.required:
                raise ValueError("this is needed")
            return OMITTED
        if not self.choices:
            value = value_of(text, self.schema, self.schema)
        elif self.is_multiple:
            value = [self._choice(name.strip()) for name in text.split(",") if name.strip()]
        else:
            value = self._choice(text)
        self._check(value)
        return value

    def _choice(self, text: str) -> Any:
        listed = self.choices
        for index in (0, 1):
            for choice in listed:
                if text.lower() == str(choice[index]).lower():
                    return choice[0]
        if text.isdecimal() and 1 <= int(text) <= len(listed):
            return listed[int(text) - 1][0]
        hint = suggestion(text, [title for _, title in listed])
        raise ValueError(f"{text!r} is none of the {len(listed)} choices{hint}")

    def _check(self, value: Any) -> None:
        import jsonschema_rs

        from enfilade.primitives.schema.json_schema import refuse_elsewhere

        validator = jsonschema_rs.validator_for(
            dict(self.schema), validate_formats=True, retriever=refuse_elsewhere
        )
        for error in validator.iter_errors(value):
            raise ValueError(error.message)


def fields_of(schema: Mapping[str, Any]) -> list[FormField]:
    """Return the fields of a form's schema, in order."""
    required = set(schema.get("required", ()))
    return [
        FormField(name, field_schema, name in required)
        for name, field_schema in schema.get("properties", {}).items()
    ]


# -- Reading a line in a thread, so that the event loop goes on ---


async def read_line() -> str | None:
    """Return the next line without its end, or None if there is no more."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str | None] = loop.create_future()

    def read() -> None:
        try:
            data = os.read(sys.stdin.fileno(), 65_536)
        except OSError:
            data = b""
        text = data.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r\n") if data else None
        try:
            loop.call_soon_threadsafe(_settle, line, text)
        except RuntimeError:  # the loop is closed: nothing waits for the line
            return

    threading.Thread(target=read, daemon=True, name="enfilade-read-line").start()
    return await line


def _settle(line: asyncio.Future[str | None], text: str | None) -> None:
    if not line.done():
        line.set_result(text)
