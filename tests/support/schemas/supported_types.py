"""The types that tools may take and return, each with values of it, and how larger types are made of them.

`BASE` is the table: add a row for a new type. `cases()` draws types, nested at will, for property tests.
"""

import copy
import enum
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Union
from uuid import UUID

import attrs
import msgspec
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    Tag,
    WrapSerializer,
    create_model,
)
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

Values = st.SearchStrategy[Any]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Size(enum.StrEnum):
    SMALL = "s"
    LARGE = "l"


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str | None = None


class Grade(enum.Enum):
    GOOD = 1
    FINE = 1  # noqa: PIE796 - an alias
    BAD = 2


class East(BaseModel):
    a: int = 0


class West(BaseModel):
    b: int = 0


def _side(value: Any) -> str:
    """Return the tag of an East or a West, which have no property that is one."""
    if isinstance(value, dict):
        return "east" if "a" in value else "west"
    return type(value).__name__.lower()


class Silent(BaseModel):
    kind: Literal["silent"] = Field("silent", exclude=True)
    a: int = 1


class Mute(BaseModel):
    kind: Literal["mute"] = Field("mute", exclude=True)
    b: int = 1


class Secretive(BaseModel):
    model_config = ConfigDict(extra="forbid")
    shown: int = 1
    hidden: SkipJsonSchema[int] = 2


class Tree(BaseModel):
    label: str
    children: list["Tree"] = []


class Blob(BaseModel):
    data: bytes


class Red(BaseModel):
    colour: Literal[Colour.RED]


class Blue(BaseModel):
    colour: Literal[Colour.BLUE]


class Corner(enum.Enum):
    LOW = (0, 0)
    HIGH = (9, 9)


class Day(enum.Enum):
    FIRST = date(2024, 1, 1)
    LAST = date(2024, 12, 31)


class Mark(enum.Enum):
    RAW = b"\xfb\xff"
    TEXT = "q"


class Words(BaseModel):
    """A model that says how NaN is written."""

    model_config = ConfigDict(ser_json_inf_nan="strings")
    ratio: float


@attrs.define
class Node:
    label: str
    _weight: int = 1
    children: list["Node"] = attrs.field(factory=list)


class Shape(msgspec.Struct, rename="camel", tag=True):
    side_count: Annotated[int, msgspec.Meta(ge=0)]
    data: bytes = b""


class Lax(BaseModel):
    """A model that takes more than it names."""

    model_config = ConfigDict(extra="allow")
    code: Annotated[str, Field(pattern=r"(?i)^[a-z]+$")] = "abc"
    never: str = None  # type: ignore[assignment]
    ratio: float = float("inf")


@dataclass(frozen=True)
class Supported:
    """A type, and values of it.

    Attributes:
        annotation: the type.
        values: what a tool of this type may return.
        hashable: whether a set can hold the values.
        as_key: whether a dict can have it as the type of its keys.
        told_whole: whether its input schema can say all that it refuses; a text with a form of its own (a path
            to a file that is there, an IPv4 network) has no schema that could.
    """

    annotation: Any
    values: Values
    hashable: bool = True
    as_key: bool = False
    told_whole: bool = True


_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_BYTES = st.binary(max_size=6)
_LETTERS = st.text("abcxyz", min_size=1, max_size=5)
_INTEGERS = st.integers(-(2**53), 2**53)
_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_ZONES: st.SearchStrategy[Any] = st.sampled_from([None, UTC, timezone(timedelta(hours=5, minutes=30))])
_DATETIMES = st.datetimes(timezones=_ZONES, min_value=datetime(1000, 1, 1), max_value=datetime(9000, 1, 1))
_TIMES = st.times(timezones=st.sampled_from([None, UTC]))
_URLS = ("https://example.org/a?b=c#d", "http://a/b|c", "file:///tmp/x", "http://[::1]:80/é", "a:b")
_DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.sampled_from(
    [Decimal("1E+40"), Decimal("-0"), Decimal("1e-9")]
)

_ANYTHING = st.recursive(
    _BYTES | _TEXT | st.builds(Blob, data=_BYTES) | st.builds(Lax, never=_TEXT, extra=_BYTES, ratio=_FLOATS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_LETTERS, inner, max_size=2),
    max_leaves=4,
)

#: Every type that is not made of others.
BASE: dict[str, Supported] = {
    "str": Supported(str, _TEXT, as_key=True),
    "int": Supported(int, _INTEGERS, as_key=True),
    "float": Supported(float, _FLOATS),
    "bool": Supported(bool, st.booleans(), as_key=True),
    "None": Supported(None, st.none()),
    "Any": Supported(Any, st.none() | _INTEGERS | _TEXT | st.lists(_TEXT, max_size=2), hashable=False),
    "Any with bytes": Supported(Any, _ANYTHING, hashable=False),
    "dict with bytes": Supported(dict, st.dictionaries(_LETTERS, _ANYTHING, max_size=3), hashable=False),
    "list": Supported(list, st.lists(_TEXT | _INTEGERS, max_size=3), hashable=False),
    "dict": Supported(dict, st.dictionaries(_TEXT, _INTEGERS, max_size=3), hashable=False),
    "tuple": Supported(tuple, st.tuples(_INTEGERS, _TEXT), hashable=False),  # its items may be arrays
    "no items": Supported(tuple[()], st.just(())),
    "datetime": Supported(datetime, _DATETIMES, as_key=True),
    "date": Supported(date, st.dates(), as_key=True),
    "time": Supported(time, _TIMES),
    "timedelta": Supported(timedelta, st.timedeltas(timedelta(-9999), timedelta(9999)), told_whole=False),
    "late date": Supported(
        Annotated[date, Field(gt=date(2000, 1, 1))], st.dates(date(2001, 1, 1)), told_whole=False
    ),
    "Decimal": Supported(Decimal, _DECIMALS),
    "some Decimal": Supported(Annotated[Decimal, Field(ge=2)], st.decimals(2, 9, places=2), told_whole=False),
    "Fraction": Supported(Fraction, st.fractions(), told_whole=False),
    "complex": Supported(complex, st.just(1 + 2j), told_whole=False),
    "UUID": Supported(UUID, st.uuids(), as_key=True),
    "Path": Supported(Path, _LETTERS.map(Path)),
    "Pattern": Supported(
        re.Pattern, st.sampled_from([r"(?P<a>x)\Z", "a+", "(?i)b"]).map(re.compile), told_whole=False
    ),
    "IPv4Address": Supported(ipaddress.IPv4Address, st.ip_addresses(v=4)),
    "IPv6Address": Supported(
        ipaddress.IPv6Address, st.ip_addresses(v=6) | st.just(ipaddress.IPv6Address("fe80::1%eth0"))
    ),
    "IPv4Network": Supported(
        ipaddress.IPv4Network, st.just(ipaddress.ip_network("192.0.2.0/24")), told_whole=False
    ),
    "AnyUrl": Supported(AnyUrl, st.sampled_from(_URLS).map(AnyUrl), told_whole=False),
    "ByteSize": Supported(ByteSize, st.integers(0, 2**40).map(ByteSize), told_whole=False),
    "SecretStr": Supported(SecretStr, _LETTERS.map(SecretStr)),
    "Enum": Supported(Colour, st.sampled_from(Colour), as_key=True),
    "IntEnum": Supported(Level, st.sampled_from(Level), as_key=True),
    "StrEnum": Supported(Size, st.sampled_from(Size), as_key=True),
    "Flag": Supported(Access, st.integers(0, 7).map(Access), as_key=True),
    "IntFlag": Supported(Bits, st.integers(0, 3).map(Bits) | st.just(~Bits.ONE)),
    "Enum with an alias": Supported(Grade, st.sampled_from(Grade), as_key=True),
    "Literal": Supported(Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    "text choices": Supported(Literal["a", "b c"], st.sampled_from(["a", "b c"]), as_key=True),
    "positive": Supported(Annotated[int, Field(gt=0, le=100)], st.integers(1, 100)),
    "steps": Supported(
        Annotated[float, Field(multiple_of=0.01)], st.integers(-999, 999).map(lambda n: n / 100), told_whole=False
    ),
    "halves": Supported(Annotated[float, Field(multiple_of=0.5)], st.integers(-99, 99).map(lambda n: n / 2)),
    "tens": Supported(Annotated[int, Field(multiple_of=10)], st.integers(-99, 99).map(lambda n: n * 10)),
    "from infinity": Supported(Annotated[float, Field(ge=float("-inf"))], _FLOATS),
    "short text": Supported(
        Annotated[str, Field(min_length=1, max_length=3)], st.text("aé😀", min_size=1, max_size=3)
    ),
    "long text": Supported(
        Annotated[str, Field(min_length=2, max_length=9)], st.text("aé😀", min_size=2, max_size=9), as_key=True
    ),
    "letters": Supported(Annotated[str, Field(pattern="^[a-z]+$")], _LETTERS, as_key=True),
    "digits": Supported(Annotated[str, Field(pattern=r"^\d+$")], st.text("0123٣", min_size=1, max_size=4)),
    "inline flag": Supported(
        Annotated[str, Field(pattern="(?i)^[a-z]+$")], st.text("aBc", min_size=1, max_size=4), told_whole=False
    ),
    "named group": Supported(
        Annotated[str, Field(pattern=r"^(?P<y>\d+)$")], st.just("12"), as_key=True, told_whole=False
    ),
    "compiled": Supported(
        Annotated[str, Field(pattern=re.compile("^a $", re.I | re.X))],
        st.sampled_from(["a", "A", "a\n"]),
        told_whole=False,
    ),
    "even": Supported(
        Annotated[int, AfterValidator(_even := lambda n: n + n % 2)], _INTEGERS.map(lambda n: n * 2)
    ),
    "NamedTuple": Supported(Point, st.builds(Point, _FLOATS, _FLOATS)),
    "model": Supported(Cat, st.builds(Cat, lives=_INTEGERS), hashable=False),
    "recursive model": Supported(
        Tree,
        st.recursive(
            st.builds(Tree, label=_TEXT),
            lambda t: st.builds(Tree, label=_TEXT, children=st.lists(t, max_size=2)),
            max_leaves=4,
        ),
        hashable=False,
    ),
    "lax model": Supported(Lax, st.builds(Lax, never=_LETTERS, ratio=_FLOATS), hashable=False, told_whole=False),
    "bytes": Supported(bytes, _BYTES, told_whole=False),
    "model with bytes": Supported(Blob, st.builds(Blob, data=_BYTES), hashable=False, told_whole=False),
    "bytes with a serializer": Supported(
        Annotated[bytes, PlainSerializer(len, return_type=int)], _BYTES, told_whole=False
    ),
    "bytes with a serializer around": Supported(
        Annotated[bytes, WrapSerializer(lambda value, write: write(value)[:2], return_type=str)],
        _BYTES,
        told_whole=False,
    ),
    "text or bytes": Supported(str | bytes, _TEXT | _BYTES),
    "Literal with bytes": Supported(Literal[b"\xfb\xff", "a", None], st.sampled_from([b"\xfb\xff", "a", None])),
    "Enum of bytes": Supported(Mark, st.sampled_from(Mark), as_key=True),
    "model with NaN as text": Supported(Words, st.builds(Words, ratio=st.floats()), hashable=False),
    "attrs": Supported(
        Node, st.builds(Node, _TEXT, _INTEGERS, st.lists(st.builds(Node, _TEXT), max_size=2)), hashable=False
    ),
    "Struct": Supported(Shape, st.builds(Shape, st.integers(0, 9), _BYTES), hashable=False, told_whole=False),
    "Literal of members": Supported(Literal[Colour.RED, Colour.BLUE], st.sampled_from(Colour)),
    "Enum of tuples": Supported(Corner, st.sampled_from(Corner)),
    "Enum of dates": Supported(Day, st.sampled_from(Day)),
    "Iterable": Supported(Iterable[int], st.lists(_INTEGERS, max_size=3), hashable=False),
    "union tagged by members": Supported(
        Annotated[Red | Blue, Field(discriminator="colour")],
        st.builds(Red, colour=st.just(Colour.RED)) | st.builds(Blue, colour=st.just(Colour.BLUE)),
        hashable=False,
    ),
    "union tagged by a function": Supported(
        Annotated[Annotated[East, Tag("east")] | Annotated[West, Tag("west")], Discriminator(_side)],
        st.builds(East) | st.builds(West),
        hashable=False,
        told_whole=False,  # an alternative may have a member that is the tag of another one
    ),
    "union with tags that are not sent": Supported(
        Annotated[Silent | Mute, Field(discriminator="kind")], st.builds(Silent) | st.builds(Mute), hashable=False
    ),
    "set": Supported(set, st.sets(_TEXT | _INTEGERS, max_size=3), hashable=False, told_whole=False),
    "None that is not told": Supported(
        int | SkipJsonSchema[None],  # type: ignore[misc]
        _INTEGERS | st.none(),
    ),
    "a field that is not told": Supported(
        Secretive, st.builds(Secretive, hidden=_INTEGERS), hashable=False, told_whole=False
    ),
    "notes by hand": Supported(Annotated[int, Field(json_schema_extra={"examples": [1]})], _INTEGERS),
    "tagged union": Supported(
        Annotated[Cat | Dog, Field(discriminator="kind")], st.builds(Cat) | st.builds(Dog), hashable=False
    ),
}

_NAMES = ("a", "b_c", "schema", "$ref", "pattern")


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> Supported:
    """Draw a type that may be made of others, at most `depth` levels deep."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(list(BASE.values())))
    make = draw(st.sampled_from(_COMPOUNDS))
    return make(draw, lambda: draw(cases(depth=depth - 1)))


Inner = Callable[[], Supported]


def _list(draw: st.DrawFn, inner: Inner) -> Supported:
    of = inner()
    return Supported(list[of.annotation], st.lists(of.values, max_size=3), False, told_whole=of.told_whole)  # type: ignore[name-defined]


def _tuple(draw: st.DrawFn, inner: Inner) -> Supported:
    of = [inner() for _ in range(draw(st.integers(1, 3)))]
    return Supported(
        tuple[tuple(each.annotation for each in of)],  # type: ignore[misc]
        st.tuples(*(each.values for each in of)),
        all(each.hashable for each in of),
        told_whole=all(each.told_whole for each in of),
    )


def _dict(draw: st.DrawFn, inner: Inner) -> Supported:
    of, key = inner(), draw(st.sampled_from([each for each in BASE.values() if each.as_key]))
    return Supported(
        dict[key.annotation, of.annotation],  # type: ignore[name-defined]
        st.dictionaries(key.values, of.values, max_size=3),
        hashable=False,
        told_whole=of.told_whole and key.told_whole,
    )


def _set(draw: st.DrawFn, inner: Inner) -> Supported:
    of = draw(st.sampled_from([each for each in BASE.values() if each.hashable]))
    return Supported(frozenset[of.annotation], st.frozensets(of.values, max_size=3), told_whole=of.told_whole)  # type: ignore[name-defined]


def _optional(draw: st.DrawFn, inner: Inner) -> Supported:
    of = inner()
    kind: Any = Union[of.annotation, None]  # noqa: UP007 - `|` cannot join every annotation
    return Supported(kind, of.values | st.none(), of.hashable, told_whole=of.told_whole)


def _union(draw: st.DrawFn, inner: Inner) -> Supported:
    one, other = inner(), inner()
    return Supported(
        Union[one.annotation, other.annotation],  # noqa: UP007 - `|` cannot join every annotation
        one.values | other.values,
        one.hashable and other.hashable,
        told_whole=one.told_whole and other.told_whole,
    )


def _fields(draw: st.DrawFn, inner: Inner) -> dict[str, Supported]:
    names = draw(st.lists(st.sampled_from(("a", "b_c", "pattern")), min_size=1, max_size=3, unique=True))
    return {name: inner() for name in names}


def _whole(fields: dict[str, Supported]) -> bool:
    return all(each.told_whole for each in fields.values())


def _model(draw: st.DrawFn, inner: Inner) -> Supported:
    fields = _fields(draw, inner)
    first, *_ = fields
    default = draw(fields[first].values)
    types: Any = {name: (each.annotation, ...) for name, each in fields.items()}
    types[first] = (fields[first].annotation, default)
    model = create_model("Model", __config__=ConfigDict(arbitrary_types_allowed=True), **types)
    values = st.fixed_dictionaries({name: each.values for name, each in fields.items()})
    return Supported(model, values.map(lambda each: model(**each)), hashable=False, told_whole=_whole(fields))


def _dataclass(draw: st.DrawFn, inner: Inner) -> Supported:
    fields = _fields(draw, inner)
    made = make_dataclass("Made", [(name, each.annotation) for name, each in fields.items()])
    values = st.fixed_dictionaries({name: each.values for name, each in fields.items()})
    return Supported(made, values.map(lambda each: made(**each)), hashable=False, told_whole=_whole(fields))


def _typed_dict(draw: st.DrawFn, inner: Inner) -> Supported:
    fields = _fields(draw, inner)
    first, *others = fields
    make: Any = TypedDict
    types = {name: each.annotation for name, each in fields.items()}
    types[first] = NotRequired[types[first]]
    made = make("Typed", types)
    values = st.fixed_dictionaries(
        {name: fields[name].values for name in others}, optional={first: fields[first].values}
    )
    return Supported(made, values, hashable=False, told_whole=_whole(fields))


_COMPOUNDS: Sequence[Callable[[st.DrawFn, Inner], Supported]] = (
    *(_list, _tuple, _dict, _set, _optional, _union, _model, _dataclass, _typed_dict),
)


@st.composite
def classes(draw: st.DrawFn) -> Supported:
    """Draw a model or a dataclass."""
    make = draw(st.sampled_from((_model, _dataclass)))
    return make(draw, lambda: draw(cases(depth=1)))


def spoiled(value: Any) -> Iterator[Any]:
    """Yield copies of a model or dataclass with None in one field, and of a model without one."""
    names = list(vars(value))
    for name in names:
        changed = copy.copy(value)
        object.__setattr__(changed, name, None)
        yield changed
    for name in names if isinstance(value, BaseModel) else ():
        changed = copy.copy(value)
        delattr(changed, name)
        yield changed
