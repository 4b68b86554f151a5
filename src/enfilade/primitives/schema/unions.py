"""Core schemas of unions of objects, whose validation must not take exponential time.

Pydantic tries each member. Where the members hold the union again, each level of nesting multiplies the work: 200
bytes could take minutes. So a union whose members each have a required tag of their own
(`kind: Literal["circle"]`) is read by the tag, which accepts the same values. For other recursive unions the work
is estimated from the arguments before they are validated.

Easy to get wrong: which members have a tag. One with a default may be left out, and a function that runs before
the fields may add one; such members are left as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from enfilade.primitives.schema.bytes_and_choices import json_tag
from enfilade.primitives.schema.core_nodes import Node, nodes, published_by

Definitions = Mapping[str, Node]

_KEPT: Final = frozenset({"ref", "metadata", "serialization"})
_OBJECTS: Final = frozenset({"model", "dataclass", "typed-dict", "dict"})
_ARRAYS: Final = frozenset({"list", "tuple", "set", "frozenset", "generator"})
# Types that no object in JSON is a value of.
_NO_OBJECTS: Final = frozenset(
    {
        *("none", "str", "int", "float", "bool", "bytes", "decimal", "uuid", "literal", "date", "time"),
        *("datetime", "timedelta", "url", "multi-host-url", "list", "tuple", "set", "frozenset"),
    }
)
#: Attempts to read an object that a call may cost beside one for each of its bytes.
MOST_ATTEMPTS: Final = 10_000


def read_by_tag(node: Node, definitions: Definitions) -> Node:
    """Return a union whose members with a tag are read by it; the same node if they have none.

    Args:
        node: the node of a union.
        definitions: those that it may refer to, by name.
    """
    if node.keys() - _KEPT - {"type", "choices", "mode"}:
        return node
    members = [choice[0] if isinstance(choice, tuple) else choice for choice in node["choices"]]
    others = [member for member in members if _resolved(member, definitions)["type"] in _NO_OBJECTS]
    objects = [member for member in members if not any(member is other for other in others)]
    tags = [_tags_of(member, definitions) for member in objects]
    if len(objects) < 2 or not (name := _shared_name(tags)):
        return node
    choices = {tag: member for member, names in zip(objects, tags, strict=True) for tag in names[name]}
    tagged: Node = {"type": "tagged-union", "choices": choices, "discriminator": name}
    plain = {**node, "choices": [*others, tagged]} if others else tagged
    kept = {key: node[key] for key in _KEPT & node.keys()}
    untagged = {key: value for key, value in node.items() if key not in ("ref", "metadata")}
    return published_by({**plain, **kept}, lambda _, handler: dict(handler(untagged)))


def _resolved(member: Node, definitions: Definitions) -> Node:
    seen = set[str]()
    while member["type"] == "definition-ref" and (name := member["schema_ref"]) in definitions:
        if name in seen:
            break
        seen.add(name)
        member = definitions[name]
    return member


def _shared_name(tags: list[dict[str, list[str]]]) -> str:
    """Return the name of a tag that all members have, each with other values; empty if there is none."""
    for name in tags[0]:
        if all(name in other for other in tags):
            values = Counter(value for other in tags for value in set(other[name]))
            if values.most_common(1)[0][1] == 1:
                return name
    return ""


def _tags_of(member: Node, definitions: Definitions) -> dict[str, list[str]]:
    """Return the possible values of each required choice of texts of an object, by its name in JSON."""
    node = _resolved(member, definitions)
    config: Any = node.get("config") or {}
    fields: Any = node
    if node["type"] in ("model", "dataclass"):
        fields = node["schema"]
        if node.get("custom_init") or node.get("root_model"):
            return {}
    if fields["type"] not in ("model-fields", "dataclass-args", "typed-dict"):
        return {}
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    named = fields["fields"]
    named = named.items() if isinstance(named, dict) else ((field["name"], field) for field in named)
    tags = {}
    for name, field in named:
        alias = field.get("validation_alias", name)
        if not isinstance(alias, str) or (by_name and alias != name) or not field.get("required", True):
            continue
        choice = _resolved(field["schema"], definitions)
        if choice["type"] == "literal" and choice["expected"] and field.get("init") is not False:
            values = [json_tag(value) for value in choice["expected"]]
            is_text = not any(isinstance(value, bytes) for value in choice["expected"])
            if is_text and all(isinstance(value, str) for value in values):
                tags[alias] = values
    return tags


# -- unions that are not read by a tag -------------------------------------------------------------------------


class Branching:
    """How many members of a recursive union are tried for each object and each array in the arguments.

    Args:
        schema: the core schema of the arguments.
    """

    def __init__(self, schema: Any) -> None:
        self._definitions: Definitions = {}
        if schema["type"] == "definitions":
            self._definitions = {node["ref"]: node for node in schema["definitions"] if "ref" in node}
        counts = Counter[str]()
        if self._definitions:  # without any, nothing is recursive
            for node, _ in nodes(schema, None):
                if node["type"] == "union":
                    counts |= self._of_union(node)
        self.of_objects, self.of_arrays = max(counts["object"], 1), max(counts["array"], 1)

    def __bool__(self) -> bool:
        return self.of_objects > 1 or self.of_arrays > 1

    def _of_union(self, union: Node) -> Counter[str]:
        counts = Counter[str]()
        for choice in union["choices"]:
            member = choice[0] if isinstance(choice, tuple) else choice
            if any(node is union for node in self._reachable(member)):
                counts.update(self._kinds(member))
        return counts

    def _reachable(self, member: Node) -> Iterator[Node]:
        """Yield the nodes in a member, also behind references."""
        waiting, seen = [member], set[str]()
        while waiting:
            for node, _ in nodes(waiting.pop(), None):
                yield node
                name = node.get("schema_ref", "")
                if name in self._definitions and name not in seen:
                    seen.add(name)
                    waiting.append(self._definitions[name])

    def _kinds(self, member: Node) -> set[str]:
        """Return whether a member reads objects, arrays, or possibly both."""
        kind = _resolved(member, self._definitions)["type"]
        if kind in _OBJECTS:
            return {"object"}
        return {"array"} if kind in _ARRAYS else {"object", "array"}

    def attempts(self, value: Any, most: int) -> int:
        """Return how many objects and arrays a validator reads that tries all members, or one above `most`."""
        count, waiting = 0, [(value, 1)]
        while waiting and count <= most:
            inner, times = waiting.pop()
            if isinstance(inner, dict):
                times *= self.of_objects
                waiting.extend((item, times) for item in inner.values() if isinstance(item, (dict, list)))
            else:
                times *= self.of_arrays
                waiting.extend((item, times) for item in inner if isinstance(item, (dict, list)))
            count += times
        return count
