"""The `server.json` that there is: additions of its author stay, the rest is written anew.

So the file itself records what was asked for: which packages, which image, and what was added by hand, such as
descriptions of variables and arguments of commands.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from enfilade.publishing.findings import Findings

#: The members of the file, in the order in which they are written; others the schema does not have.
KNOWN: Final = (
    *("$schema", "name", "title", "description", "repository", "version", "websiteUrl", "icons"),
    *("packages", "remotes", "_meta"),
)
#: The one key of `_meta` that a registry keeps, and most bytes of its JSON (X-REG-3).
PUBLISHER_META: Final = "io.modelcontextprotocol.registry/publisher-provided"
MOST_META: Final = 4096
#: Characters that the registry writes in six bytes when it measures.
_ESCAPED: Final = "<>&"

Entries = list[dict[str, Any]]


class Stored(msgspec.Struct, frozen=True):
    """What the file has so far.

    Attributes:
        content: empty without a file.
        label: what errors call the file.
    """

    content: dict[str, Any] = {}
    label: str = "server.json"

    def entries(self, member: str) -> Entries:
        """Return the objects in a list of it."""
        values = self.content.get(member)
        return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []

    def kinds(self, choices: Sequence[str]) -> tuple[str, ...]:
        """Return which of some kinds of packages it has."""
        return tuple(
            dict.fromkeys(kind for entry in self.entries("packages") if (kind := _kind(entry)) in choices)
        )

    @property
    def has_ways(self) -> bool:
        """Whether it has a package or an endpoint, so that it says which ones there are."""
        return any(map(_kind, self.entries("packages"))) or any(
            entry.get("url") for entry in self.entries("remotes")
        )

    def image(self, version: str) -> str:
        """Return the reference of its image, with another tag if that is the version which the file has."""
        entry = next((entry for entry in self.entries("packages") if _kind(entry) == "oci"), {})
        reference, old = str(entry.get("identifier") or ""), str(self.content.get("version") or "")
        tag = f":{old}"
        return reference.removesuffix(tag) + f":{version}" if old and reference.endswith(tag) else reference


def read_stored(data: bytes, label: str) -> Stored:
    """Return what a file has.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{label} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{label} is no JSON object")
    return Stored(content, label)


def merged(stored: Stored, written: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """Return the new content of the file.

    Args:
        written: what the app and the project say.
        findings: get what is left out.
    """
    _check_meta(stored, findings)
    unknown = [member for member in stored.content if member not in KNOWN]
    if unknown:
        findings.notes.append(
            f"{', '.join(unknown)} of {stored.label} is left out: the schema has no such member"
        )
    content = {**stored.content, **written}
    before, now = stored.content.get("repository"), written.get("repository")
    if isinstance(before, dict) and now is not None and before.get("url") == now["url"]:
        content["repository"] = {**before, **now}
    content["packages"] = _packages(stored, written.get("packages", []), findings)
    content["remotes"] = _remotes(stored, written.get("remotes", []))
    return {member: content[member] for member in KNOWN if content.get(member) not in (None, [], {}, "")}


def _packages(stored: Stored, written: Entries, findings: Findings) -> Entries:
    """Return the packages: those that are written here, with additions of their author, and others."""
    packages, others = [], []
    by_kind = {_kind(entry): entry for entry in reversed(stored.entries("packages"))}
    for entry in written:
        before = by_kind.get(_kind(entry), {})
        package = {**entry, **before, **entry}
        package["environmentVariables"] = _variables(before, entry["environmentVariables"], findings)
        packages.append(package)
    for entry in stored.entries("packages"):
        if not _kind(entry):
            continue
        if _kind(entry) not in ("pypi", "oci"):
            others.append(entry)
        elif by_kind[_kind(entry)] is not entry or not any(
            _kind(entry) == _kind(package) for package in packages
        ):
            findings.notes.append(f"the package {entry.get('identifier')} of {stored.label} is left out")
    return [*packages, *others]


def _variables(before: Mapping[str, Any], written: Entries, findings: Findings) -> Entries:
    """Return the variables of a package: those of the tools, described as before, and others."""
    values = before.get("environmentVariables")
    known = {str(entry.get("name")): entry for entry in values or () if isinstance(entry, dict)}
    names = {entry["name"] for entry in written}
    further = [entry for name, entry in known.items() if name not in names]
    for entry in further:
        if entry.get("isSecret"):
            findings.notes.append(f"no tool asks for the secret {entry['name']}, which the file keeps")
    return [*({**entry, **known.get(entry["name"], {}), **entry} for entry in written), *further]


def _remotes(stored: Stored, written: Entries) -> Entries:
    """Return the endpoints: the one of the app in the place of the first one, and others of its author."""
    before = stored.entries("remotes")
    first = next((entry for entry in before if _is_endpoint(entry)), None)
    if not written:
        return before
    return [
        *({**entry, **(first or {}), **entry} for entry in written),
        *(entry for entry in before if entry is not first),
    ]


def _check_meta(stored: Stored, findings: Findings) -> None:
    """Refuse metadata that a registry drops, or refuses (X-REG-3)."""
    meta = stored.content.get("_meta")
    if meta is None:
        return
    others = [key for key in meta if key != PUBLISHER_META] if isinstance(meta, dict) else ["_meta"]
    if others:
        findings.missing.append(
            f"registries drop {', '.join(others)} in _meta of {stored.label}: put it below {PUBLISHER_META}, or "
            "remove it"
        )
        return
    text = json.dumps(meta.get(PUBLISHER_META), separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode("utf-8", "replace")) + 5 * sum(map(text.count, _ESCAPED))
    if size > MOST_META:
        findings.missing.append(f"_meta of {stored.label} has {size} bytes of JSON, and {MOST_META} are allowed")


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry.get("registryType") or "")


def _is_endpoint(entry: Mapping[str, Any]) -> bool:
    return entry.get("type") == "streamable-http"
