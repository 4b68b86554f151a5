"""Plain types are read, described and written by msgspec as pydantic does it: the two are compared.

Easy to get wrong: a comparison of pydantic with itself, which does what msgspec leaves to it. So the lists here
say what msgspec must do.
"""

import enum
import json
import math
import random
import subprocess
import sys
from types import NoneType, UnionType
from typing import Annotated, Any, Dict, List, Literal, Optional, Union  # noqa: UP035

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError
from enfilade.primitives.schema.plain_schemas import NotPlainError
from enfilade.primitives.schema.references import inline_references
from enfilade.primitives.schema.signature import EMPTY, Parameter, is_deferrable_parameter
from enfilade.primitives.values import json_encoding, plain_values
from enfilade.primitives.values.arguments import ArgumentReader
from enfilade.primitives.values.plain_values import PlainReader, PlainWriter, plain_json
from enfilade.primitives.values.structured_output import TypedWriter, writer_for


class Colour(enum.Enum):
    RED = "a"
    BLUE = "b"


class Size(enum.StrEnum):
    """How large.

    In words.
    """

    SMALL = "1"
    LARGE = "true"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2
    NONE = 0


class Only(int, enum.Enum):
    """The only one."""

    ONE = 5


class Text(str, enum.Enum):  # noqa: UP042 - as authors still write it
    EMPTY = ""
    A = "a"


LEAVES: list[Any] = [
    *(str, int, float, bool, None, Any, list, dict, List, Dict),  # noqa: UP006
    *(Literal["a"], Literal["a", "b"], Literal[1, 2], Literal["a", 1], Literal["a", None], Literal[None]),
    *(Literal[True], Literal["a", 1, False]),
    *(Colour, Size, Level, Only, Text),
]


def some_type(choice: random.Random, depth: int = 0) -> Any:
    """Return a type made of the leaves."""
    kind = choice.randrange(8 if depth < 3 else 3)
    inner: Any = some_type(choice, depth + 1) if kind > 2 else choice.choice(LEAVES)
    if kind < 5:
        return {3: list[inner], 4: dict[str, inner]}.get(kind, inner)
    members = (inner, *(some_type(choice, depth + 2) for _ in range(kind - 5)))
    return Optional[inner] if kind == 5 else Union[members]  # noqa: UP007, UP045


# Made once: `typing` remembers unions, and which of two equal ones it gives depends on what was asked for before.
_CHOICE = random.Random(1)
TYPES = st.sampled_from([*LEAVES, *(some_type(_CHOICE) for _ in range(400))])
DEFAULTS = st.sampled_from(
    [EMPTY, EMPTY, None, "a", "", "b", 1, 0, 5, 2**70, True, False, 1.5, -0.0, 2.0, Size.SMALL, *Colour, *Level]
)
NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(), st.floats(), st.sampled_from([2**53 + 1, 1e22, 1e-7, 5e-324])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(), st.sampled_from(["a", "b", "1", "1.5", "true"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)),
    max_leaves=8,
)
OTHER_VALUES = st.recursive(
    st.one_of(SCALARS, st.binary(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(), st.booleans()), inner, max_size=4),
        st.frozensets(st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    ),
    max_leaves=8,
)


def value_of(annotation: Any, of_python: bool = False) -> st.SearchStrategy[Any]:
    """Return values that are mostly right for a type; those of an Enum as its members, or in JSON."""
    kind, arguments = getattr(annotation, "__origin__", annotation), getattr(annotation, "__args__", ())
    if kind in (str, int, float, bool):
        return {str: st.text(), int: st.integers(), float: st.floats(), bool: st.booleans()}[kind]
    if kind in (None, NoneType):
        return st.none()
    if isinstance(kind, enum.EnumType):
        return st.sampled_from(list(kind) if of_python else [member.value for member in kind])
    if kind is list:
        return st.lists(value_of(arguments[0], of_python) if arguments else VALUES, max_size=4)
    if kind is dict:
        return st.dictionaries(
            st.text(max_size=3), value_of(arguments[1], of_python) if arguments else VALUES, max_size=4
        )
    if kind is Literal:
        return st.sampled_from(arguments)
    if kind is Union or isinstance(annotation, UnionType):
        return st.one_of(*(value_of(argument, of_python) for argument in arguments))
    return VALUES


def full_reader(*parameters: Parameter, extra: bool = False) -> ArgumentReader:
    return ArgumentReader(
        "f", parameters, descriptions={"x": "About x."}, label="f()", extra="ignore" if extra else "forbid"
    )


def refuse() -> Any:
    raise AssertionError("pydantic is needed")


def plain_reader(*parameters: Parameter, extra: bool = False) -> PlainReader:
    return PlainReader(parameters, descriptions={"x": "About x."}, extra=extra, full=refuse)


def as_text(value: Any) -> str:
    """Return a value with the types of all that is in it, in its order."""
    return repr(value)


# -- schemas ---------------------------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(TYPES, DEFAULTS, st.booleans(), st.sampled_from([None, "Of its own.", ""]))
def test_schemas_of_arguments(annotation: Any, default: Any, extra: bool, text: str | None) -> None:
    marked = annotation if text is None else Annotated[annotation, "Not this.", text]
    parameters = [Parameter("x", marked, default), Parameter("_y", str, EMPTY), Parameter("z", float, 1)]
    if not all(map(is_deferrable_parameter, parameters)):  # a default of another Enum
        return
    try:
        schema = plain_reader(*parameters, extra=extra).schema
    except NotPlainError:
        return
    published = full_reader(*parameters, extra=extra).schema
    published = inline_references(published) if "$defs" in published else published
    assert json.dumps(schema) == json.dumps(published)


@settings(max_examples=400, deadline=None)
@given(TYPES)
def test_schemas_of_results(annotation: Any) -> None:
    full = writer_for(annotation, label="f()")
    try:
        plain = PlainWriter(annotation, refuse)
    except NotPlainError:
        return
    if isinstance(full, TypedWriter):
        published = inline_references(full.schema) if "$defs" in (full.schema or {}) else full.schema
        assert (json.dumps(plain.schema), plain.wrapped) == (json.dumps(published), full.wrapped)


@pytest.mark.parametrize(
    "annotation",
    [
        *(str, int, float, bool, list, dict, list[str], dict[str, float], dict[str, list[int | None]]),
        *(str | None, Optional[list[dict[str, Any]]], int | str | None, Literal["a", "b"], Literal[1]),  # noqa: UP045
    ],
    ids=str,
)
def test_common_types_are_plain(annotation: Any) -> None:
    plain_reader(Parameter("x", annotation, EMPTY), Parameter("y", annotation, None))
    PlainWriter(annotation, refuse)


def test_no_parameters() -> None:
    assert json.dumps(plain_reader().schema) == json.dumps(full_reader().schema)
    assert plain_reader().read(None) == plain_reader().read(b" {} ") == {}


def test_definitions_that_are_kept_are_left_to_pydantic() -> None:
    parameter = Parameter("x", list[Colour], EMPTY)
    for has_refs, expected in ((True, ArgumentReader), (False, PlainReader)):
        reader = plain_values.reader_for(
            [parameter], descriptions={}, extra=False, has_refs=has_refs, full=lambda: full_reader(parameter)
        )
        assert type(reader) is expected
        assert ("$defs" in reader.schema) is has_refs
    full = writer_for(Colour, label="f()")
    assert plain_values.writer_for(Colour, has_refs=True, full=lambda: full) is full


# -- arguments -------------------------------------------------------------------------------------------------


def both_read(parameters: list[Parameter], raw: bytes, *, extra: bool = False) -> bool:
    """Compare what the two readers return; return whether msgspec read it."""
    try:
        values = plain_reader(*parameters, extra=extra).read(raw)
    except (AssertionError, NotPlainError):
        return False
    assert as_text(values) == as_text(full_reader(*parameters, extra=extra).read(raw))
    return True


@settings(max_examples=500, deadline=None)
@given(st.data(), TYPES, st.booleans())
def test_arguments(data: st.DataObject, annotation: Any, extra: bool) -> None:
    value = data.draw(st.one_of(value_of(annotation), VALUES))
    more = data.draw(st.dictionaries(st.sampled_from(["y", "z"]), VALUES, max_size=2))
    raw = json.dumps({"x": value, **more}, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    both_read([Parameter("x", annotation, EMPTY), Parameter("y", bool, False)], raw, extra=extra)


READ = [
    (int, b"-0"),
    (int, b"123456789012345678901234567890"),
    (float, b"12345678901234567890123456789012345678901234567890"),
    (float, b"-0.0"),
    (float, b"0.1e-400"),
    (str, b'"\\u0000\\ud83d\\ude00\\/\x7f"'),
    (Any, b'{"a": [1, 1.0, -0.0, -0, 1e5, {"b": null}], "a": 2}'),
    (int | float, b"1e2"),
    (dict, b'{"a": 1, "\\u0061": 2}'),
    (list[Any], b"[" + b"[" * 100 + b"]" * 100 + b"]"),
    (list, b"[" + b",".join([b'{"a": [[]]}'] * 500) + b"]"),
]


@pytest.mark.parametrize(("annotation", "raw"), READ, ids=str)
def test_values_that_msgspec_reads(annotation: Any, raw: bytes) -> None:
    assert both_read([Parameter("x", annotation, EMPTY)], b'{"x": %b}' % raw)


NOT_READ = [
    *(
        (int, b"1.0"),
        (int, b'"1"'),
        (int, b"true"),
        (float, b"1e400"),
        (float, b"NaN"),
        (bool, b"1"),
        (str, b"1"),
    ),
    *((str, b'"\\ud800"'), (str, b'"\xff"'), (list, b"[" * 300 + b"]" * 300), (dict, b"[]"), (Any, b"1e400")),
    *((list[int] | list[str], b"[1]"), (Literal["a"], b'"b"'), (list[int], b'"[1]"'), (int, b"null")),
]


@pytest.mark.parametrize(("annotation", "raw"), NOT_READ, ids=str)
def test_what_msgspec_does_not_read_is_left_to_pydantic(annotation: Any, raw: bytes) -> None:
    parameter, arguments = Parameter("x", annotation, EMPTY), b'{"x": %b}' % raw
    assert not both_read([parameter], arguments)
    readers = (
        full_reader(parameter),
        plain_values.PlainReader([parameter], descriptions={}, extra=False, full=lambda: full_reader(parameter)),
    )
    outcomes = []
    for reader in readers:
        try:
            outcomes.append(as_text(reader.read(arguments)))
        except ArgumentsError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


def test_unknown_and_missing_arguments() -> None:
    parameter = Parameter("x", str, EMPTY)
    reader = PlainReader([parameter], descriptions={}, extra=False, full=lambda: full_reader(parameter))
    for arguments in (None, b"null", b"[]", b"{", b'{"x": "a", "y": 1}', b'{"y": 1}'):
        with pytest.raises(ArgumentsError) as plain:
            reader.read(arguments)
        with pytest.raises(ArgumentsError) as full:
            full_reader(parameter).read(arguments)
        assert str(plain.value) == str(full.value)
    assert plain_reader(parameter, extra=True).read(b'{"x": "a", "y": 1}') == {"x": "a"}


@pytest.mark.parametrize("name", ["self", "schema", "copy", "_private", "model_config", "größe", "type", "json"])
def test_parameters_may_have_any_name(name: str) -> None:
    assert plain_reader(Parameter(name, int, EMPTY)).read(json.dumps({name: 1}).encode()) == {name: 1}


@pytest.mark.parametrize("name", ["__init__", "__x", "__struct_config__"])
def test_names_with_two_underscores_are_left_to_pydantic(name: str) -> None:
    with pytest.raises(NotPlainError):
        plain_reader(Parameter(name, int, EMPTY))


# -- results ---------------------------------------------------------------------------------------------------


def outcome(writer: Any, value: Any) -> Any:
    try:
        return msgspec.json.encode(writer.write(value))
    except ReturnedValueError as error:
        return str(error)


@settings(max_examples=500, deadline=None)
@given(st.data(), TYPES)
def test_results(data: st.DataObject, annotation: Any) -> None:
    value = data.draw(st.one_of(value_of(annotation, True), value_of(annotation), OTHER_VALUES))
    full = writer_for(annotation, label="f()")
    try:
        plain = PlainWriter(annotation, lambda: full)
    except NotPlainError:
        return
    if isinstance(full, TypedWriter):
        assert outcome(plain, value) == outcome(full, value)


WRITTEN = [
    *((str, "a\u20ac\x7f\n"), (int, 2**63), (float, 1e22), (float, 1), (bool, True), (str | None, None)),
    *((list[float], [1, 2.5]), (dict[str, float | None], {"a": None, "b": 1.0}), (list, [(1, {"a": b"\xfb"})])),
    *((dict, {"a-b": b"\xfb\xff"}), (dict[str, list[str]], {"a": ["b"]}), (dict, {"a": [{"b": [[]]}] * 300})),
    *(
        (list, [1e16, -1e22, 1e-9, "1e5", 'a"1e5\\', {"1e5": 1e300}]),
        (list[float], [1e16]),
        (dict[str, str], {"1e5": "1e5"}),
    ),
]


@pytest.mark.parametrize(("annotation", "value"), WRITTEN, ids=str)
def test_values_that_msgspec_writes(annotation: Any, value: Any) -> None:
    result = PlainWriter(annotation, refuse).write(value)
    assert msgspec.json.encode(result) == outcome(writer_for(annotation, label="f()"), value)


class Number(int):
    """An integer of a class of its own."""


NOT_WRITTEN = [
    *((int, Number(1)), (int, 1.0), (int, True), (str, "\ud800"), (str, b"a"), (float, math.nan)),
    *((list[float], [math.inf, None]), (list[int], (1, 2)), (list, [Number(1)]), (dict, {1: "a", "1": "b"})),
    *(
        (dict[str, float | None], {"a": None, "b": math.nan}),
        (list[int], None),
        (dict, {"a": Ellipsis}),
        *((dict[str, str], {0: None}), (list[dict[str, dict[str, str]]], [{-1: {0: None}}])),
    ),
]


@pytest.mark.parametrize(("annotation", "value"), NOT_WRITTEN, ids=repr)
def test_what_msgspec_does_not_write_is_left_to_pydantic(annotation: Any, value: Any) -> None:
    with pytest.raises(AssertionError, match="pydantic is needed"):
        PlainWriter(annotation, refuse).write(value)
    full = writer_for(annotation, label="f()")
    assert outcome(PlainWriter(annotation, lambda: full), value) == outcome(full, value)


def by_pydantic(value: Any) -> Any:
    """Return the JSON of a value without the short way, or the text of the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_values, "plain_json", lambda value: None)
        patch.setattr(json_encoding, "_plain", plain_values)
        try:
            return json_encoding.json_bytes(value)
        except ReturnedValueError as error:
            return str(error)


@settings(max_examples=500, deadline=None)
@given(OTHER_VALUES)
def test_json_of_any_value(value: Any) -> None:
    data = plain_json(value)
    assert data is None or data == by_pydantic(value)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [nested(300), {1: 2}, {"a": {True: 1}}, "\ud800", object(), {1j}], ids=type)
def test_json_that_is_left_to_pydantic(value: Any) -> None:
    assert plain_json(value) is None
    by_pydantic(value)


@pytest.mark.parametrize(
    "value", [nested(100), [{"a": [1.5]}] * 5000, {"b": 1, "a": (b"\xfb",)}, {"x"}], ids=type
)
def test_json_that_is_not(value: Any) -> None:
    assert plain_json(value) == by_pydantic(value)


def test_long_values_with_other_keys_are_left_to_pydantic() -> None:
    value = {"a": ["x" * 100_000, [{"b": {1: 2}}]]}
    assert plain_json(value) is None


# -- the reason for all this -----------------------------------------------------------------------------------


def test_a_server_of_plain_tools_loads_no_pydantic() -> None:
    code = """
import enum
import sys
from enfilade.primitives.tool import tool_from_function
class Context: pass
def both(text: str, many: list[dict[str, int]], how: str | None = None) -> dict[str, str]:
    "Say it."
    return {"text": text}
def anything(n: int = 1):
    return {"rows": [{"n": n}]}
class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"
def other(size: Size = Size.SMALL) -> Size:
    return size
for fn, arguments in (
    (both, b'{"text": "a", "many": [{"b": 1}]}'), (anything, b"{}"), (other, b"{}"), (other, b'{"size": "l"}')
):
    tool = tool_from_function(fn, context_type=Context)
    assert tool.definition.input_schema["type"] == "object"
    tool.result(tool.call(tool.bind(arguments, None)))
print(*(name for name in sys.modules if name.partition(".")[0].startswith("pydantic")))
tool_from_function(both, context_type=Context).bind(b'{"text": "a", "many": "[]"}', None)
print("pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split("\n")[:2] == ["", "True"]
