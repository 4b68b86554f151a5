"""Structured output: the schema of the return annotation, and results that match it (R-514).

The structured content is always an object, which every revision can carry: a return type that is none is
wrapped, so that `-> int` publishes and returns `{"result": 5}`. The same JSON goes into a text block for
clients that read nothing else (R-503): the whole object, or the bare value where it was wrapped, a string
without quotes.

Easy to get wrong: validating the value is not enough. Objects are not validated again, so a field may hold what
its type does not allow, and NaN passes as a float but is written as null. The serializer warns of values of
another type, but neither of None nor of a missing field (`serializer_gaps.py`). The JSON is checked against the
schema where one of these may be wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Never, NoReturn, cast, get_args, get_origin

import msgspec
from msgspec import Raw
from pydantic import ConfigDict, TypeAdapter
from pydantic_core import PydanticSerializationError, ValidationError, from_json

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.questions.input_required import without_input_required
from enfilade.primitives.schema.core_nodes import (
    AnnotationError,
    holds_anything,
    holds_objects,
    may_differ,
    may_repeat_names,
    may_write_none,
    writes_own_names,
)
from enfilade.primitives.schema.core_schemas import for_results, serializer_of, validator_of
from enfilade.primitives.schema.json_schema import SchemaChecker, format_path
from enfilade.primitives.schema.keyword_values import refuse_wrong_keywords
from enfilade.primitives.schema.portable import portable
from enfilade.primitives.schema.references import object_schema, wrapped_schema
from enfilade.primitives.schema.refused_annotations import refuse_no_type
from enfilade.primitives.schema.schemas import TidySchema
from enfilade.primitives.schema.signature import EMPTY
from enfilade.primitives.schema.type_aliases import strip
from enfilade.primitives.values.json_encoding import (
    RETURNED,
    encoded,
    encoding_error,
    fallback,
    is_surrogate_error,
    json_bytes,
    refuse_repeated_names,
    with_clean_text,
)
from enfilade.primitives.values.plain_values import scalar_result
from enfilade.primitives.values.results import (
    ResultWriter,
    ToolResult,
    UntypedWriter,
    as_list,
    block_of,
    blocks_of,
    declares_content,
    explicit_result,
    is_block,
    refuse_problems,
    text_of_json,
)
from enfilade.primitives.values.serializer_gaps import UncheckedFields
from enfilade.startup.lazy import LazyModule
from enfilade.wire.content import TextContent
from enfilade.wire.tools import CallToolResult

if TYPE_CHECKING:
    from enfilade.primitives import type_errors as _type_errors
    from enfilade.primitives.values import (
        foreign_values as _foreign,
        repeated_names as _repeated,
        serializer_gaps as _gaps,
    )
else:  # for values that fail validation, and for those of any type
    _foreign = LazyModule("enfilade.primitives.values.foreign_values")
    _type_errors = LazyModule("enfilade.primitives.type_errors")
    _repeated = LazyModule("enfilade.primitives.values.repeated_names")
    _gaps = LazyModule("enfilade.primitives.values.serializer_gaps")

log = logging.getLogger("enfilade.primitives")

_NOTHING: Final = (EMPTY, None, type(None), Any, object)
_encode: Final = msgspec.json.Encoder().encode
#: For the log, where an exception of a validator would look like one of the tool.
_IN_VALIDATOR: Final = (
    "It was raised by the validator of the result type, which is applied to what the tool returned. If that has "
    "been validated before, annotate the result with a type without this validator"
)


def writer_for(
    returns: Any, *, label: str, structured: bool | None = None, schema: dict[str, Any] | None = None
) -> ResultWriter:
    """Return the writer for a tool's results.

    Args:
        returns: the resolved return annotation.
        label: what errors call the function.
        structured: False turns structured output off; True insists on an output schema.
        schema: a hand-made output schema, in place of the annotation's.

    Raises:
        TypeError: an output schema is required and the annotation has none, or it has a limit that one of its
            members cannot have, or a class with two fields of one name.
        ValueError: the hand-made schema is not allowed for a tool.
    """
    if schema is not None:
        return ExplicitSchemaWriter(schema, label=label)
    if structured is False:
        return UntypedWriter(structured=False)
    returns = without_input_required(returns)
    bare = strip(returns)
    if bare not in (Never, NoReturn):
        try:
            refuse_no_type(returns)
        except TypeError as error:
            raise TypeError(f"{label}, the result: {error}") from None
    if any(bare is untyped for untyped in _NOTHING) or _needs_no_schema(bare) or declares_content(bare):
        why = "structured_output=True needs a return annotation that says what the data is"
    else:
        try:
            return TypedWriter(returns)
        except AnnotationError as error:
            raise TypeError(f"{label}, the result: {error}") from None
        except Exception as error:  # pydantic or a type's own hook may raise anything
            why = f"its return annotation has no JSON Schema ({_type_errors.text_of_error(error)})"
        if structured is None:
            log.warning(
                "%s: %s; its results are sent without an output schema. "
                "Return a dataclass, a TypedDict or a model, or annotate it as Any",
                *(label, why),
            )
    if structured:
        raise TypeError(f"{label}: {why}")
    return UntypedWriter()


class TypedWriter:
    """Writes results of an annotated type."""

    def __init__(self, returns: Any) -> None:
        # In a tuple, because most types take no config themselves, and that of a tuple applies to its items.
        adapter: TypeAdapter[Any] = TypeAdapter(tuple[returns], config=ConfigDict(arbitrary_types_allowed=True))
        core_schema = for_results(adapter.core_schema)
        schema = TidySchema().generate(core_schema, mode="serialization")
        (inner,) = schema["prefixItems"]
        if "$defs" in schema:
            inner = {**inner, "$defs": schema["$defs"]}
        refuse_wrong_keywords(inner, of_arguments=False)
        inner = portable(inner, sent=True)
        bare = object_schema(inner)
        self.schema: dict[str, Any] | None = bare or wrapped_schema(inner)
        self.wrapped = bare is None
        serializer = serializer_of(core_schema)
        self._validate = validator_of(core_schema, adapter).validate_python
        self._serialize = serializer.to_json
        self._to_python = serializer.to_python
        self._checker = SchemaChecker(self.schema or {}, derived=True)
        self._may_differ = may_differ(core_schema)
        self._core_schema = core_schema if holds_anything(core_schema) else None
        # NaN becomes null, and a function of the author's may return None for any type.
        self._is_null_doubtful = b'"number"' in _encode(self.schema) or may_write_none(core_schema)
        self._unchecked = UncheckedFields(core_schema) if holds_objects(core_schema) else None
        self._may_repeat_names = may_repeat_names(core_schema)
        self._writes_own_names = writes_own_names(core_schema)
        self._may_hold_blocks = _may_hold_blocks(inner)
        # A value of exactly this class is neither an iterator nor a result, and has no blocks in it.
        self._kind = None if self._may_hold_blocks else get_origin(returns) or returns
        self._plain = returns if returns in (str, int, bool, float) else None

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value of the annotated type.

        Raises:
            ReturnedValueError: the value is not of that type, or cannot be written in its schema.
        """
        if type(value) is self._plain and (quick := scalar_result(value)) is not None:
            return quick
        if type(value) is not self._kind:
            value = as_list(value)
            if (own_result := explicit_result(value, self._checker)) is not None:
                return own_result
            if self._may_hold_blocks and (own_result := _result_of_blocks(value)) is not None:
                return own_result
            if hasattr(value, "reset_index"):  # of pandas; as a list it would lose the labels of its rows
                value = self._table_value(value)
        validated = self._validated(value)
        data = self._serialized(validated)
        if self._may_repeat_names:
            self._refuse_repeated_names(validated[0], data)
        return CallToolResult(
            content=[TextContent(text=text_of_json(data))],
            structured_content=Raw(b"".join((b'{"result":', data, b"}")) if self.wrapped else data),
        )

    def _table_value(self, table: Any) -> Any:
        """Return a table of pandas with its labels; without integer labels if the type has no place for them."""
        labelled, without_numbers = _table_value(table), _foreign.without_row_numbers(table)
        if without_numbers is table:
            return labelled
        try:
            self._validated(labelled)
        except ReturnedValueError:
            return _table_value(without_numbers)
        return labelled

    def _validated(self, value: Any) -> Any:
        try:
            return self._validate((value,))
        except ValidationError as error:
            # Some releases of pydantic refuse half a surrogate pair here, others only when it is serialized. And
            # numbers of numpy, views and the like may have plainer values that fit.
            for plainer in (value, _foreign.without_row_numbers(value)):
                try:
                    return self._validate((with_clean_text(_foreign.plain_values(plainer)),))
                except ValidationError:
                    continue
                except ValueError as fault:
                    raise encoding_error(fault, value) from error
            raise ReturnedValueError(self._mismatch(error, value)) from error
        except RecursionError as error:
            raise encoding_error(error) from error
        except Exception as error:
            error.add_note(_IN_VALIDATOR)
            raise

    def _serialized(self, validated: Any) -> bytes:
        """Return the JSON of the value, checked where the serializer alone does not guarantee the schema."""
        try:
            if self._core_schema is None:
                data = self._serialize(validated, by_alias=True, warnings="error", fallback=fallback)
            else:
                data = self._serialized_with_any(validated)
            has_null = b"null" in data
            if not (self._may_differ or (has_null and self._is_null_doubtful)) and (
                self._unchecked is None or not self._unchecked.may_be_wrong(validated[0], data, has_null)
            ):
                return data[1:-1]
        except (PydanticSerializationError, RecursionError) as error:
            data = self._serialize_again(validated, error)
        self._check(data, validated)
        return data[1:-1]

    def _serialized_with_any(self, validated: Any) -> bytes:
        """Return the JSON of a value with values of any type in it, and its bytes in the standard alphabet."""
        if not _gaps.holds_bytes_in_models(validated[0]):
            data = self._serialize(validated, by_alias=True, warnings="error", fallback=fallback)
            if b"-" not in data and b"_" not in data:  # which URL-safe base64 may have
                return data
            self._refuse_repeated_names(validated[0], data[1:-1])  # the function below joins equal keys
        return self._serialize_any(validated, by_alias=True, warnings="error", fallback=fallback)

    def _refuse_repeated_names(self, validated: Any, data: bytes) -> None:
        if self._writes_own_names:
            _repeated.refuse_repeated_names_in(data, RETURNED)
        else:
            refuse_repeated_names(validated, data)

    def _check(self, data: bytes, validated: Any) -> None:
        try:
            (bare,) = from_json(data, allow_inf_nan=False)
        except ValueError as error:
            raise self._non_finite_error(validated) or encoding_error(error, validated[0]) from error
        sent = {"result": bare} if self.wrapped else bare
        try:
            refuse_problems(self._checker, sent)
        except ReturnedValueError as error:
            raise self._non_finite_error(validated) or error from None

    def _non_finite_error(self, validated: Any) -> ReturnedValueError | None:
        """Return the error for NaN and infinities, which became null or a word; None if there are none."""
        if (position := _foreign.first_non_finite(validated[0])) is None:
            return None
        path, name = position
        where = format_path(("result", *path) if self.wrapped else path)
        return ReturnedValueError(
            f"The tool returned {name} for {where}, which JSON cannot hold; "
            f"return None where there is no number, and declare it as float | None"
        )

    @cached_property
    def _serialize_any(self) -> Callable[..., bytes]:
        """Write bytes in the standard alphabet also among values of any type, and in the models there."""
        return serializer_of(_gaps.with_encoded_any(self._core_schema, encoded)).to_json

    def _serialize_again(self, validated: Any, reason: Exception) -> bytes:
        try:
            if is_surrogate_error(reason):
                return json_bytes(
                    self._to_python(with_clean_text(validated), mode="json", by_alias=True, fallback=fallback)
                )
            try:
                return self._serialize(validated, by_alias=True, warnings="none", fallback=fallback)
            except (ValueError, TypeError, AttributeError):  # such as NaT, which says that it is a date
                plainer = _foreign.plain_values(validated)
                return self._serialize(plainer, by_alias=True, warnings="none", fallback=fallback)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise encoding_error(error, validated[0]) from error

    def _mismatch(self, error: ValidationError, value: Any) -> str:
        from enfilade.primitives.values.validation_messages import returned_sentences  # loaded for errors only

        start = ("result",) if self.wrapped else ()
        sentences = returned_sentences(error, (value,), start, self.schema or {})
        return f"The tool returned what its return annotation does not allow: {'; '.join(sentences)}"


class ExplicitSchemaWriter:
    """Writes results by a hand-made output schema."""

    wrapped = False

    def __init__(self, schema: dict[str, Any], *, label: str) -> None:
        if schema.get("type") != "object":
            raise ValueError(
                f'{label}: output_schema needs "type": "object" at its root, as older clients ask for (R-504)'
            )
        self.schema: dict[str, Any] | None = schema
        self._checker = SchemaChecker(schema, only_readable=True)

    def write(self, value: Any) -> CallToolResult:
        """Return the result for a value that matches the schema once it is JSON.

        Raises:
            ReturnedValueError: it does not match.
        """
        own_result = explicit_result(value, self._checker)
        return own_result or cast(
            CallToolResult, explicit_result(ToolResult(structured_content=as_list(value)), self._checker)
        )


def _result_of_blocks(values: Any) -> CallToolResult | None:
    """Return the result for an array of anything with blocks in it, which are in its data, too; None without."""
    if not isinstance(values, (list, tuple)) or not any(map(is_block, values)):
        return None
    data = b",".join(_encode(block_of(value)) if is_block(value) else json_bytes(value) for value in values)
    return CallToolResult(content=blocks_of(values), structured_content=Raw(b'{"result":[%b]}' % data))


def _table_value(value: Any) -> Any:
    try:
        return _foreign.plain_value(value)
    except ValueError as error:
        raise encoding_error(error) from error


def _may_hold_blocks(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema, or a member of its union, is that of an array of anything, which may be blocks."""
    if branches := schema.get("anyOf"):
        return any(map(_may_hold_blocks, branches))
    limits = schema.keys() - {"type", "items", "title", "description"}
    return schema.get("type") == "array" and not limits and not schema.get("items")


def _needs_no_schema(annotation: Any) -> bool:
    """Return whether the annotation is `ToolResult`, alone or in a union, or that nothing is ever returned."""
    return annotation in (ToolResult, Never, NoReturn) or ToolResult in get_args(annotation)
