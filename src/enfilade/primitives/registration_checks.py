"""What is refused when a function is registered: arguments that no call can give, calls that need `await`.

- Types of which no JSON is a value, although pydantic makes a schema of them: a key of an object is text, an item
  of a set is hashable, a choice has members, and each field has a name of its own that a schema can show;
  an abstract class has no values.
- Types that cannot be read from JSON, and choices of which each published value is refused.
- Plain functions that call what only an `async def` function can await, such as `ctx.elicit(…)`.

Easy to get wrong: only what is certain is refused. A validator of the author's may refuse any value for reasons
of its own (the time, a database), or raise anything; so only a choice of which every value is refused counts, and
only by a `ValidationError`. And a plain function may hand `ctx.elicit` on without calling it.
"""

from __future__ import annotations

import dis
import inspect
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    import pydantic
    import pydantic_core

    from enfilade.primitives import type_errors
    from enfilade.primitives.schema import core_nodes, core_schemas, json_schema, references, schemas
    from enfilade.primitives.schema.core_nodes import Node
    from enfilade.primitives.schema.references import Step
else:  # plain functions that take the context are checked without pydantic, which takes long to load
    pydantic = LazyModule("pydantic")
    pydantic_core = LazyModule("pydantic_core")
    type_errors = LazyModule("enfilade.primitives.type_errors")
    core_nodes = LazyModule("enfilade.primitives.schema.core_nodes")
    core_schemas = LazyModule("enfilade.primitives.schema.core_schemas")
    json_schema = LazyModule("enfilade.primitives.schema.json_schema")
    references = LazyModule("enfilade.primitives.schema.references")
    schemas = LazyModule("enfilade.primitives.schema.schemas")

_MOST: Final = 50  # values of one choice that are tried
_DEEPEST: Final = 4  # steps of a path to a choice


def reason_against(annotation: Any) -> str | None:
    """Return why no JSON can be read as a type, and what to use instead; None if it can be."""
    options = pydantic.ConfigDict(arbitrary_types_allowed=True)
    try:
        with warnings.catch_warnings():  # of marks that only parameters may have, not items of lists
            warnings.simplefilter("ignore")
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(list[annotation], config=options)
        schema = core_schemas.for_arguments(adapter.core_schema)
        refuse_impossible(schema)
    except Exception as error:  # a type's own hook may raise anything
        return type_errors.no_json(error, annotation)
    try:
        schemas.TidySchema().generate(schema)
    except (pydantic.PydanticUserError, TypeError) as error:
        return type_errors.no_json(error, annotation)
    except Exception as error:
        return type_errors.no_schema(error)
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
        elif kind == "is-instance" and core_nodes.is_without_members(node["cls"]):
            raise TypeError(
                f"no value can be a {node['cls'].__name__}, which has no members; use one that has some"
            )
        elif kind in ("model", "dataclass") and inspect.isabstract(node["cls"]):
            name = node["cls"].__name__
            raise TypeError(f"{name} is abstract, so no value of it can be made; take its subclasses, as a union")
        elif kind in _FIELDS:
            _check_names(node)


def _check_keys(schema: Node, definitions: Mapping[str, Node]) -> None:
    bad = [leaf for leaf in _resolved(schema, definitions) if leaf["type"] in _NO_TEXT]
    if bad and len(bad) == len(list(_resolved(schema, definitions))):
        raise TypeError(
            f"the keys of an object are text, and no text is a {_named(bad[0])}; take str, or a list of pairs"
        )


def _check_items(schema: Node, definitions: Mapping[str, Node]) -> None:
    leaves = list(_resolved(schema, definitions))
    if leaves and all(map(_has_no_hash, leaves)):
        raise TypeError(f"a {_named(leaves[0])} has no hash, so it cannot be in a set; take a list of them")


def _has_no_hash(leaf: Node) -> bool:
    kind: Any = leaf.get("cls")
    return leaf["type"] in _UNHASHABLE or (isinstance(kind, type) and kind.__hash__ is None)


def _check_names(node: Node) -> None:
    """Check that each field is published under one name, and under a name that is read."""
    fields = node["fields"]
    named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    names: Counter[str] = Counter()
    for name, field in named:
        plain = [str(path[0]) for path in _paths(name, field) if len(path) == 1]
        if not plain:
            raise TypeError(
                f'the field "{name}" is read from a path alone (AliasPath), which no schema shows; nest a model, '
                f'or give it a name as well: AliasChoices("{name}", AliasPath(...))'
            )
        names[plain[0]] += 1  # the first is published
    for name, times in names.items():
        if times > 1:
            raise TypeError(f'{times} of its fields are called "{name}" in JSON; give each an alias of its own')


def _paths(name: str, field: Node) -> list[list[Step]]:
    """Return the paths from which a field is read; one of a single step is a name."""
    alias = field.get("validation_alias", name)
    if isinstance(alias, str):
        return [[alias]]
    return alias if isinstance(alias[0], list) else [alias]


def published_names(schema: Any) -> dict[tuple[Step, ...], str]:
    """Return the published names of the fields in a core schema that are first read from a path, by this path."""
    names: dict[tuple[Step, ...], str] = {}
    for node, _ in core_nodes.nodes(schema, None):
        fields = node["fields"] if node["type"] in _FIELDS else ()
        named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
        for name, field in named:
            first, *others = _paths(name, field)
            plain = [str(path[0]) for path in others if len(path) == 1]
            if len(first) > 1 and plain:
                names[tuple(first)] = plain[0]
    return names


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
        *("state.get", "state.set", "state.delete", "state.update", "state.keys", "state.clear"),
        *("get_state", "set_state", "delete_state"),
    }
)
#: Ways to the data of middleware that were those of a dict.
_MOVED: Final = frozenset(("state.get", "state.keys", "state.update", "state.clear"))

#: Names of which one is in the code of a function that uses such a method: `get` and the like are in too many.
_TELLING_NAMES: Final = frozenset(
    path.partition(".")[0] if path.startswith("state.") else path.rpartition(".")[2] for path in AWAITED
)
_CALLS: Final = ("CALL", "CALL_KW", "CALL_FUNCTION_EX")
# Instructions, by the beginnings of their names, that test a value alone, and together with another.
_TESTS: Final = ("POP_JUMP", "JUMP_IF", "TO_BOOL", "UNARY_NOT")
_TESTS_OF_TWO: Final = ("IS_OP", "COMPARE_OP", "CONTAINS_OP", "MATCH_", "POP_JUMP", "TO_BOOL")


def check_awaits(fn: Callable[..., Any], contexts: Iterable[str], label: str, *, is_async: bool) -> None:
    """Refuse a function that calls what must be awaited, and does not await it.

    Raises:
        TypeError: names the call.
    """
    check = refuse_dropped if is_async else refuse_unawaited
    check(fn, contexts, label)


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
            owner, _, path = call.partition(".")
            moved = f"; data of middleware is {owner}.request_data" if path in _MOVED else ""
            raise TypeError(
                f"{label} is a plain function, and {call} must be awaited: "
                f"make it `async def`, and write `await {call}(…)`{moved}"
            )


def refuse_dropped(fn: Callable[..., Any], contexts: Iterable[str], label: str) -> None:
    """Refuse an `async def` function that drops or tests what it must await, as in `if ctx.elicit("Sure?"):`.

    What is done with the value anywhere else is not known: it may be awaited later, or handed on.

    Args:
        fn: the function.
        contexts: its parameters that take the context.
        label: what it is called in errors.

    Raises:
        TypeError: names the call.
    """
    if isinstance(fn, FunctionType) and not _TELLING_NAMES.isdisjoint(fn.__code__.co_names):
        for call in _dropped(fn.__code__, frozenset(contexts)):
            raise TypeError(
                f"{label} does not await {call}, which does nothing until then: write `await {call}(…)`"
            )


def _dropped(code: CodeType, contexts: frozenset[str]) -> Iterator[str]:
    """Yield the calls of methods of a context whose values are dropped or tested, as they are written."""
    steps = list(dis.get_instructions(code))
    owner, path = "", ""
    for place, step in enumerate(steps):
        if step.opname.startswith("LOAD_FAST") or step.opname == "LOAD_DEREF":
            owner, path = step.argrepr.rpartition(", ")[2], ""
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and owner in contexts:
            path = f"{path}.{step.argval}".removeprefix(".")
            if path in AWAITED and _is_method(step) and _is_dropped(steps, place):
                yield f"{owner}.{path}"
        else:
            owner = ""


def _is_dropped(steps: list[dis.Instruction], place: int) -> bool:
    """Return whether the value of the method that is loaded here is dropped or tested at once."""
    start = _start(steps[place])
    for index in range(place + 1, len(steps) - 2):
        if steps[index].opname in _CALLS and start is not None and _start(steps[index]) == start:
            following = [step.opname for step in steps[index + 1 : index + 3]]
            if following[0] == "COPY" or following[0].startswith("LOAD_"):
                del following[0]
                return following[0].startswith(_TESTS_OF_TWO)
            return following[0] == "POP_TOP" or following[0].startswith(_TESTS)
    return False


def _start(step: dis.Instruction) -> tuple[int, int] | None:
    """Return the line and the column where the expression of an instruction begins."""
    where = step.positions
    if where is None or where.lineno is None or where.col_offset is None:
        return None
    return where.lineno, where.col_offset


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
