"""What is refused when a tool, prompt or template is registered: arguments that no call can ever give.

Easy to get wrong: a validator of the author's may refuse any value for reasons of its own (the time, a database),
or raise anything. So only a choice of which every value is refused counts, and only by a `ValidationError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from pydantic_core import ValidationError, to_json

from enfilade.primitives.core_schemas import for_arguments
from enfilade.primitives.phrases import follow
from enfilade.primitives.schemas import TidySchema

_MOST: Final = 50  # values of one choice that are tried
_CLASS: Final = re.compile(
    r"<(?:class|function|built-in function) '?([\w.<>]+)'?[^>]*>|for ([\w.\[\], <>]+?)\.(?: |$)"
)
_USE: Final = (
    "take what JSON has, such as str, list[float] or a model, and make it in the function, "
    "or give its class a __get_pydantic_core_schema__"
)


def reason_against(annotation: Any) -> str | None:
    """Return why no JSON can be read as a type, and what to use instead; None if it can be."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(list[annotation], config=ConfigDict(arbitrary_types_allowed=True))
        TidySchema().generate(for_arguments(adapter.core_schema))
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError) as error:
        found = _CLASS.search(str(error).splitlines()[0])
        named = f", {next(filter(None, found.groups()))}" if found else ""
        return f"no JSON can be read as its type{named}; {_USE}"
    except TypeError as error:
        return str(error)
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
        if name not in required:
            continue
        values = list(islice(_choices(part, schema), _MOST))
        if values and not any(_is_accepted(name, value, validate) for value in values):
            raise TypeError(
                f'{label}, parameter "{name}": it can never be called, since each of the values that its schema '
                f"offers is refused; use Literal[…] of strings and numbers, or a StrEnum"
            )


def _choices(part: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield values of which one must be accepted; none where others are allowed as well."""
    part = follow(part, schema)
    if "const" in part:
        yield part["const"]
    elif "enum" in part:
        yield from part["enum"]
    elif part.get("type") == "array" and part.get("minItems", 1) == 1:
        yield from ([each] for each in _choices(part.get("items", {}), schema))


def _is_accepted(name: str, value: Any, validate: Callable[[bytes], Any]) -> bool:
    try:
        validate(to_json({name: value}))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return all(each["loc"][:1] != (name,) for each in errors)
    except Exception:  # of the author's validator, which may want more than a value
        return True
    return True
