"""Forms: what a user is asked, from a Python type to the flat schema that every client can show (R-542).

`form_schema` brings whatever pydantic makes of a type into the shape of a form. The answer is read back as the
type, by the rules for arguments, so constraints which no form can say (a pattern, say) still hold.

Easy to get wrong: `pattern` stands in one revision's prose and in no schema, so it is never sent (C-11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import core_schema

from enfilade.primitives.errors import AnswerError
from enfilade.primitives.questions.choices import Choices
from enfilade.primitives.questions.form_schema import form_schema
from enfilade.primitives.registration_checks import reason_against
from enfilade.primitives.schema.core_schemas import for_arguments, validator_of
from enfilade.primitives.schema.json_schema import SchemaChecker
from enfilade.primitives.schema.schemas import TidySchema, object_schema, typed_dict

#: As for arguments: classes of attrs and msgspec are objects, and JSON has neither NaN nor infinities.
_OPTIONS: Final = ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
#: Values, which are often meant as choices, and never types.
_VALUES: Final = (str, bytes, int, float, list, tuple, set, frozenset)
_CHOICES: Final = 'for choices, write Literal["a", "b"], or Choices({"a": "title", ...}) with titles'


class Form:
    """A question to the user: the schema that the client shows, and the reading of its answer.

    Args:
        wanted: a dict that is the JSON Schema of an object; a model, dataclass, TypedDict, attrs class or Struct,
            of which each field becomes a field of the form; any type that makes one field (`str`, `int`, `bool`,
            a date, an Enum, `Literal[...]`, a list of choices, or `Choices`); None to ask for consent alone.

    Raises:
        TypeError: the type does not fit a form, which names the field, or is no type.
    """

    def __init__(self, wanted: Any) -> None:
        self._validate: Callable[[bytes], Any] | None = None
        self._checker: SchemaChecker | None = None
        self._single = False
        self._null_if_absent: frozenset[str] = frozenset()
        if wanted is None:
            self.schema: dict[str, Any] = {"type": "object", "properties": {}}
            return
        if isinstance(wanted, Mapping):
            schema = self._from_schema(wanted)
        else:
            schema = self._from_type(wanted.annotation if isinstance(wanted, Choices) else wanted)
        self.schema, self._null_if_absent = form_schema(schema)

    def _from_schema(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema that was written by hand, and check answers by it."""
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

    def _from_type(self, wanted: Any) -> Mapping[str, Any]:
        """Return the schema of an object that is the type, or has it as its `value`; read answers by it."""
        if isinstance(wanted, _VALUES):
            raise TypeError(f"a form asks for a type, and {wanted!r} is a value; {_CHOICES}")
        try:
            holder = typed_dict("Answer", {"value": wanted}, _OPTIONS)
            core = for_arguments(TypeAdapter(holder).core_schema)
            schema = TidySchema().generate(core)
        except Exception as error:  # whatever pydantic or a type's own hook has against it
            reason = reason_against(wanted) or str(error).splitlines()[0]
            raise TypeError(f"a form cannot ask for {_shown(wanted)}: {reason}") from error
        members = object_schema({**schema["properties"]["value"], "$defs": schema.get("$defs", {})})
        self._single = members is None or "properties" not in members
        self._validate = validator_of(core if self._single else _value_of(core)).validate_json
        return schema if self._single or members is None else members

    def read(self, content: Any) -> Any:
        """Return the answer as what was wanted.

        Raises:
            AnswerError: it does not fit; names the fields.
        """
        values = content if isinstance(content, dict) else {}
        complete = {**dict.fromkeys(self._null_if_absent), **values} if self._null_if_absent else values
        if self._checker is not None:
            if problems := self._checker.problems(complete):
                raise AnswerError("The answer does not fit the question: " + "; ".join(map(str, problems)))
            return values
        if self._validate is None:
            return None
        try:  # as JSON, because that is what it was: a date in a strict model is a string there
            answer = self._validate(msgspec.json.encode(complete))
        except ValidationError as error:
            from enfilade.primitives.values.validation_messages import complaints  # not before something is wrong

            sentences = "; ".join(complaints(error, complete, self.schema, "question"))
            raise AnswerError(f"The answer does not fit the question: {sentences}") from None
        return answer["value"] if self._single else answer


def form_of(wanted: Any) -> Form:
    """Return the form for what is wanted; that of a class is made once.

    Raises:
        TypeError: it does not fit a form.
    """
    return _form_of_class(wanted) if isinstance(wanted, type) else Form(wanted)


_form_of_class = lru_cache(maxsize=256)(Form)


def _value_of(core: Any) -> Any:
    """Return the core schema of the member `value` of an object, with the definitions that it refers to."""
    holder = core["schema"] if core["type"] == "definitions" else core
    value = holder["fields"]["value"]["schema"]
    return core_schema.definitions_schema(value, core["definitions"]) if holder is not core else value


def _shown(wanted: Any) -> str:
    return wanted.__qualname__ if isinstance(wanted, type) else repr(wanted)
