"""The files of skills as resources of the app, for `resources/read` (X-SKILL-7).

Each `SKILL.md` is a resource of its own, in `resources/list`. All other files are read by one template, and not
listed: a host has them in the entry of the skill. A skill that is not for everybody has a template of its own,
since what is at a URI says who may read it.

Easy to get wrong: what the template matches. It compares URIs as they are, and decodes nothing, or another
spelling of a file would lead past the template of its skill.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Protocol

from msgspec.structs import replace

from enfilade.extensions.skills.catalog import Index, ReadFile
from enfilade.extensions.skills.contents import contents_of
from enfilade.extensions.skills.served import SCHEME, ServedSkill
from enfilade.primitives.access import Access
from enfilade.primitives.errors import ReturnedValueError
from enfilade.primitives.handler import Handler
from enfilade.primitives.registry import Registry
from enfilade.primitives.resource import Resource, ResourceTemplate, template_from_function
from enfilade.primitives.uris import canonical
from enfilade.primitives.values.results import read_result
from enfilade.serving.context import Context
from enfilade.serving.subscriptions import Changes
from enfilade.wire.resources import ReadResourceResult

log = logging.getLogger("enfilade.skills")

#: Returns the file at a canonical URI for a caller who was checked for some access; it may block.
Read = Callable[[str, Access | None], ReadFile]


class App(Protocol):
    """What the resources are added to."""

    resources: Registry[Resource]
    templates: Registry[ResourceTemplate]
    changes: Changes


@dataclass(frozen=True, slots=True, eq=False)
class SkillResource(Resource):
    """A `SKILL.md`. Its function returns what `Read` does."""

    def result(self, value: Any, uri: str) -> ReadResourceResult:
        """Return the result for the bytes of the file."""
        contents = contents_of(value.data, uri, value.facts)
        return ReadResourceResult(contents=[replace(contents, meta=self.definition.meta)])


@dataclass(frozen=True, slots=True, eq=False)
class GeneratedSkill(Resource):
    """A `SKILL.md` whose instructions a function writes at each request.

    Attributes:
        front_matter: comes before them.
    """

    front_matter: str = ""

    def result(self, value: Any, uri: str) -> ReadResourceResult:
        """Return the result for the instructions.

        Raises:
            ReturnedValueError: they are no text.
        """
        if not isinstance(value, str):
            kind = type(value).__name__
            raise ReturnedValueError(
                f"The function of a skill returns its instructions, which are text, not {kind}"
            )
        return read_result(f"{self.front_matter}\n{value}", uri, "text/markdown", self.definition.meta or None)


@dataclass(frozen=True, slots=True, eq=False)
class SkillFiles(ResourceTemplate):
    """The files of skills. Its function takes a canonical URI, and returns what `Read` does.

    Attributes:
        covers: whether the file at a canonical URI would be one of them.
    """

    covers: Callable[[str], bool] = bool

    def match(self, uri: str, *, any_query: bool = False) -> dict[str, str | list[str]] | None:
        """Return the URI in its canonical form; None if it is that of something else."""
        uri = canonical(uri)
        return {"path": uri} if self.covers(uri) else None

    def result(self, value: Any, uri: str) -> ReadResourceResult:
        """Return the result for the bytes of a file."""
        file: ReadFile = value
        return file.caching.apply_to(ReadResourceResult(contents=[contents_of(file.data, uri, file.facts)]))


class Publisher:
    """Keeps the resources of an app as the skills are.

    Args:
        app: the app.
        index: returns what is served now.
        may_grow: returns whether there may be skills that nobody has seen yet.
        read: reads a file.
    """

    def __init__(self, app: App, index: Callable[[], Index], may_grow: Callable[[], bool], read: Read) -> None:
        self._app = app
        self._index = index
        self._may_grow = may_grow
        self._read = read
        self._resources: dict[str, Resource] = {}
        self._templates: dict[str, ResourceTemplate] = {}
        app.templates.add(self._template(SCHEME, None, self._is_open))

    def update(self, before: Index, after: Index) -> None:
        """Add, replace and remove what is different, and announce it (X-SKILL-10).

        Clients of this worker hear of files that changed: each worker sees the same files.
        """
        for uri in before.skills.keys() - after.skills.keys():
            self._remove(uri)
        for uri, skill in after.skills.items():
            known = before.skills.get(uri)
            if known is None:
                self._add(uri, skill, after)
            elif known is not skill and _shape(known) != _shape(skill) and uri in self._resources:
                self._resources[uri] = self._resource(uri, skill, after)
                self._app.resources.update(self._resources[uri])
        self._update_templates(after)
        for uri in _changed_files(before, after):
            self._app.changes.announce_here(uri)

    # -- each SKILL.md -----------------------------------------------------------------------------------------

    def _add(self, uri: str, skill: ServedSkill, index: Index) -> None:
        resource = self._resource(uri, skill, index)
        try:
            self._app.resources.add(resource)
        except ValueError as error:
            log.warning("skill %s is served, and cannot be a resource: %s", skill.name, error)
        else:
            self._resources[uri] = resource

    def _remove(self, uri: str) -> None:
        resource = self._resources.pop(uri, None)
        if resource is not None and self._app.resources.get(resource.uri) is resource:
            self._app.resources.remove(resource.uri)

    def _resource(self, uri: str, skill: ServedSkill, index: Index) -> Resource:
        unit = index.unit_at(uri)
        if unit is not None and unit.generated is not None:
            return unit.generated
        handler = Handler(partial(self._read, uri, skill.access), False, f"the skill {skill.name}", (), (), ())
        return SkillResource(skill.uri, skill.definition, handler, skill.caching, access=skill.access)

    # -- all other files ---------------------------------------------------------------------------------------

    def _is_open(self, uri: str) -> bool:
        """Whether everybody may read what is at a URI, if it is the file of a skill."""
        unit = self._index().unit_at(uri)
        if unit is None:
            return uri.startswith(SCHEME) and self._may_grow()
        return unit.options.access is None

    def _update_templates(self, index: Index) -> None:
        """Have a template for each skill that is not for everybody, with who may read it now."""
        closed = {unit.tree.uri: unit.options.access for unit in index.units.values()}
        for uri, template in [*self._templates.items()]:
            if closed.get(uri) is not template.access:
                self._app.templates.remove(self._templates.pop(uri).uri_template)
        for uri, access in closed.items():
            if access is not None and uri not in self._templates:
                template = self._template(f"{uri}/", access, _within(canonical(uri) + "/"))
                self._templates[uri] = template
                self._app.templates.add(template)

    def _template(self, prefix: str, access: Access | None, covers: Callable[[str], bool]) -> SkillFiles:
        def read(path: str) -> Any:  # a type would say something of the media type
            return self._read(path, access)

        made = template_from_function(
            read,
            f"{prefix}{{+path}}",
            context_type=Context,
            name="skill-file",
            description="A file of a skill, by the URI in the entry of the skill.",
            verbatim=["path"],
            access=access,
        )
        members = {each.name: getattr(made, each.name) for each in fields(made)}
        return SkillFiles(**members, covers=covers)


def _within(prefix: str) -> Callable[[str], bool]:
    return lambda uri: uri.startswith(prefix)


def _shape(skill: ServedSkill) -> object:
    """Return what makes a list another one: what it says of a skill, and which files there are."""
    resources = skill.entry["resources"]
    uris = resources if isinstance(resources, str) else [resource["uri"] for resource in resources]
    return skill.definition, uris, skill.caching, skill.access


def _changed_files(before: Index, after: Index) -> Iterator[str]:
    """Yield the URIs of files that are new, gone or other than before."""
    for uri in before.files.keys() | after.files.keys():
        old, new = before.files.get(uri), after.files.get(uri)
        if old is not new and (old is None or new is None or old[1].facts.digest != new[1].facts.digest):
            yield uri
