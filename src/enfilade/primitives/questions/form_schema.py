"""The schema of a form: one level of text, numbers, yes or no and choices, from any schema of an object (R-542).

What a client does not know is left out, and still checked when the answer is read. What no form can show is
refused.

Easy to get wrong: null. No form has it, so a field that may be null is one that may be left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from enfilade.primitives.schema.schema_wording import follow

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
    """Return the schema of a form, and the names of the required fields for which null stands when left out.

    Args:
        schema: of an object, with its `$defs`.

    Raises:
        TypeError: a field does not fit a form; names it.
    """
    fields: dict[str, dict[str, Any]] = {}
    optional: set[str] = set()
    for name, part in schema.get("properties", {}).items():
        fields[name], may_be_null = _field(name, part, schema)
        if may_be_null:
            optional.add(name)
    required = schema.get("required", ())
    form: dict[str, Any] = {"type": "object", "properties": fields}
    if always := [name for name in required if name not in optional]:
        form["required"] = always
    return form, frozenset(optional.intersection(required))


def _field(name: str, part: Any, root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return one field of a form, and whether its value may be null."""
    if not isinstance(part, Mapping):
        raise _unfit(name)
    field, may_be_null = _without_null(_resolved(part, root), root)
    is_choice = "enum" in field or "oneOf" in field
    kind = field.get("type", "string" if is_choice else None)
    if kind not in _KEYWORDS or not _is_choice_of_text(kind, field):
        raise _unfit(name)
    if kind == "array":
        field["items"] = _items(name, follow(field.get("items", {}), root))
    if field.get("format") not in _FORMATS:
        field.pop("format", None)
    known = {key: field[key] for key in _KEYWORDS[kind] if key in field and _is_json(field[key])}
    made = {"type": kind, **known}
    if "default" in made and not _fits(made["default"], made):
        del made["default"]
    return made, may_be_null


def _without_null(field: dict[str, Any], root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a field without null among its types, values and alternatives, and whether that was there.

    Alternatives that are left become the one that there is, or one choice.
    """
    branches = [_resolved(each, root) for each in field.get("anyOf", ()) if isinstance(each, Mapping)]
    values = [each for each in branches if each.get("type") != "null"]
    may_be_null = len(values) < len(branches)
    rest = {key: value for key, value in field.items() if key != "anyOf"}
    if len(values) == 1:
        inner, inner_null = _without_null(values[0], root)
        field, may_be_null = {**inner, **rest}, may_be_null or inner_null
    elif values:
        field = {**rest, **_joined(values)}
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
    """Return what alternatives are together: a choice with titles, one without, or nothing that a form has."""
    if all("const" in branch and "title" in branch for branch in branches):
        return {"oneOf": [{"const": branch["const"], "title": branch["title"]} for branch in branches]}
    if all("const" in branch or "enum" in branch for branch in branches):
        values = [value for branch in branches for value in branch.get("enum", [branch.get("const")])]
        return {"enum": list(dict.fromkeys(values))}
    return {"type": "several"}


def _is_choice_of_text(kind: str, field: Mapping[str, Any]) -> bool:
    """Whether a field is no choice, or one of texts."""
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
    """Whether a limit or a default is a value that JSON has (R-506)."""
    return not isinstance(value, float) or math.isfinite(value)


def _fits(default: Any, field: Mapping[str, Any]) -> bool:
    """Whether a default could be sent as the answer."""
    import jsonschema_rs  # for few forms

    schema = {key: value for key, value in field.items() if key != "default"}
    try:
        return bool(jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(default))
    except ValueError:  # it is nothing that JSON has, or a keyword is wrong
        return False


def _resolved(part: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its `$ref` written out; a definition's title is a class's name and not the field's."""
    if "$ref" not in part:
        return dict(part)
    definition = {key: value for key, value in follow(part, root).items() if key != "title"}
    return {**definition, **{key: value for key, value in part.items() if key != "$ref"}}


def _unfit(name: str) -> TypeError:
    return TypeError(f'a form cannot ask for "{name}": fields are text, numbers, yes or no, or choices of text')
