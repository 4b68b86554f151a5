"""`resources/list`, `resources/templates/list` and `resources/read`.

Easy to get wrong: a resource that does not exist. Each revision has its own error for it, and no client gets a
result without contents (R-523).
"""

from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from msgspec import UNSET

from enfilade.primitives.errors import ResourceNotFound
from enfilade.primitives.metadata import NO_CACHING
from enfilade.primitives.resource_index import ResourceIndex
from enfilade.serving.callers.access import Caller, caller_of
from enfilade.serving.execution import HandlerRunner
from enfilade.serving.failures import check_uri_length, failures_as_errors, not_found, single_error
from enfilade.serving.pagination import PageOptions, PaginatedList
from enfilade.serving.request import Request
from enfilade.startup.lazy import LazyModule
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
    from enfilade.primitives import resource as _resource, uris as _uris
    from enfilade.primitives.resource import Resource, ResourceTemplate
else:  # loaded with the first resource
    _resource = LazyModule("enfilade.primitives.resource")
    _uris = LazyModule("enfilade.primitives.uris")


class Resources:
    """Serves resources and templates."""

    def __init__(self, index: ResourceIndex, runner: HandlerRunner, lists: PageOptions) -> None:
        self._index = index
        self._runner = runner
        self._access = lists.access
        self.pages = PaginatedList(
            "resources/list",
            ListResourcesResult,
            "resources",
            index.items,
            _definitions_of,
            self._listed_version,
            lists,
        )
        self.template_pages = PaginatedList(
            "resources/templates/list",
            ListResourceTemplatesResult,
            "resource_templates",
            index.templates.items,
            lambda shown: [template.definition for template in shown],
            lambda: index.templates.version,
            lists,
        )

    def is_offered(self) -> bool:
        """Whether there are resources or templates."""
        return len(self._index.resources) > 0 or len(self._index.templates) > 0

    def is_offered_to(self, caller: Caller) -> bool:
        """Whether any of them is there for a caller."""
        if not self._index.is_restricted:
            return self.is_offered()
        return self._access.offers(chain(self._index.resources, self._index.templates), caller)

    def definitions(self, request: Request) -> Sequence[Definition]:
        """Return the definitions of all resources that the caller of a request sees; reads sizes of files."""
        return _definitions_of(self._access.shown(self._index.items(), caller_of(request)))

    def _listed_version(self) -> Hashable:
        """Return the version of the list; None if it has files, which change without an announcement."""
        return None if self._index.changes_by_itself else self._index.version()

    async def list(self, request: Request) -> PaginatedResult:
        """Handle `resources/list`; files are looked up in a thread."""
        if self._listed_version() is not None:
            return self.pages.page_of(request)()
        page: PaginatedResult = await self._runner.threads.run(self.pages.page_of(request))
        return page

    async def read(self, request: Request) -> ReadResourceResult:
        """Handle `resources/read`."""
        params: ReadResourceRequestParams = request.params
        uri, revision = params.uri, request.peer.revision
        check_uri_length(uri)
        match = self._index.match(uri, partial(self._access.sees, caller_of(request)))
        if match is None:
            raise NotFoundError(uri, revision)
        source, bind, values = match
        if source.access is not None and not self._access.admits(request, source.access):
            raise NotFoundError(uri, revision)
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

    # -- who may read ------------------------------------------------------------------------------------------

    def check_access(self, request: Request) -> None:
        """Check that a client may read the resource that it names, if the resource is there for it.

        Raises:
            RpcError: it lacks scopes, or the URI is too long.
        """
        check_uri_length(request.params.uri)
        self._access.require_for_all([request.params.uri], request)


def _definitions_of(items: "Iterable[Resource | ResourceTemplate]") -> list[Definition]:
    """Return the definitions of resources, then of what templates list of theirs; reads sizes of files."""
    definitions: dict[str, Definition] = {}
    for item in items:
        if isinstance(item, _resource.Resource):
            definitions[item.uri] = _resource.with_present_size(item)
        else:
            for member in item.members() if item.members else ():
                definitions.setdefault(member.uri, member)
    return list(definitions.values())
