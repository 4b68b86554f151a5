"""Read text typed by a user as a value of a JSON Schema: an argument of a tool, or a field of a form.

Easy to get wrong:
- A text that is valid for several types. The narrowest type comes first (`5` is a number where numbers are
  allowed), but where strings are allowed, `null` is a string.
- Choices. One may be named by its value, its title or its number in the list; a value that looks like a number is
  a value first.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from enfilade.primitives.schema.references import at_pointer

Schema = Mapping[str, Any]

_MAX_DEPTH: Final = 16  # of nested references
_INTEGER: Final = re.compile(r"[+-]?\d+")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_FLAGS: Final = {
    **dict.fromkeys(("true", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "off", "0"), False),
}
#: The types in the order in which they are tried, each with its description in errors.
_EXPECTED: Final = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a JSON array",
    "object": "a JSON object",
    "null": "null",
    "string": "a text",
}


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """Return `; did you mean …?` for a name that is similar to some candidates; empty if none is."""
    matches = difflib.get_close_matches(name, list(candidates), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def alternatives(schema: Schema, root: Schema, depth: int = 0) -> list[Schema]:
    """Return the alternative schemas of a value: references are resolved, `anyOf` and `oneOf` are split."""
    if depth > _MAX_DEPTH:
        return [schema]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        referenced = at_pointer(reference, root)
        if not isinstance(referenced, Mapping):
            return [schema]
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return alternatives({**referenced, **siblings}, root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return [leaf for option in schema[key] for leaf in alternatives(option, root, depth + 1)]
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        siblings = {key: value for key, value in schema.items() if key != "allOf"}
        return alternatives({**schema["allOf"][0], **siblings}, root, depth + 1)
    return [schema]


def choices(schema: Schema) -> list[tuple[Any, str]]:
    """Return the values that a schema enumerates, each with its title; empty if it has no enumeration."""
    if "const" in schema:
        return [(schema["const"], str(schema.get("title", schema["const"])))]
    if isinstance(schema.get("enum"), list):
        names = schema.get("enumNames") or schema["enum"]
        return [(value, str(name)) for value, name in zip(schema["enum"], names, strict=False)]
    for key in ("oneOf", "anyOf"):
        options = schema.get(key)
        if (
            isinstance(options, list)
            and options
            and all(isinstance(o, Mapping) and "const" in o for o in options)
        ):
            return [(option["const"], str(option.get("title", option["const"]))) for option in options]
    return []


def kinds(schema: Schema) -> list[str]:
    """Return the types in a schema without alternatives; empty if it has no `type`."""
    types = schema.get("type")
    return [types] if isinstance(types, str) else [str(kind) for kind in types] if types else []


def expected(schema: Schema, root: Schema) -> str:
    """Return a description of the values that a schema accepts."""
    descriptions: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            descriptions.append(", ".join(_as_text(value) for value, _ in listed))
        else:
            descriptions.extend(_EXPECTED.get(kind, kind) for kind in kinds(option))
    return " or ".join(dict.fromkeys(descriptions)) or "a text"


def type_name(schema: Schema, root: Schema, depth: int = 0) -> str:
    """Return the type of a schema in short notation.

    Examples are `integer | null`, `red | green`, `array of string`, `array (string, integer)` or `object of
    integer`.
    """
    names: list[str] = []
    for option in alternatives(schema, root):
        if listed := choices(option):
            names.extend(_as_text(value) for value, _ in listed)
        for kind in () if listed else kinds(option):
            names.append(_container_name(kind, option, root, depth) or kind)
    return " | ".join(dict.fromkeys(names)) or "any"


def _container_name(kind: str, schema: Schema, root: Schema, depth: int) -> str:
    """Return the type of an array or an object with the type of its items; empty if the schema has none."""
    tuple_items = schema.get("prefixItems")
    if depth >= _MAX_DEPTH:
        return ""
    if kind == "array" and isinstance(tuple_items, list) and tuple_items:
        names = [type_name(item, root, depth + 1) if isinstance(item, Mapping) else "any" for item in tuple_items]
        return f"array ({', '.join(names)})"
    items = schema.get({"array": "items", "object": "additionalProperties"}.get(kind, ""))
    return f"{kind} of {type_name(items, root, depth + 1)}" if isinstance(items, Mapping) and items else ""


def value_of(text: str, schema: Schema, root: Schema) -> Any:
    """Return the value of a text.

    Args:
        text: the typed text.
        schema: the schema of the value.
        root: the schema in which references are resolved.

    Raises:
        ValueError: the text is no valid value; the message has the expected types and the text.
    """
    options = alternatives(schema, root)
    listed = [value for option in options for value, _ in choices(option)]
    for value in listed:
        if text == (value if isinstance(value, str) else json.dumps(value)):
            return value
    allowed = {kind for option in options if not choices(option) for kind in kinds(option) or ["string"]}
    for kind in _EXPECTED:
        if kind in allowed and (kind != "null" or "string" not in allowed):
            value = _READERS[kind](text)
            if value is not _NO_VALUE:
                return value
    hint = suggestion(text, [str(value) for value in listed])
    raise ValueError(f"expected {expected(schema, root)}, got {text!r}{hint}")


_NO_VALUE: Final = object()


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return _NO_VALUE
    return value if isinstance(value, kind) else _NO_VALUE


def _number(text: str) -> Any:
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else _NO_VALUE


_READERS: Final[dict[str, Any]] = {
    "integer": lambda text: int(text) if _INTEGER.fullmatch(text) else _NO_VALUE,
    "number": _number,
    "boolean": lambda text: _FLAGS.get(text.lower(), _NO_VALUE),
    "array": lambda text: _json(text, list),
    "object": lambda text: _json(text, dict),
    "null": lambda text: None if text == "null" else _NO_VALUE,
    "string": lambda text: text,
}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


#: The value of a field that is omitted from the form.
OMITTED: Final = object()


@dataclass(frozen=True)
class Field:
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


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """Return the fields of a form's schema, in order."""
    required = set(schema.get("required", ()))
    return [
        Field(name, field_schema, name in required) for name, field_schema in schema.get("properties", {}).items()
    ]
