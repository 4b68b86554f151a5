"""Forms: what a user is asked, from a Python type to the flat schema that every client can show (R-542).

The protocol's forms are one level of text, numbers, yes or no and choices. Whatever pydantic makes of a type is
brought into that shape here, and the answer is read back as the type, so that constraints which no form can say
(a pattern, say) still hold.

Easy to get wrong: `pattern` stands in one revision's prose and in no schema, so it is never sent (C-11).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.questions.choices import Choices
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.schema.schema_wording import follow
from enfilade.primitives.schema.schemas import TidySchema, object_schema, typed_dict

_SAID: Final = ("title", "description", "default")
# For each kind of field: which keywords a client knows.
_KNOWN: Final = {
    "string": (*_SAID, "minLength", "maxLength", "format", "enum", "enumNames", "oneOf"),
    "integer": (*_SAID, "minimum", "maximum"),
    "number": (*_SAID, "minimum", "maximum"),
    "boolean": _SAID,
    "array": (*_SAID, "minItems", "maxItems", "items"),
}
_FORMATS: Final = ("email", "uri", "date", "date-time")


class Form:
    """A question to the user: the schema that the client shows, and the reading of its answer.

    Args:
        wanted: a dict that is the schema itself; a model, dataclass or TypedDict, of which each field becomes a
            field of the form; any type that makes one field (`str`, `int`, `bool`, a date, an Enum,
            `Literal[...]`, a list of choices, or `Choices`); None to ask for consent alone.

    Raises:
        TypeError: the type does not fit a form; names the field.
    """

    def __init__(self, wanted: Any) -> None:
        self._adapter: TypeAdapter[Any] | None = None
        self._checker: SchemaChecker | None = None
        self._single = False
        if wanted is None:
            self.schema: dict[str, Any] = {"type": "object", "properties": {}}
        elif isinstance(wanted, Mapping):
            self.schema = dict(wanted)
            self._checker = SchemaChecker(self.schema)
        else:
            self.schema = self._from_type(wanted.annotation if isinstance(wanted, Choices) else wanted)

    def _from_type(self, wanted: Any) -> dict[str, Any]:
        adapter: TypeAdapter[Any] = TypeAdapter(wanted)
        schema = object_schema(adapter.json_schema(schema_generator=TidySchema))
        if schema is None or "properties" not in schema:
            adapter = TypeAdapter(typed_dict("Answer", {"value": wanted}, ConfigDict()))
            schema = adapter.json_schema(schema_generator=TidySchema)
            self._single = True
        self._adapter = adapter
        fields = {name: _field(name, part, schema) for name, part in schema.get("properties", {}).items()}
        form: dict[str, Any] = {"type": "object", "properties": fields}
        if schema.get("required"):
            form["required"] = schema["required"]
        return form

    def read(self, content: Any) -> Any:
        """Return the answer as what was wanted.

        Raises:
            AnswerError: it does not fit; names the fields.
        """
        values = content if isinstance(content, dict) else {}
        if self._checker is not None:
            if problems := self._checker.problems(values):
                raise AnswerError("The answer does not fit the question: " + "; ".join(map(str, problems)))
            return values
        if self._adapter is None:
            return None
        try:  # as JSON, because that is what it was: a date in a strict model is a string there
            read = self._adapter.validate_json(msgspec.json.encode(values))
        except ValidationError as error:
            from enfilade.primitives.values.validation_messages import complaints  # not before something is wrong

            told = "; ".join(complaints(error, values, self.schema, "question"))
            raise AnswerError(f"The answer does not fit the question: {told}") from None
        return read["value"] if self._single else read


def form_of(wanted: Any) -> Form:
    """Return the form for what is wanted; that of a class is made once.

    Raises:
        TypeError: it does not fit a form.
    """
    return _known_form(wanted) if isinstance(wanted, type) else Form(wanted)


_known_form = lru_cache(maxsize=256)(Form)


def _field(name: str, part: Any, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return one field of a form; what it may be absent or null for is said by `required` alone."""
    field = _followed(part, root)
    real = [each for each in field.get("anyOf", ()) if each.get("type") != "null"]
    if len(real) == 1:
        field = {**_followed(real[0], root), **{key: value for key, value in field.items() if key != "anyOf"}}
    if "const" in field:
        field["enum"] = [field["const"]]
    kind = field.get("type") or ("string" if "enum" in field or "oneOf" in field else None)
    if kind not in _KNOWN or (kind != "string" and "enum" in field):
        raise TypeError(
            f'a form cannot ask for "{name}": fields are text, numbers, yes or no, or choices of text'
        )
    if kind == "array":
        field["items"] = _choices(name, follow(field.get("items", {}), root))
    if field.get("format") not in _FORMATS:
        field.pop("format", None)
    if field.get("default", 0) is None:
        del field["default"]
    return {"type": kind, **{key: field[key] for key in _KNOWN[kind] if key in field}}


def _choices(name: str, items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the items of a multiple choice: with titles (`anyOf`, C-11) or without."""
    plain = [items["const"]] if "const" in items else items.get("enum", [])
    titled = items.get("oneOf", [])
    if plain and all(isinstance(each, str) for each in plain):
        return {"type": "string", "enum": plain}
    if titled and all(isinstance(each.get("const"), str) for each in titled):
        return {"anyOf": titled}
    raise TypeError(
        f'a form cannot ask for "{name}": a list must be one of choices, such as list[Literal["a", "b"]]'
    )


def _followed(part: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its `$ref` written out; a definition's title is a class's name and not the field's."""
    if "$ref" not in part:
        return dict(part)
    found = {key: value for key, value in follow(part, root).items() if key != "title"}
    return {**found, **{key: value for key, value in part.items() if key != "$ref"}}
