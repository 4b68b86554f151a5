"""The fields of a form, one at a time, for whoever asks for them in a terminal.

Easy to get wrong: choices. One of them may be named by its value, by its title or by its number in the list, and
a value that looks like a number is a value first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from enfilade.client.json_values import choices, kinds, near, type_name, value_of
from enfilade.primitives.schema.json_schema import refuse_elsewhere

#: No value: the field is left out of the form.
LEFT_OUT: Final = object()


@dataclass(frozen=True)
class Field:
    """A field of a form.

    Attributes:
        name: under which its value is sent.
        schema: what the value must follow.
        required: whether it may not be left out.
    """

    name: str
    schema: Mapping[str, Any]
    required: bool

    @property
    def title(self) -> str:
        """What people call it."""
        return str(self.schema.get("title") or self.name)

    @property
    def several(self) -> bool:
        """Whether it takes a list of choices."""
        return "array" in kinds(self.schema)

    @property
    def choices(self) -> list[tuple[Any, str]]:
        """The values to choose from, each with its title; empty if it is no choice."""
        items = self.schema.get("items")
        return choices(items if self.several and isinstance(items, Mapping) else self.schema)

    @property
    def wanted(self) -> str:
        """What is to be typed, in a few words."""
        if self.choices:
            return "numbers or names, separated by commas" if self.several else "number or name"
        if "boolean" in kinds(self.schema):
            return "y/n"
        return str(self.schema.get("format") or type_name(self.schema, self.schema))

    def read(self, text: str) -> Any:
        """Return the value that somebody typed; nothing typed is the default, or leaves the field out.

        Raises:
            ValueError: it is none; the text says what is expected.
        """
        if not text:
            if "default" in self.schema:
                return self.schema["default"]
            if self.required:
                raise ValueError("this is needed")
            return LEFT_OUT
        if not self.choices:
            value = value_of(text, self.schema, self.schema)
        elif self.several:
            value = [self._chosen(each.strip()) for each in text.split(",") if each.strip()]
        else:
            value = self._chosen(text)
        self._check(value)
        return value

    def _chosen(self, text: str) -> Any:
        listed = self.choices
        for index in (0, 1):
            for choice in listed:
                if text.lower() == str(choice[index]).lower():
                    return choice[0]
        if text.isdecimal() and 1 <= int(text) <= len(listed):
            return listed[int(text) - 1][0]
        hint = near(text, [title for _, title in listed])
        raise ValueError(f"{text!r} is none of the {len(listed)} choices{hint}")

    def _check(self, value: Any) -> None:
        import jsonschema_rs

        validator = jsonschema_rs.validator_for(
            dict(self.schema), validate_formats=True, retriever=refuse_elsewhere
        )
        for error in validator.iter_errors(value):
            raise ValueError(error.message)


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a form's schema, in order."""
    required = set(schema.get("required", ()))
    return [Field(name, part, name in required) for name, part in schema.get("properties", {}).items()]
