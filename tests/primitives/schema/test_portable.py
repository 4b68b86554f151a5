"""What is published is true for every validator: a case for each kind of statement that is left out or changed.

The checks in Python stay as they were.
"""

import enum
import json
import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
from pydantic import UUID4, AnyUrl, BaseModel, Field

from enfilade.primitives.errors import ArgumentsError, ReturnedValueError
from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.serving.context import Context

MISSING: Any = object()


def tool_of(annotation: Any, default: Any = MISSING) -> Tool:
    """Return a tool that takes and returns a type."""

    def tool(x: Any) -> Any: ...

    tool.__annotations__ = {"x": annotation, "return": annotation}
    tool.__defaults__ = None if default is MISSING else (default,)
    return tool_from_function(tool, context_type=Context)


def taken(annotation: Any, default: Any = MISSING) -> dict[str, Any]:
    part: dict[str, Any] = tool_of(annotation, default).definition.input_schema["properties"]["x"]
    return part


def sent(annotation: Any) -> Any:
    schema: Any = tool_of(annotation).definition.output_schema
    return schema.get("properties", {}).get("result", schema)


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Level(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: str = "b"


class Defaults(BaseModel):
    text: str = None  # type: ignore[assignment]
    ratio: float = float("inf")
    fine: int | None = None


@dataclass
class Row:
    at: datetime
    when: time
    day: date
    key: UUID


FOREIGN = ["(?i)^[a-z]+$", r"^(?P<y>\d+)$", r"a\Z", r"\Aa", r"a\:"]


@pytest.mark.parametrize("pattern", FOREIGN)
def test_a_pattern_that_ecma_refuses_is_not_published_and_still_checked(pattern: str) -> None:
    annotation = Annotated[str, Field(pattern=re.compile(pattern))]
    assert taken(annotation) == sent(annotation) == {"type": "string"}
    with pytest.raises(ArgumentsError):
        tool_of(annotation).bind(b'{"x": "-"}', None)
    with pytest.raises(ReturnedValueError):
        tool_of(annotation).result("-")


def test_a_pattern_that_all_read_alike_is_published() -> None:
    annotation = Annotated[str, Field(pattern="^[a-z]+$")]
    assert taken(annotation) == sent(annotation) == {"type": "string", "pattern": "^[a-z]+$"}


def test_a_pattern_that_python_reads_more_widely_is_no_promise() -> None:
    annotation = Annotated[str, Field(pattern=r"^\d+$")]
    assert taken(annotation) == {"type": "string", "pattern": r"^\d+$"}
    assert sent(annotation) == {"type": "string"}  # "٣" is a digit in Python alone


def test_the_flags_of_a_compiled_pattern_are_not_lost() -> None:
    assert taken(Annotated[str, Field(pattern=re.compile("^a b$", re.X))]) == {"type": "string"}


def test_names_that_must_match_a_foreign_pattern_may_be_any() -> None:
    names = Annotated[str, Field(pattern=r"^(?P<y>\d+)$")]
    assert taken(dict[names, int]) == {"type": "object", "additionalProperties": {"type": "integer"}}
    own = taken(dict[Annotated[str, Field(pattern="^a$")], int])
    assert own == {
        "type": "object",
        "patternProperties": {"^a$": {"type": "integer"}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("kind", [datetime, time, timedelta, re.Pattern, AnyUrl])
def test_a_format_that_python_writes_otherwise_is_promised_of_no_result(kind: Any) -> None:
    assert "format" in taken(kind)
    assert "format" not in sent(kind)
    assert "format" not in str(sent(list[kind | None]))
    assert "format" not in str(sent(dict[str, kind]))


def test_formats_that_are_the_same_everywhere_stay() -> None:
    schema: Any = tool_of(Row).definition.output_schema
    formats = {name: part.get("format") for name, part in schema["properties"].items()}
    assert formats == {"at": None, "when": None, "day": "date", "key": "uuid"}


def test_formats_that_only_pydantic_knows_are_said_in_words_or_not() -> None:
    assert taken(Path) == {"type": "string"}
    assert taken(UUID4) == {"type": "string", "format": "uuid"}
    assert taken(IPv4Network)["description"].startswith("An IPv4 network")
    assert "format" not in taken(IPv4Network)


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (float, float("inf")),
        (float, float("nan")),
        (int, "oops"),
        (datetime, datetime(2024, 1, 1)),
        (list[float], [float("inf")]),
        (Annotated[float, Field(multiple_of=0.01)], 1.115),
        (Annotated[int, Field(ge=5)], 3),
    ],
)
def test_a_default_that_its_own_schema_refuses_is_not_published(annotation: Any, default: Any) -> None:
    part = taken(annotation, default)
    assert "default" not in part
    assert tool_of(annotation, default).bind(b"{}", None) in ({"x": default}, {})


def test_defaults_within_models_are_held_to_the_same() -> None:
    properties = taken(Defaults)["properties"]
    assert {name for name, part in properties.items() if "default" in part} == {"fine"}


def test_an_array_says_what_its_items_are() -> None:
    assert taken(tuple[int, str])["items"] == {}
    assert taken(tuple[()])["items"] == {}
    assert taken(Pair)["items"] == {}
    assert taken(dict[str, tuple[float, float]])["additionalProperties"]["items"] == {}
    assert sent(tuple[int, str])["items"] == {}
    assert taken(list[int])["items"] == {"type": "integer"}


def test_a_flag_takes_what_is_joined() -> None:
    assert taken(Rights)["enum"] == [0, 1, 2, 3]
    assert taken(Rights)["description"] == "A sum of any of: 1 (READ), 2 (WRITE)"
    assert "enum" not in taken(Bits)
    assert tool_of(Rights).bind(b'{"x": 3}', None) == {"x": Rights.READ | Rights.WRITE}


def test_a_flag_of_many_members_has_bounds() -> None:
    many = enum.Flag("many", [f"M{n}" for n in range(8)])  # type: ignore[misc]
    assert (taken(many)["minimum"], taken(many)["maximum"]) == (0, 255)


def test_keys_of_a_dict_are_strings() -> None:
    assert taken(dict[Level, int])["propertyNames"] == {"enum": ["1"]}
    assert taken(dict[int, int])["propertyNames"] == {"pattern": "^-?[0-9]+$"}
    assert "format" not in str(sent(dict[datetime, int]))


@pytest.mark.parametrize(
    ("keys", "text", "key"),
    [
        (Level, "1", Level.LOW),
        (enum.Enum("Plain", {"A": 1}), "1", None),
        (enum.Enum("Parts", {"A": 1.5}), "1.5", None),
        (Rights, "3", Rights.READ | Rights.WRITE),
        (Literal[1, "b"], "1", 1),
        (Literal[1, "b"], "b", "b"),
    ],
)
def test_a_choice_may_be_the_key_of_a_dict(keys: Any, text: str, key: Any) -> None:
    assert text in taken(dict[keys, int])["propertyNames"]["enum"]
    raw = json.dumps({"x": {text: 5}}).encode()
    (read,) = tool_of(dict[keys, int]).bind(raw, None)["x"]
    assert read == (key if key is not None else keys.A)
    twice = tool_of(tuple[keys, dict[keys, int]])  # where pydantic defines the choice once, for both
    assert twice.definition.input_schema["properties"]["x"]["prefixItems"][1]["propertyNames"]["enum"]


def test_limits_that_are_no_numbers_are_left_out() -> None:
    for limited in (Annotated[date, Field(gt=date(2020, 1, 1))], Annotated[float, Field(ge=float("-inf"))]):
        assert {"minimum", "exclusiveMinimum"}.isdisjoint(taken(limited))
