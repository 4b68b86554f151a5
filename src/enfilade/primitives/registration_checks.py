"""What is refused when a function is registered: arguments that no call can give, calls that need `await`.

- Types of which no JSON is a value, although pydantic makes a schema of them: a key of an object is text, an item
  of a set is hashable, a choice has members, and each field has a name of its own that a schema can show.
- Types that cannot be read from JSON, and choices of which each published value is refused.
- Plain functions that call what only an `async def` function can await, such as `ctx.elicit(…)`.

Easy to get wrong: only what is certain is refused. A validator of the author's may refuse any value for reasons
of its own (the time, a database), or raise anything; so only a choice of which every value is refused counts, and
only by a `ValidationError`. And a plain function may hand `ctx.elicit` on without calling it.
"""

from __future__ import annotations

import dis
import inspect
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from enum import Enum
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import pydantic
    import pydantic_core

    from enfilade.primitives.schema import core_nodes, core_schemas, json_schema, references, schemas
    from enfilade.primitives.schema.core_nodes import Node
    from enfilade.primitives.schema.references import Step
else:  # plain functions that take the context are checked without pydantic, which takes long to load
    pydantic = LazyModule("pydantic")
    pydantic_core = LazyModule("pydantic_core")
    core_nodes = LazyModule("enfilade.primitives.schema.core_nodes")
    core_schemas = LazyModule("enfilade.primitives.schema.core_schemas")
    json_schema = LazyModule("enfilade.primitives.schema.json_schema")
    references = LazyModule("enfilade.primitives.schema.references")
    schemas = LazyModule("enfilade.primitives.schema.schemas")

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
    options = pydantic.ConfigDict(arbitrary_types_allowed=True)
    try:
        with warnings.catch_warnings():  # of marks that only parameters may have, not items of lists
            warnings.simplefilter("ignore")
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(list[annotation], config=options)
        schema = core_schemas.for_arguments(adapter.core_schema)
        refuse_impossible(schema)
        schemas.TidySchema().generate(schema)
    except (pydantic.PydanticInvalidForJsonSchema, pydantic.PydanticSchemaGenerationError) as error:
        match = _CLASS.search(str(error).splitlines()[0])
        named = f", {next(filter(None, match.groups()))}" if match else ""
        return f"no JSON can be read as its type{named}; {_USE}"
    except (pydantic.PydanticUserError, TypeError) as error:  # their texts say what to do
        return str(error).splitlines()[0]
    except Exception as error:  # a type's own hook may raise anything
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
    for name, property_schema in schema.get("properties", {}).items():
        for path, values in _choices(property_schema, schema, (name,)) if name in required else ():
            if not any(_is_accepted(path, value, validate) for value in values[:_MOST]):
                parameter = json_schema.format_path(path)
                raise TypeError(
                    f"{label}, parameter {parameter}: it can never be called, since each of the values that "
                    f"its schema offers is refused; use Literal[…] of strings and numbers, or a StrEnum"
                )


def _choices(
    schema: Any, root: Mapping[str, Any], path: tuple[Step, ...]
) -> Iterator[tuple[tuple[Step, ...], list[Any]]]:
    """Yield the places that a call must fill with one of some values, with these values."""
    schema = references.follow(schema, root)
    if "const" in schema or "enum" in schema:
        yield path, schema.get("enum", [schema.get("const")])
    elif schema.get("type") == "array" and isinstance(schema.get("items"), Mapping):
        yield from _choices(schema["items"], root, (*path, 0)) if len(path) < _DEEPEST else ()
    elif len(path) < _DEEPEST:
        for name in schema.get("required", ()):
            yield from _choices(schema.get("properties", {}).get(name, {}), root, (*path, name))


def _is_accepted(path: tuple[Step, ...], value: Any, validate: Callable[[bytes], Any]) -> bool:
    """Return whether arguments with nothing but a value at a place are not refused because of this place."""
    for step in reversed(path):
        value = [value] if isinstance(step, int) else {step: value}
    try:
        validate(pydantic_core.to_json(value))
    except pydantic.ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return all(details["loc"][: len(path)] != path for details in errors)
    except Exception:  # the author's validator may raise anything
        return True
    return True


# -- types of which no JSON is a value -------------------------------------------------------------------------
_NO_TEXT: Final = (
    "list",
    "tuple",
    "set",
    "frozenset",
    "dict",
    "typed-dict",
    "model",
    "dataclass",
    "none",
    "generator",
)
_UNHASHABLE: Final = ("list", "set", "dict", "typed-dict", "generator")
_FIELDS: Final = ("typed-dict", "model-fields", "dataclass-args")


def refuse_impossible(schema: Any) -> None:
    """Refuse the core schema of arguments if no JSON is a value of a type in it.

    Raises:
        TypeError: says which type, and what to use.
    """
    definitions = {}
    if schema["type"] == "definitions":
        definitions = {node["ref"]: node for node in schema["definitions"] if "ref" in node}
    for node, _ in core_nodes.nodes(schema, None):
        kind = node["type"]
        if kind == "dict" and "keys_schema" in node:
            _check_keys(node["keys_schema"], definitions)
        elif kind in ("set", "frozenset") and "items_schema" in node:
            _check_items(node["items_schema"], definitions)
        elif kind == "is-instance" and isinstance(node["cls"], type) and issubclass(node["cls"], Enum):
            raise TypeError(
                f"no value can be a {node['cls'].__name__}, which has no members; use one that has some"
            )
        elif kind in _FIELDS:
            _check_names(node)


def _check_keys(schema: Node, definitions: Mapping[str, Node]) -> None:
    bad = [leaf for leaf in _resolved(schema, definitions) if leaf["type"] in _NO_TEXT]
    if bad and len(bad) == len(list(_resolved(schema, definitions))):
        raise TypeError(
            f"the keys of an object are text, and no text is a {_named(bad[0])}; take str, or a list of pairs"
        )


def _check_items(schema: Node, definitions: Mapping[str, Node]) -> None:
    for leaf in _resolved(schema, definitions):
        kind: Any = leaf.get("cls")
        if leaf["type"] in _UNHASHABLE or (isinstance(kind, type) and kind.__hash__ is None):
            raise TypeError(f"a {_named(leaf)} has no hash, so it cannot be in a set; take a list of them")


def _check_names(node: Node) -> None:
    """Check that each field is published under one name, and under a name that is read."""
    fields = node["fields"]
    named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    names: Counter[str] = Counter()
    for name, field in named:
        alias = field.get("validation_alias", name)
        paths = alias if isinstance(alias, list) and isinstance(alias[0], list) else [alias]
        plain = [
            path if isinstance(path, str) else path[0]
            for path in paths
            if isinstance(path, str) or len(path) == 1
        ]
        if not plain:
            raise TypeError(
                f'the field "{name}" is read from a path alone (AliasPath), which no schema shows; nest a model, '
                f'or give it a name as well: AliasChoices("{name}", AliasPath(...))'
            )
        names[plain[0]] += 1  # the first is published
    for name, times in names.items():
        if times > 1:
            raise TypeError(f'{times} of its fields are called "{name}" in JSON; give each an alias of its own')


def _resolved(schema: Node, definitions: Mapping[str, Node]) -> Iterator[Node]:
    """Yield the schemas of the values that a schema gives, also behind references."""
    waiting, seen = [schema], set[str]()
    while waiting:
        for leaf in core_nodes.leaves(waiting.pop()):
            name = leaf.get("schema_ref", "")
            if name not in definitions:
                yield leaf
            elif name not in seen:
                seen.add(name)
                waiting.append(definitions[name])


def _named(leaf: Node) -> str:
    kind: Any = leaf.get("cls")
    return kind.__name__ if isinstance(kind, type) else str(leaf["type"]).replace("none", "None")


# -- plain functions that must be async ------------------------------------------------------------------------
#: Methods of a context that must be awaited.
AWAITED: Final = frozenset(
    {
        *("elicit", "elicit_url", "sample", "roots", "once"),
        *("tools.call", "tools.call_raw", "resources.read", "resources.list_roots", "prompts.get"),
        *("ui.elicit", "sampling.create_message"),
    }
)


def refuse_unawaited(fn: Callable[..., Any], contexts: Iterable[str], label: str) -> None:
    """Refuse a plain function that calls what must be awaited.

    Args:
        fn: a function that gives no coroutine; of other callables nothing is known.
        contexts: its parameters that take the context.
        label: what it is called in errors.

    Raises:
        TypeError: names the call.
    """
    if isinstance(fn, FunctionType) and not inspect.isasyncgenfunction(fn):
        for call in _calls(fn.__code__, frozenset(contexts)):
            raise TypeError(
                f"{label} is a plain function, and {call} must be awaited: "
                f"make it `async def`, and write `await {call}(…)`"
            )


def _calls(code: CodeType, contexts: frozenset[str]) -> Iterable[str]:
    """Yield the calls of methods of a context that must be awaited, as they are written."""
    owner, path = "", ""
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_FAST") or step.opname == "LOAD_DEREF":
            owner, path = step.argrepr.rpartition(", ")[2], ""  # some instructions load two
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and owner in contexts:
            path = f"{path}.{step.argval}".removeprefix(".")
            if path in AWAITED and _is_method(step):
                yield f"{owner}.{path}"
        else:
            owner = ""


def _is_method(step: dis.Instruction) -> bool:
    """Return whether an attribute is loaded to be called at once."""
    if sys.version_info < (3, 12):
        return step.opname == "LOAD_METHOD"
    return bool((step.arg or 0) & 1)
