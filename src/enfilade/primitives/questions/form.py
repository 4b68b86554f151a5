"""Forms: from a Python type to the flat schema that every client can show, and back to a value (R-542).

A form has one level: text, numbers, yes or no, and choices. What a client does not know is left out of the schema
and still checked when the answer is read, by the rules for arguments; what no form can show is refused.

Easy to get wrong: null. No form has it, so a field that may be null is one that may be left out. And `pattern`
stands in one revision's prose and in no schema, so it is never sent (C-11).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.questions import Choices
from enfilade.primitives.registration_checks import reason_against
from enfilade.primitives.schema.core_schemas import for_arguments, validator_of
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.schema.keyword_values import refuse_wrong_keywords
from enfilade.primitives.schema.references import follow, object_schema
from enfilade.primitives.schema.refused_annotations import is_type, refuse_no_type, shown
from enfilade.primitives.schema.schemas import TidySchema
from enfilade.primitives.schema.type_aliases import typed_dict
from enfilade.primitives.type_errors import text_of_error

# As for arguments: attrs classes and Structs are objects, and JSON has neither NaN nor infinities.
_OPTIONS: Final = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
# Classes of values that authors write where a type is due, often as choices.
_VALUES: Final = (str, bytes, int, float, list, tuple, set, frozenset)
_CHOICES: Final = 'for choices, write Literal["a", "b"], or Choices({"a": "title", ...}) with titles'


class Form:
    """A question to the user: the schema that the client shows, and the reading of its answer.

    Args:
        response_type: a dict that is the JSON Schema of an object; a model, dataclass, TypedDict, attrs class or
            Struct, of which each field becomes a field of the form; any type that makes one field (`str`, `int`,
            `bool`, a date, an Enum, `Literal[...]`, a list of choices, or `Choices`); None for consent alone.

    Attributes:
        schema: what the client shows; it has no null.
        nullable: the names of the fields that may be null in an answer.

    Raises:
        TypeError: the type does not fit a form, which names the field, or is no type.
    """

    def __init__(self, response_type: Any) -> None:
        self._validate: Callable[[bytes], Any] | None = None
        self._checker: SchemaChecker | None = None
        self._single = False
        self.nullable: frozenset[str] = frozenset()
        self._null_if_absent: frozenset[str] = frozenset()
        if response_type is None:
            self.schema: dict[str, Any] = {"type": "object", "properties": {}}
            return
        if isinstance(response_type, Mapping):
            schema = self._from_schema(response_type)
        else:
            is_choice = isinstance(response_type, Choices)
            schema = self._from_type(response_type.annotation if is_choice else response_type)
        self.schema, self.nullable = form_schema(schema)
        self._null_if_absent = self.nullable.intersection(schema.get("required", ()))

    def _from_schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema that was written by hand; answers are checked by it."""
        if schema.get("type") != "object" or not isinstance(schema.get("properties", {}), Mapping):
            raise TypeError(
                'a dict that a form is made from must be a JSON Schema, {"type": "object", "properties": {...}}; '
                + _CHOICES
            )
        try:
            self._checker = SchemaChecker(dict(schema))
        except ValueError as error:
            raise TypeError(f"a form cannot be made from this dict: {error}") from None
        if strange := [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]:
            raise TypeError(f'a form cannot require "{strange[0]}", which is none of its properties')
        return schema

    def _from_type(self, response_type: Any) -> Mapping[str, Any]:
        """Return the schema of an object that is the type, or has it as its `value`; answers are read by it."""
        if isinstance(response_type, _VALUES):
            raise TypeError(f"a form asks for a type, and {response_type!r} is a value; {_CHOICES}")
        if not is_type(response_type):
            raise TypeError(
                f"a form asks for a type, and {shown(response_type)} is none; give a class, such as bool, str "
                f"or a model, not an object or a function; {_CHOICES}"
            )
        try:
            refuse_no_type(response_type)
        except TypeError as error:
            raise TypeError(f"a form cannot ask for {shown(response_type)}: {error}") from None
        try:
            holder = typed_dict("Answer", {"value": response_type}, _OPTIONS)
            core = for_arguments(TypeAdapter(holder).core_schema)
            schema = TidySchema().generate(core)
        except Exception as error:  # of any kind, from pydantic or a hook of the type
            reason = reason_against(response_type) or text_of_error(error)
            raise TypeError(f"a form cannot ask for {_shown(response_type)}: {reason}") from error
        try:
            refuse_wrong_keywords(schema, of_arguments=False)
        except TypeError as error:
            raise TypeError(f"a form cannot ask for {_shown(response_type)}: {error}") from None
        members = object_schema({**schema["properties"]["value"], "$defs": schema.get("$defs", {})})
        self._single = members is None or "properties" not in members
        self._validate = validator_of(core if self._single else _value_of(core)).validate_json
        return schema if self._single or members is None else members

    def read(self, content: Any) -> Any:
        """Return the answer as the type that was asked for.

        Raises:
            AnswerError: the answer does not fit; names the fields.
        """
        values = content if isinstance(content, dict) else {}
        complete = {**dict.fromkeys(self._null_if_absent), **values} if self._null_if_absent else values
        if self._checker is not None:
            if problems := self._checker.problems(complete):
                raise AnswerError("The answer does not fit the question: " + "; ".join(map(str, problems)))
            return complete
        if self._validate is None:
            return None
        try:  # as JSON: a strict model takes the string of a date from JSON alone
            answer = self._validate(msgspec.json.encode(complete))
        except ValidationError as error:
            from enfilade.primitives.values.validation_messages import error_sentences  # loaded for errors only

            sentences = "; ".join(error_sentences(error, complete, self.schema, "question"))
            raise AnswerError(f"The answer does not fit the question: {sentences}") from None
        return answer["value"] if self._single else answer


def form_of(response_type: Any) -> Form:
    """Return the form that asks for a type; that of a class is cached.

    Raises:
        TypeError: the type does not fit a form.
    """
    return _form_of_class(response_type) if isinstance(response_type, type) else Form(response_type)


_form_of_class = lru_cache(maxsize=256)(Form)


def _value_of(core: Any) -> Any:
    """Return the core schema of the member `value` of an object, with the definitions that it refers to."""
    holder = core["schema"] if core["type"] == "definitions" else core
    value = holder["fields"]["value"]["schema"]
    return core_schema.definitions_schema(value, core["definitions"]) if holder is not core else value


def _shown(response_type: Any) -> str:
    return response_type.__qualname__ if isinstance(response_type, type) else repr(response_type)


# -- the schema of a form --------------------------------------------------------------------------------------

_TEXTS: Final = ("title", "description", "default")
# The keywords that clients know, by the type of the field.
_KEYWORDS: Final = {
    "string": (*_TEXTS, "minLength", "maxLength", "format", "enum", "enumNames", "oneOf"),
    "integer": (*_TEXTS, "minimum", "maximum"),
    "number": (*_TEXTS, "minimum", "maximum"),
    "boolean": _TEXTS,
    "array": (*_TEXTS, "minItems", "maxItems", "items"),
}
_FORMATS: Final = ("email", "uri", "date", "date-time")


def form_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the schema of a form, and the names of the fields that may be null, which it does not require.

    Args:
        schema: the schema of an object, with its `$defs`.

    Raises:
        TypeError: a field does not fit a form; names it.
    """
    fields: dict[str, dict[str, Any]] = {}
    optional: set[str] = set()
    for name, member in schema.get("properties", {}).items():
        fields[name], may_be_null = _field(name, member, schema)
        if may_be_null:
            optional.add(name)
    required = schema.get("required", ())
    form: dict[str, Any] = {"type": "object", "properties": fields}
    if always := [name for name in required if name not in optional]:
        form["required"] = always
    return form, frozenset(optional)


def _field(name: str, schema: Any, root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return one field of a form, and whether its value may be null."""
    if not isinstance(schema, Mapping):
        raise _unfit(name)
    field, may_be_null = _without_null(_resolved(schema, root), root)
    is_choice = "enum" in field or "oneOf" in field
    kind = field.get("type", "string" if is_choice else None)
    if kind not in _KEYWORDS or not _is_choice_of_text(kind, field):
        raise _unfit(name)
    if kind == "array":
        field["items"] = _items(name, follow(field.get("items", {}), root))
    if field.get("format") not in _FORMATS:
        field.pop("format", None)
    keywords = {key: field[key] for key in _KEYWORDS[kind] if key in field and _is_json(field[key])}
    published = {"type": kind, **keywords}
    if "default" in published and not _fits(published["default"], published):
        del published["default"]
    return published, may_be_null


def _without_null(field: dict[str, Any], root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a field without null among its types, values and alternatives, and whether null was among them.

    The alternatives that remain become one field or one choice.
    """
    branches = [_resolved(branch, root) for branch in field.get("anyOf", ()) if isinstance(branch, Mapping)]
    values = [branch for branch in branches if branch.get("type") != "null"]
    may_be_null = len(values) < len(branches)
    siblings = {key: value for key, value in field.items() if key != "anyOf"}
    if len(values) == 1:
        inner, inner_null = _without_null(values[0], root)
        field, may_be_null = {**inner, **siblings}, may_be_null or inner_null
    elif values:
        field = {**siblings, **_joined(values)}
    if "const" in field:
        field["enum"] = [field["const"]]
    if None in field.get("enum", ()):
        field["enum"] = [value for value in field["enum"] if value is not None]
        may_be_null = True
    if isinstance(field.get("type"), list):
        kinds = [kind for kind in field["type"] if kind != "null"]
        may_be_null = may_be_null or len(kinds) < len(field["type"])
        field["type"] = kinds[0] if len(kinds) == 1 else "several"
    return field, may_be_null


def _joined(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return alternatives as one choice, with or without titles, or as a type that no form has."""
    if all("const" in branch and "title" in branch for branch in branches):
        return {"oneOf": [{"const": branch["const"], "title": branch["title"]} for branch in branches]}
    if all("const" in branch or "enum" in branch for branch in branches):
        values = [value for branch in branches for value in branch.get("enum", [branch.get("const")])]
        return {"enum": list(dict.fromkeys(values))}
    return {"type": "several"}


def _is_choice_of_text(kind: str, field: Mapping[str, Any]) -> bool:
    """Return whether a field is not a choice, or a choice of texts."""
    if "enum" in field:
        return kind == "string" and _all_text(field["enum"])
    if "oneOf" in field:
        return kind == "string" and _all_titled(field["oneOf"])
    return True


def _items(name: str, items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the items of a multiple choice: with titles (`anyOf`, C-11) or without."""
    texts = [items["const"]] if "const" in items else items.get("enum", [])
    titled = items.get("oneOf") or items.get("anyOf") or []
    if texts and _all_text(texts):
        return {"type": "string", "enum": texts}
    if titled and _all_titled(titled):
        return {"anyOf": titled}
    raise TypeError(
        f'a form cannot ask for "{name}": a list must be one of choices, such as list[Literal["a", "b"]]'
    )


def _all_text(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(value, str) for value in values)


def _all_titled(branches: Any) -> bool:
    return isinstance(branches, list) and all(
        isinstance(branch, Mapping) and isinstance(branch.get("const"), str) for branch in branches
    )


def _is_json(value: Any) -> bool:
    """Return whether JSON can hold a limit or a default (R-506)."""
    return not isinstance(value, float) or math.isfinite(value)


def _fits(default: Any, field: Mapping[str, Any]) -> bool:
    """Return whether a default would be valid as the answer."""
    import jsonschema_rs  # for few forms

    schema = {key: value for key, value in field.items() if key != "default"}
    try:
        return bool(jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(default))
    except ValueError:  # JSON cannot hold it, or a keyword is wrong
        return False


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its `$ref` written out; a definition's title is a class's name and not the field's."""
    if "$ref" not in schema:
        return dict(schema)
    definition = {key: value for key, value in follow(schema, root).items() if key != "title"}
    return {**definition, **{key: value for key, value in schema.items() if key != "$ref"}}


def _unfit(name: str) -> TypeError:
    return TypeError(f'a form cannot ask for "{name}": fields are text, numbers, yes or no, or choices of text')
