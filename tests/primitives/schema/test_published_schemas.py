"""Whatever the type: schema and default are valid for others, so is what is sent, and what is valid is taken."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.schema.references import walk
from enfilade.primitives.tool import Tool, tool_from_function
from enfilade.serving.context import Context
from support import tooling
from support.schemas.foreign_validators import ForeignValidators, foreign_validators
from support.schemas.instances import instances
from support.schemas.supported_types import BASE, Supported, cases, classes, spoiled

TYPES, VALUES, CLASSES = 250, 10, 100
SAME_EACH_TIME = settings(
    phases=[Phase.generate], derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def others() -> Iterator[ForeignValidators]:
    """The validators of both TypeScript clients, and Ajv."""
    with tooling.or_skip(), foreign_validators() as validators:
        yield validators


def tool_of(case: Supported, default: Any = ...) -> Tool:
    """Return a tool that takes and returns a type."""

    def tool(value: Any) -> Any: ...

    tool.__annotations__ = {"value": case.annotation, "return": case.annotation}
    if default is not ...:
        tool.__defaults__ = (default,)
    return tool_from_function(tool, context_type=Context)


def check_sent(case: Supported, values: list[Any], others: ForeignValidators) -> None:
    """What a tool sends is an instance of its output schema."""
    tool = tool_of(case)
    schema = tool.definition.output_schema
    if not isinstance(schema, dict):
        return
    sent = [json.loads(bytes(tool.result(each).structured_content)) for each in values]
    assert others.faults(schema, sent) == [], f"{schema} {sent}"


def check_default(case: Supported, default: Any, others: ForeignValidators) -> None:
    """A published default is an instance of its own schema."""
    schema = tool_of(case, default).definition.input_schema
    part = schema["properties"]["value"]
    arguments = [{"value": part["default"]}] if "default" in part else []
    assert others.faults(schema, arguments) == [], f"{schema}"
    for each in (schema, tool_of(case).definition.output_schema or {}):
        for inner in walk(each):
            if "default" in inner:
                bare = {**inner, "$defs": each.get("$defs", {})}
                assert others.faults(bare, [inner["default"]]) == [], f"{inner}"


def check_taken(case: Supported, data: st.DataObject, others: ForeignValidators) -> None:
    """What is an instance of the input schema is taken."""
    tool = tool_of(case)
    schema = tool.definition.input_schema
    strategy = instances(schema, schema)
    arguments = [data.draw(strategy, label="arguments") for _ in range(3)]
    refused = {each["place"] for each in others.faults(schema, arguments)}
    for place, each in enumerate(arguments):
        if place not in refused:
            tool.bind(json.dumps(each).encode(), None)


@pytest.mark.parametrize("name", BASE)
@given(data=st.data())
@settings(max_examples=3, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_type_of_the_table(name: str, data: st.DataObject, others: ForeignValidators) -> None:
    check(BASE[name], data, others)


def check(case: Supported, data: st.DataObject, others: ForeignValidators) -> None:
    values = data.draw(st.lists(case.values, min_size=VALUES, max_size=VALUES), label=str(case.annotation))
    check_sent(case, values, others)
    check_default(case, values[0], others)
    if case.told_whole:
        check_taken(case, data, others)


@given(case=classes(), data=st.data())
@settings(SAME_EACH_TIME, max_examples=CLASSES)
def test_objects_with_none_or_without_a_field(
    case: Supported, data: st.DataObject, others: ForeignValidators
) -> None:
    """Such an object is refused, or what is sent is an instance of the schema."""
    tool = tool_of(case)
    schema = tool.definition.output_schema
    assert isinstance(schema, dict)
    sent: list[Any] = []
    for value in spoiled(data.draw(case.values)):
        with contextlib.suppress(ReturnedValueError):
            sent.append(json.loads(bytes(tool.result(value).structured_content)))
    assert others.faults(schema, sent) == [], f"{schema} {sent}"


def test_types_made_of_others(others: ForeignValidators) -> None:
    seen: list[str] = []

    @given(case=cases(), data=st.data())
    @settings(SAME_EACH_TIME, max_examples=TYPES)
    def run(case: Supported, data: st.DataObject) -> None:
        check(case, data, others)
        seen.append(str(case.annotation))

    run()
    assert len(seen) >= 200
    assert len(seen) * VALUES >= 2000
