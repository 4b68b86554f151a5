"""Says why a type cannot be used for arguments or results, in words that name what the author wrote.

Pydantic's errors go through its own structures down to the fault, name adapters that the author never made, and
advise methods that these have. So the usual ones are worded here; others keep their innermost line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from enfilade.primitives.schema.keyword_values import SOURCES
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import pydantic

    from enfilade.primitives.schema import refused_annotations, type_aliases
else:  # plain functions that take the context are checked without pydantic, which takes long to load
    pydantic = LazyModule("pydantic")
    refused_annotations = LazyModule("enfilade.primitives.schema.refused_annotations")
    type_aliases = LazyModule("enfilade.primitives.schema.type_aliases")

_CLASS: Final = re.compile(
    r"<(?:class|function|built-in function) '?([\w.<>]+)'?[^>]*>|for ([\w.\[\], <>]+?)\.(?: |$)"
)
_FIELD: Final = re.compile(r"Field '(\w+)':$")
_LIMIT: Final = re.compile(r"'(\w+)' must be coercible to an? (\w+)")
_REGEX: Final = "regex parse error:"
_USE: Final = (
    "take what JSON has, such as str, list[float] or a model, and make it in the function, "
    "or give its class a __get_pydantic_core_schema__"
)
_DEFINE: Final = "define or import it in the module of the class"


def text_of_error(error: Exception) -> str:
    """Return what an error of pydantic says in one line.

    Errors of pydantic-core go through the type down to the fault; then this is the innermost field, or the fault.
    """
    if getattr(error, "code", None) == "class-not-fully-defined":
        return (
            "a class in it uses a name that is not known; define or import that name in the module of the class"
        )
    text = str(error)
    lines = text.splitlines() or [type(error).__name__]
    if (known := _known_fault(text)) is not None:
        return known
    if not lines[0].endswith(":"):
        return lines[0]
    fields = [match[1] for line in lines if (match := _FIELD.search(line))]
    return f'its field "{fields[-1]}" has no type that JSON has' if fields else lines[-1].strip()


def no_json(error: Exception, annotation: Any) -> str:
    """Return why no JSON can be read as a type, and what to use instead.

    Args:
        error: what pydantic raised, or a hook of the type's own.
        annotation: the type.
    """
    text = str(error)
    if (known := _unusable_class(annotation) or _known_fault(text)) is not None:
        return known
    if getattr(error, "code", None) == "class-not-fully-defined":
        return _unknown_name(annotation)
    if isinstance(error, (pydantic.PydanticInvalidForJsonSchema, pydantic.PydanticSchemaGenerationError)):
        match = _CLASS.search(text.splitlines()[0])
        named = f", {next(filter(None, match.groups()))}" if match else ""
        return f"no JSON can be read as its type{named}; {_USE}"
    if isinstance(error, (pydantic.PydanticUserError, TypeError)):  # their texts say what to do
        return text.splitlines()[0]
    return f"no JSON can be read as its type ({text_of_error(error)}); {_USE}"


def no_schema(error: Exception) -> str:
    """Return why no JSON Schema could be made of a type that can be read from JSON.

    Args:
        error: what pydantic's generator raised.
    """
    if isinstance(error, KeyError):
        return f'its JSON Schema refers to "{error.args[0]}", which is not in it; correct {SOURCES}'
    return f"its JSON Schema cannot be made ({text_of_error(error)}); correct {SOURCES}"


def _known_fault(text: str) -> str | None:
    """Return the words for a fault of a pattern or a limit, which have nothing to do with JSON."""
    if _REGEX in text:
        fault = text.rpartition("error: ")[2].strip()
        return (
            f"its pattern is not one of pydantic's regular expressions ({fault}); "
            f"write it otherwise, pass re.compile(…), or set regex_engine='python-re' in the config of its model"
        )
    if match := _LIMIT.search(text):
        noun = match[2]
        return f"its limit {match[1]} is no {noun}, as the values of its type are; write a limit that is one"
    return None


def _unusable_class(annotation: Any) -> str | None:
    """Return the words for a class of Enfilade, and for a model of the first major version of pydantic."""
    bare = type_aliases.strip(annotation)
    if not isinstance(bare, type):
        return None
    if bare.__module__.partition(".")[0] == "enfilade":
        return (
            f"no caller can send {bare.__name__}, a class of Enfilade; take the Context for what is about the "
            f"call, and str, bytes or a model for data"
        )
    if any(base.__module__.startswith("pydantic.v1.") for base in bare.__mro__):
        return f"{bare.__name__} is a model of pydantic.v1, which is not supported; use pydantic.BaseModel"
    return None


def _unknown_name(annotation: Any) -> str:
    """Return which name in a class is not known."""
    written = refused_annotations.shown(annotation)
    try:
        pydantic.TypeAdapter(list[annotation]).rebuild(raise_errors=True)
        name = None
    except pydantic.errors.PydanticUndefinedAnnotation as error:
        name = error.name
    except Exception:  # of a type's own hook
        name = None
    which = f'the name "{name}"' if name else "a name"
    return f"in {written}, {which} is not known; {_DEFINE}"
