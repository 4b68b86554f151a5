"""What is refused when a tool, prompt or template is registered: arguments that no call can ever give.

Easy to get wrong: a validator of the author's may refuse any value for reasons of its own (the time, a database),
or raise anything. So only a choice of which every value is refused counts, and only by a `ValidationError`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import ValidationError, to_json

from enfilade.primitives.impossible_types import refuse_impossible
from enfilade.primitives.schema.core_schemas import for_arguments
from enfilade.primitives.schema.json_schema import format_path
from enfilade.primitives.schema.references import Step, follow
from enfilade.primitives.schema.schemas import TidySchema

_MOST: Final = 50  # values of one choice that are tried
_DEEPEST: Final = 4  # steps of a path to a choice
_CLASS: Final = re.compile(
    r"<(?:class|function|built-in function) '?([\w.<>]+)'?[^>]*>|for ([\w.\[\], <>]+?)\.(?: |$)"
)
_USE: Final = (
    "take what JSON has, such as str, list[float] or a model, and make it in the function, "
    "or give its class a __get_pydantic_core_schema__"
)


def reason_against(annotation: Any) -> str | None:
    """Return why no JSON can be read as a type, and what to use instead; None if it can be."""
    options = ConfigDict(arbitrary_types_allowed=True)
    try:
        with warnings.catch_warnings():  # of what the parameter itself may hold, and an item of a list may not
            warnings.simplefilter("ignore")
            adapter: TypeAdapter[Any] = TypeAdapter(list[annotation], config=options)
        schema = for_arguments(adapter.core_schema)
        refuse_impossible(schema)
        TidySchema().generate(schema)
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError) as error:
        found = _CLASS.search(str(error).splitlines()[0])
        named = f", {next(filter(None, found.groups()))}" if found else ""
        return f"no JSON can be read as its type{named}; {_USE}"
    except (PydanticUserError, TypeError) as error:  # whose texts say what to do
        return str(error).splitlines()[0]
    except Exception as error:  # whatever a type's own hook has against it
        return f"no JSON can be read as its type ({str(error).splitlines()[0]}); {_USE}"
    return None


def refuse_uncallable(
    schema: Mapping[str, Any], validate: Callable[[bytes], Any], label: str, required: Container[str]
) -> None:
    """Refuse arguments with a choice of which every published value is refused.

    Args:
        schema: the published schema of the arguments.
        validate: reads arguments.
        label: what errors call the function.
        required: the names of those that must be given.

    Raises:
        TypeError: names the parameter and says what to do.
    """
    for name, part in schema.get("properties", {}).items():
        for path, values in _choices(part, schema, (name,)) if name in required else ():
            if not any(_is_accepted(path, value, validate) for value in values[:_MOST]):
                raise TypeError(
                    f"{label}, parameter {format_path(path)}: it can never be called, since each of the values "
                    f"that its schema offers is refused; use Literal[…] of strings and numbers, or a StrEnum"
                )


def _choices(
    part: Any, schema: Mapping[str, Any], path: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], list[Any]]]:
    """Yield the places that a call must fill with one of some values, with these values."""
    part = follow(part, schema)
    if "const" in part or "enum" in part:
        yield path, part.get("enum", [part.get("const")])
    elif part.get("type") == "array" and isinstance(part.get("items"), Mapping):
        yield from _choices(part["items"], schema, (*path, 0)) if len(path) < _DEEPEST else ()
    elif len(path) < _DEEPEST:
        for name in part.get("required", ()):
            yield from _choices(part.get("properties", {}).get(name, {}), schema, (*path, name))


def _is_accepted(path: tuple[Step, ...], value: Any, validate: Callable[[bytes], Any]) -> bool:
    """Return whether arguments with nothing but a value at a place are not refused because of this place."""
    for step in reversed(path):
        value = [value] if isinstance(step, int) else {step: value}
    try:
        validate(to_json(value))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return all(each["loc"][: len(path)] != path for each in errors)
    except Exception:  # of the author's validator, which may want more than a value
        return True
    return True
