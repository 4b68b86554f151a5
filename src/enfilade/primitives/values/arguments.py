"""From the raw arguments of a call to the values that a function takes: one validation of the JSON bytes.

The parameters become a `TypedDict` and not a model, because its keys may have any name: a parameter called
`schema`, `copy`, `model_config` or `_private` is as good as any.

Easy to get wrong: a caller can send anything (no object, broken UTF-8, 100,000 brackets, a number with 5,000
digits). The outcome is always an `ArgumentsError` that says what is wrong, and never another exception. All the
work for that is done only after the validation has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Optional,
    Required,
    get_args,
    get_origin,
)

import msgspec
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, ValidationError, from_json, to_json

from enfilade.primitives.errors import ArgumentsError, NotAnObjectError
from enfilade.primitives.registration_checks import (
    published_names,
    reason_against,
    refuse_impossible,
    refuse_uncallable,
)
from enfilade.primitives.schema.annotations import allows_none
from enfilade.primitives.schema.core_nodes import AnnotationError
from enfilade.primitives.schema.core_schemas import for_arguments, validator_of
from enfilade.primitives.schema.json_schema import describe_value, format_path, is_secret
from enfilade.primitives.schema.keyword_values import refuse_wrong_keywords
from enfilade.primitives.schema.mcp_headers import check_headers, write_out_headers
from enfilade.primitives.schema.portable import portable
from enfilade.primitives.schema.schemas import TidySchema
from enfilade.primitives.schema.signature import EMPTY, Parameter
from enfilade.primitives.schema.type_aliases import UNIONS, typed_dict
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives import type_errors as _type_errors
    from enfilade.primitives.schema import unions as _unions
    from enfilade.primitives.values import (
        faults as _faults,
        repairs as _repairs,
        validation_messages as _messages,
    )
else:  # loaded for errors only, and for recursive types
    _messages = LazyModule("enfilade.primitives.values.validation_messages")
    _faults = LazyModule("enfilade.primitives.values.faults")
    _repairs = LazyModule("enfilade.primitives.values.repairs")
    _type_errors = LazyModule("enfilade.primitives.type_errors")
    _unions = LazyModule("enfilade.primitives.schema.unions")

# A long array of wrong items can have a million errors; reading all of them would cost more than the call.
_MOST_ERRORS: Final = 1000

#: Bytes of arguments above which unknown names are refused before any value is built.
LARGE_ARGUMENTS: Final = 64 * 1024
_MOST_UNKNOWN: Final = 20  # unknown names that errors list or count

_REPEATING: Final = ("list", "tuple", "set", "frozenset", "dict")  # types in pydantic's core schema

_TOO_DEEP: Final = "they are nested too deeply"

_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

RawArguments = bytes | msgspec.Raw | None


class ArgumentReader:
    """Reads the arguments of one tool, prompt or resource template.

    Args:
        name: the name of the tool, prompt or template, for error messages.
        parameters: those that the caller fills.
        descriptions: of parameters that have none of their own, by name.
        label: what errors at registration call the function.
        extra: whether arguments without a parameter are refused, left out, or passed on (for
            `**kwargs`).
        kind: `tool`, `prompt` or another kind, for error messages.

    Attributes:
        schema: the JSON Schema of the arguments.

    Raises:
        TypeError: a parameter has a type that no JSON Schema can describe; names the parameter.
        ValueError: an `x-mcp-header` is wrong (R-250 to R-253).
    """

    def __init__(
        self,
        name: str,
        parameters: Iterable[Parameter],
        *,
        descriptions: Mapping[str, str],
        label: str,
        extra: Literal["forbid", "ignore", "allow"] = "forbid",
        kind: str = "tool",
    ) -> None:
        self._name = name
        self._kind = kind
        fields = {parameter.name: _field(parameter, descriptions.get(parameter.name)) for parameter in parameters}
        options = ConfigDict(
            extra=extra,
            allow_inf_nan=False,  # JSON has neither, and a string that says "nan" is no number
            arbitrary_types_allowed=True,  # for classes of attrs and msgspec; others have no JSON Schema
        )
        try:
            adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(typed_dict("Arguments", fields, options))
            self._core_schema = for_arguments(adapter.core_schema)
            refuse_impossible(self._core_schema)
            schema = TidySchema().generate(self._core_schema)
        except Exception as error:  # pydantic or a type's own hook may raise anything
            raise TypeError(_type_error(fields, label, error)) from error
        try:
            refuse_wrong_keywords(schema, of_arguments=True)
        except AnnotationError as error:
            raise TypeError(f"{label}, {error}") from None
        self.schema = _tidied({**schema, "additionalProperties": True} if extra == "ignore" else schema)
        self._validate = self._bounded(validator_of(self._core_schema, adapter).validate_json)
        refuse_uncallable(self.schema, self._validate, label, self.schema.get("required", ()))
        self._is_open = extra != "forbid"

    def read(self, arguments: RawArguments) -> dict[str, Any]:
        """Return the values by parameter name.

        Raises:
            ArgumentsError: lists everything that is wrong.
        """
        raw = b"{}" if arguments is None else bytes(arguments)
        if len(raw) > LARGE_ARGUMENTS:
            return self._read_large(raw)
        try:
            values: dict[str, Any] = self._validate(raw)
        except ValidationError as error:
            return self._read_again(raw, error, self._validate)
        except RecursionError:
            raise self._depth_error() from None
        return values

    def _read_large(self, arguments: bytes) -> dict[str, Any]:
        if not self._is_open:
            self._refuse_unknown(arguments)
        try:
            values: dict[str, Any] = self._validate_large(arguments)
        except ValidationError as error:
            return self._read_again(arguments, error, self._validate_large)
        except RecursionError:
            raise self._depth_error() from None
        return values

    @cached_property
    def _validate_large(self) -> Callable[[bytes], Any]:
        """Validation that stops at the first wrong item of an array or map: an error is larger than its item."""
        return self._bounded(validator_of(failing_fast(self._core_schema)).validate_json)

    def _bounded(self, validate: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        """Return a validation that refuses arguments for which a recursive union would be tried too often."""
        schema = self._core_schema
        if schema["type"] != "definitions" or not (branching := _unions.Branching(schema)):
            return validate

        def validated(arguments: bytes) -> Any:
            most = _unions.MOST_ATTEMPTS + len(arguments)
            try:
                values = from_json(arguments)
            except ValueError:  # the validation says what is wrong
                return validate(arguments)
            if isinstance(values, dict):
                for name, value in values.items():
                    if isinstance(value, (dict, list)) and branching.attempts(value, most) > most:
                        raise self._error([f"{format_path([name])} is nested too deeply for its alternatives"])
            return validate(arguments)

        return validated

    def _read_again(
        self, arguments: bytes, error: ValidationError, validate: Callable[[bytes], Any]
    ) -> dict[str, Any]:
        """Read arguments that failed again, with objects and arrays in place of strings of JSON; or raise."""
        if arguments.strip() == b"null":
            return self.read(None)
        if arguments.lstrip()[:1] == b"[":
            check_is_object([], self._kind, self._name, self.schema)  # before a long array is built for nothing
        unlisted = error.error_count() if error.error_count() > _MOST_ERRORS else 0
        if unlisted:
            error, validate = self._first_errors(arguments, error), self._validate_large
        try:
            values = from_json(arguments)
        except ValueError as unreadable:
            raise self._error([unreadable_json(unreadable)]) from None
        check_is_object(values, self._kind, self._name, self.schema)
        for _ in _repairs.rounds(len(arguments)):
            if error.error_count() > _MOST_ERRORS:
                break
            details = error.errors(include_url=False, include_input=False)
            faults = _faults.faults_in(details, values, self._published_names)
            repaired = self._repaired(values, faults)
            if repaired is None:
                break
            try:
                result: dict[str, Any] = validate(to_json(repaired))
            except ValidationError as again:
                error, values, unlisted = again, self._shown(values, repaired), 0
            except RecursionError:
                raise self._depth_error() from None
            else:
                return result
        if error.error_count() > _MOST_ERRORS:
            unlisted = max(unlisted, error.error_count())
        count = [f"they are wrong in {unlisted} places"] if unlisted else []
        sentences = self._sentences(error, values)
        raise self._error([*count, *sentences]) from None

    def _first_errors(self, arguments: bytes, error: ValidationError) -> ValidationError:
        """Return the errors of the first wrong item of each array and map in place of too many to look at."""
        try:
            self._validate_large(arguments)
        except ValidationError as first:
            return first
        return error

    def _refuse_unknown(self, arguments: bytes) -> None:
        """Refuse large arguments with unknown names before their values are built.

        The validator itself reports the unknown names: it gets null for the value of each of them.

        Raises:
            ArgumentsError: lists what is wrong.
        """
        outline = without_values(arguments, self.schema["properties"])
        if outline is None:
            return
        try:
            self._validate(outline)
        except ValidationError as error:
            if any(details["type"] == "extra_forbidden" for details in _listed(error)):
                raise self._error(self._sentences(error, from_json(outline))) from None

    def _repaired(self, values: Any, faults: Iterable[_faults.Fault]) -> Any:
        """Return arguments with what came as strings, and is no string, in its place; None if there is none."""
        return _repairs.repaired(values, (fault.path for fault in faults if not fault.in_key), self.schema)

    def _shown(self, values: Any, repaired: Any) -> Any:
        """Return the arguments that error_sentences are about."""
        return repaired

    def _sentences(self, error: ValidationError, values: Any) -> list[str]:
        return _messages.error_sentences(error, values, self.schema, self._kind, self._published_names)

    @cached_property
    def _published_names(self) -> _faults.PublishedNames:
        return published_names(self._core_schema)

    def _depth_error(self) -> ArgumentsError:
        return self._error([_TOO_DEEP])

    def _error(self, sentences: list[str]) -> ArgumentsError:
        return ArgumentsError(f'Invalid arguments for {self._kind} "{self._name}": {"; ".join(sentences)}')


def unreadable_json(error: ValueError) -> str:
    """Return what is wrong with arguments that pydantic's parser does not read."""
    if str(error).startswith("recursion limit"):  # of 200 levels
        return _TOO_DEEP
    return f"they are not valid JSON: {error}"


def check_is_object(values: Any, kind: str, name: str, schema: Mapping[str, Any]) -> None:
    """Check that arguments are an object, with a schema that says whether what came in its place may be shown.

    Raises:
        NotAnObjectError: says what they are.
    """
    if not isinstance(values, dict):
        got = describe_value(values, secret=is_secret(schema, schema))
        raise NotAnObjectError(f'Invalid arguments for {kind} "{name}": they should be an object, got {got}')


class StringReader(ArgumentReader):
    """Reads arguments that come as strings, whatever their types (R-530).

    A string stands for itself where the type takes it, for the value it spells otherwise: `5`, `true`, a date, a
    member of an Enum. For lists and objects it is their JSON.
    """

    def _repaired(self, values: Any, faults: Iterable[_faults.Fault]) -> Any:
        faults = list(faults)
        parsed = super()._repaired(values, faults)
        spelled = dict(values if parsed is None else parsed)
        for name in {str(fault.path[0]) for fault in faults if len(fault.path) == 1} & spelled.keys():
            text = spelled[name]
            if isinstance(text, str) and text.lstrip()[:1] not in ("{", "["):
                spelled[name] = _spelled(text)
        return spelled if spelled != values else None

    def _shown(self, values: Any, repaired: Any) -> Any:
        """Return the strings that came, and the values that were read from strings of JSON."""
        return {
            name: value if isinstance(value, list | dict) else values[name] for name, value in repaired.items()
        }


def _spelled(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return text


def failing_fast(schema: Any) -> Any:
    """Return a core schema whose arrays and maps stop at their first wrong item."""
    if isinstance(schema, dict):
        copied = {key: failing_fast(value) if key != "metadata" else value for key, value in schema.items()}
        if schema.get("type") in _REPEATING:
            copied["fail_fast"] = True
        return copied
    return [failing_fast(item) for item in schema] if isinstance(schema, list) else schema


def without_values(arguments: bytes, names: Mapping[str, Any]) -> bytes | None:
    """Return arguments with null in place of what is called by other names than these; None if nothing is.

    No values are built. Of many unknown names only some are included, for the error message.
    """
    try:
        members = _MEMBERS.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the validator says what is wrong
    unknown = [name for name in members if name not in names]
    if not unknown:
        return None
    outline: dict[str, msgspec.Raw | None] = {name: raw for name, raw in members.items() if name in names}
    outline.update(dict.fromkeys(unknown[:_MOST_UNKNOWN]))
    return msgspec.json.encode(outline)


def _listed(error: ValidationError) -> Iterable[ErrorDetails]:
    """Return the single errors, unless there are too many to look at."""
    if error.error_count() > _MOST_ERRORS:
        return ()
    return error.errors(include_url=False, include_context=False, include_input=False)


def _field(parameter: Parameter, description: str | None) -> Any:
    """Return the parameter as an item of a TypedDict: type, constraints, default, description."""
    annotation, default = parameter.annotation, parameter.default
    metadata: list[Any] = [default if isinstance(default, FieldInfo) else Field(default=default)]
    if default is EMPTY:
        metadata.clear()
    if text := _description(annotation, default, description):
        metadata.append(Field(description=text))
    fallback = default.default if isinstance(default, FieldInfo) else default
    if fallback is None and not allows_none(annotation):
        annotation = Optional[annotation]  # noqa: UP045 - `|` cannot join every annotation
    field: Any = Annotated[annotation, *metadata] if metadata else annotation
    return Required[field] if FieldInfo.from_annotation(field).is_required() else NotRequired[field]


def _description(annotation: Any, default: Any, from_docstring: str | None) -> str | None:
    """Return the description by precedence: `Annotated[T, "text"]`, `Field(description=)`, the docstring's."""
    metadata = _marks(annotation)
    for mark in reversed(metadata):
        if isinstance(mark, str):
            return mark
    for mark in (default, *reversed(metadata)):
        if isinstance(mark, FieldInfo) and mark.description:
            return mark.description
    return from_docstring


def _marks(annotation: Any) -> tuple[Any, ...]:
    """Return the marks in `Annotated[T, …]`, and those of the only type beside None in a union."""
    if get_origin(annotation) is Annotated:
        inner, *marks = get_args(annotation)
        return (*_marks(inner), *marks)
    if get_origin(annotation) not in UNIONS:
        return ()
    members = [member for member in get_args(annotation) if member is not type(None)]
    return tuple(mark for mark in _marks(members[0]) if isinstance(mark, str)) if len(members) == 1 else ()


def _tidied(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema in the order in which people read it, with `properties` even if there are none."""
    head = {"type": "object", "properties": schema.get("properties", {})}
    tail = {key: value for key, value in schema.items() if key not in (*head, "title", "description")}
    tidy = write_out_headers(portable({**head, **tail}))
    check_headers(tidy)
    return tidy


def _type_error(fields: Mapping[str, Any], label: str, error: Exception) -> str:
    """Say which parameter has a type that cannot come from JSON."""
    for name, field in fields.items():
        if reason := reason_against(get_args(field)[0]):
            return f'{label}, parameter "{name}": {reason}'
    if type(error) is TypeError:  # about several of them
        return f"{label}: {error}"
    return f"{label}: its parameters cannot be described in JSON Schema ({_type_errors.text_of_error(error)})"
