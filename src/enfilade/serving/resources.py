"""`resources/list`, `resources/templates/list` and `resources/read`.

A URI is looked up among the resources first, then matched against the templates in the order in which they were
registered. Easy to get wrong: a resource that does not exist. Each revision has its own error for it, and no
client gets a result without contents (R-523).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from enfilade.primitives.errors import ResourceNotFound
from enfilade.primitives.metadata import NO_CACHING, Caching
from enfilade.primitives.registry import Registry
from enfilade.primitives.uri.uris import MAX_URI_LENGTH, canonical, without_fragment
from enfilade.serving.execution import HandlerRunner
from enfilade.serving.failures import failures_as_errors, not_found, single_error
from enfilade.serving.pagination import PaginatedList, Render
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import PaginatedResult
from enfilade.wire.resources import (
    ListResourcesResult,
    ListResourceTemplatesResult,
    NotFoundError,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource as Definition,
)

if TYPE_CHECKING:
    from enfilade.primitives import resource as _resource
    from enfilade.primitives.resource import Resource, ResourceTemplate
else:  # loaded with the first resource
    _resource = LazyModule("enfilade.primitives.resource")

#: Returns the values of a function's parameters from the values in a URI and a context.
Bind = Callable[[Any, Any], dict[str, Any]]


class Resources:
    """Serves the resources and templates of two registries.

    Args:
        resources: the resources, in listed order, by URI.
        templates: the templates, in the order in which they are tried.
        runner: runs their functions.
        render: encodes a page.
        page_size: entries per page.
        caching: hints by list method.
    """

    def __init__(
        self,
        resources: "Registry[Resource]",
        templates: "Registry[ResourceTemplate]",
        runner: HandlerRunner,
        render: Render,
        *,
        page_size: int,
        caching: Mapping[str, Caching],
    ) -> None:
        self._resources = resources
        self._templates = templates
        self._runner = runner
        self._version: tuple[int, int] = (-1, -1)
        self._changes_by_itself = False
        self.pages = PaginatedList(
            ListResourcesResult,
            "resources",
            self.definitions,
            self._listed_version,
            render,
            size=page_size,
            caching=caching.get("resources/list", NO_CACHING),
        )
        self.template_pages = PaginatedList(
            ListResourceTemplatesResult,
            "resource_templates",
            lambda: [template.definition for template in templates],
            lambda: templates.version,
            render,
            size=page_size,
            caching=caching.get("resources/templates/list", NO_CACHING),
        )

    def is_offered(self) -> bool:
        """Whether there are resources or templates."""
        return len(self._resources) > 0 or len(self._templates) > 0

    def definitions(self) -> Sequence[Definition]:
        """Return the definitions of all resources, those that templates list last; reads sizes of files."""
        definitions = {resource.uri: _resource.with_present_size(resource) for resource in self._resources}
        for template in self._templates:
            for member in template.members() if template.members else ():
                definitions.setdefault(member.uri, member)
        return list(definitions.values())

    def _listed_version(self) -> Hashable:
        """Return the version of the list; None if it has files, which change without an announcement."""
        version = (self._resources.version, self._templates.version)
        if version != self._version:
            self._changes_by_itself = any(resource.measure for resource in self._resources) or any(
                template.members for template in self._templates
            )
            self._version = version
        return None if self._changes_by_itself else version

    async def list(self, request: Request) -> PaginatedResult:
        """Handle `resources/list`; files are looked up in a thread."""
        if self._listed_version() is not None:
            return self.pages.page(request.params.cursor)
        page: PaginatedResult = await self._runner.threads.run(self.pages.page, request.params.cursor)
        return page

    async def read(self, request: Request) -> ReadResourceResult:
        """Handle `resources/read`."""
        params: ReadResourceRequestParams = request.params
        uri, revision = params.uri, request.peer.revision
        if len(uri) > MAX_URI_LENGTH:
            raise RpcError(INVALID_PARAMS, f"Invalid params: the URI is longer than {MAX_URI_LENGTH} characters")
        match = self._match(uri)
        if match is None:
            raise NotFoundError(uri, revision)
        source, bind, values = match
        with failures_as_errors(request, f"resource {uri!r}", uri=uri):
            try:
                result = await self._runner.run(
                    request, source.handler, bind, values, lambda value: source.result(value, uri)
                )
            except (ResourceNotFound, BaseExceptionGroup) as raised:
                error = single_error(raised)
                if not isinstance(error, ResourceNotFound):
                    raise
                raise not_found(error, request) from error
        first_round = params.input_responses is UNSET and params.request_state is UNSET  # R-2A2
        return source.caching.apply_to(result) if first_round and source.caching is not NO_CACHING else result

    def _match(self, uri: str) -> "tuple[Resource | ResourceTemplate, Bind, dict[str, Any]] | None":
        """Return the resource or template of a URI, the function that binds its values, and these values.

        If nothing matches the complete URI, the fragment and unknown query members are ignored.
        """
        if (match := self._match_exactly(uri)) is not None:
            return match
        bare = without_fragment(uri)
        if bare != uri and (match := self._match_exactly(bare)) is not None:
            return match
        return self._match_exactly(bare, any_query=True) if "?" in bare else None

    def _match_exactly(
        self, uri: str, *, any_query: bool = False
    ) -> "tuple[Resource | ResourceTemplate, Bind, dict[str, Any]] | None":
        resource = self._resources.get(uri) or self._resources.get(canonical(uri))
        if resource is not None:
            return resource, resource.handler.with_context, {}
        for template in self._templates:
            values = template.match(uri, any_query=any_query)
            if values is not None:
                return template, template.bind, values
        return None
