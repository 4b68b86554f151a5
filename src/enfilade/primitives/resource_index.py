"""Finds what is at a URI: a resource, or else the first template that matches, in the order of registration.

Easy to get wrong: an item that is not there for a caller. It gives way to what else is at its URI, so who may see
it is asked while the URI is looked up, not afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.primitives import uris as _uris
    from enfilade.primitives.access import Access
    from enfilade.primitives.registry import Registry
    from enfilade.primitives.resource import Resource, ResourceTemplate
else:  # loaded with the first resource
    _uris = LazyModule("enfilade.primitives.uris")

#: Returns the values of a function's parameters from the values in a URI and a context.
Bind: TypeAlias = Callable[[Any, Any], dict[str, Any]]

#: Whether an item that is not for everybody is there for a caller.
Sees: TypeAlias = "Callable[[Access], bool]"

Match: TypeAlias = "tuple[Resource | ResourceTemplate, Bind, dict[str, Any]]"


class ResourceIndex:
    """The resources and templates of a server.

    Args:
        resources: the resources, in listed order, by URI.
        templates: the templates, in the order in which they are tried.

    Attributes:
        changes_by_itself: whether the list has files, which change without an announcement.
        is_restricted: whether any resource or template is not for everybody.
    """

    def __init__(self, resources: Registry[Resource], templates: Registry[ResourceTemplate]) -> None:
        self.resources = resources
        self.templates = templates
        self._version: tuple[int, int] = (-1, -1)
        self._changes_by_itself = self._is_restricted = False

    def items(self) -> tuple[Resource | ResourceTemplate, ...]:
        """Return the resources, then the templates, in order."""
        return (*self.resources.items(), *self.templates.items())

    def version(self) -> tuple[int, int]:
        """Return a value that changes whenever an item is added or removed."""
        version = (self.resources.version, self.templates.version)
        if version != self._version:
            self._changes_by_itself = any(resource.measure for resource in self.resources) or any(
                template.members for template in self.templates
            )
            self._is_restricted = any(item.access is not None for item in self.items())
            self._version = version
        return version

    @property
    def changes_by_itself(self) -> bool:
        self.version()
        return self._changes_by_itself

    @property
    def is_restricted(self) -> bool:
        self.version()
        return self._is_restricted

    def match(self, uri: str, sees: Sees) -> Match | None:
        """Return the resource or template of a URI, the function that binds its values, and these values.

        If nothing matches the complete URI, the fragment and unknown query members are ignored.
        """
        if (match := self._match_exactly(uri, sees)) is not None:
            return match
        bare = _uris.without_fragment(uri)
        if bare != uri and (match := self._match_exactly(bare, sees)) is not None:
            return match
        return self._match_exactly(bare, sees, any_query=True) if "?" in bare else None

    def _match_exactly(self, uri: str, sees: Sees, *, any_query: bool = False) -> Match | None:
        resource = self.resources.get(uri) or self.resources.get(_uris.canonical(uri))
        if resource is not None and (resource.access is None or sees(resource.access)):
            return resource, resource.handler.with_context, {}
        for template in self.templates:
            values = template.match(uri, any_query=any_query)
            if values is not None and (template.access is None or sees(template.access)):
                return template, template.bind, values
        return None
