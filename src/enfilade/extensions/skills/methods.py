"""The methods of the extension: `skills/list`, `skills/get` and `resources/directory/read`.

Easy to get wrong: a skill that is not there for a caller. It is as unknown as one that does not exist; one whose
scopes the caller lacks is refused (X-AUTH-5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

from enfilade.extensions.skills.catalog import Index
from enfilade.extensions.skills.served import ServedSkill
from enfilade.primitives.access import Access
from enfilade.primitives.metadata import Caching
from enfilade.primitives.uris import canonical
from enfilade.serving.callers.access import AccessPolicy, caller_of
from enfilade.serving.failures import check_uri_length
from enfilade.serving.pagination import decode_cursor, encode_cursor
from enfilade.wire.jsonrpc import INVALID_PARAMS, RpcError
from enfilade.wire.message import PaginatedRequestParams, RequestParams
from enfilade.wire.revisions import SINCE_0728

if TYPE_CHECKING:
    from enfilade.serving.request import Request

#: Most files in the entries of one page, unless one skill has more.
_MOST_FILES_OF_A_PAGE: Final = 2_048


class GetSkillRequestParams(RequestParams, kw_only=True):
    """Which skill: the URI of its `SKILL.md`."""

    uri: str


class ReadDirectoryRequestParams(PaginatedRequestParams, kw_only=True):
    """Which folder: its URI, without a slash at the end."""

    uri: str


class SkillMethods:
    """Answers requests.

    Args:
        look: brings the index up to date, at a canonical URI or as a whole (None), and returns it.
        index: returns the index as it is.
        policy: returns what says who may see and read what.
        page_size: returns how many entries a page has at most.
    """

    def __init__(
        self,
        look: Callable[[str | None], Awaitable[Index]],
        index: Callable[[], Index],
        policy: Callable[[], AccessPolicy],
        page_size: Callable[[], int],
    ) -> None:
        self._look = look
        self._index = index
        self._policy = policy
        self._page_size = page_size

    async def list(self, request: Request) -> Mapping[str, Any]:
        """Answer `skills/list` (X-SKILL-2)."""
        start = _start_of(request)
        index = await self._look(None)
        served = list(index.skills.values())
        skills = self._policy().shown(served, caller_of(request))
        if start > len(skills):
            raise _unknown_cursor()
        end = self._end_of_page(skills, start)
        members: dict[str, Any] = {"skills": [skill.entry for skill in skills[start:end]]}
        if end < len(skills):
            members["nextCursor"] = encode_cursor(end)
        return members | _hints(request, common_caching(served))

    def _end_of_page(self, skills: Sequence[ServedSkill], start: int) -> int:
        """Return where a page ends: before it has too many skills or files, and after one skill at least."""
        files = 0
        end = min(start + self._page_size(), len(skills))
        for position in range(start, end):
            files += len(skills[position].entry["resources"])
            if files > _MOST_FILES_OF_A_PAGE and position > start:
                return position
        return end

    async def get(self, request: Request) -> Mapping[str, Any]:
        """Answer `skills/get` (X-SKILL-2), as the files are now (X-SKILL-10)."""
        uri = _uri_of(request)
        skill = (await self._look(uri)).skills.get(uri)
        if skill is None or not self._admits(request, skill.access):
            _refuse(request, f"no skill is served at {request.params.uri}; name the SKILL.md of one")
        return {"skill": skill.entry} | _hints(request, skill.caching)

    async def read_folder(self, request: Request) -> Mapping[str, Any]:
        """Answer `resources/directory/read`: the direct children of a folder (X-SKILL-8)."""
        uri, start = _uri_of(request), _start_of(request)
        index = await self._look(uri)
        unit, children = index.unit_at(uri), index.folders.get(uri)
        if unit is None or children is None or not self._admits(request, unit.options.access):
            _refuse(request, f"{request.params.uri} is no folder of a skill; its URI has no slash at the end")
        if start > len(children):
            raise _unknown_cursor()
        end = start + self._page_size()
        members: dict[str, Any] = {"resources": list(children[start:end])}
        if end < len(children):
            members["nextCursor"] = encode_cursor(end)
        # The specification asks for no hints here; the official Inspector refuses a result without.
        return members | _hints(request, unit.options.caching)

    def check(self, request: Request) -> None:
        """Check that a caller has the scopes of the skill that it names.

        Raises:
            RpcError: it lacks some.
        """
        self._admits(request, _access_at(_uri_of(request), self._index()))

    def _admits(self, request: Request, access: Access | None) -> bool:
        return access is None or self._policy().admits(request, access)


def common_caching(skills: Sequence[ServedSkill]) -> Caching:
    """Return the hints for a list of skills: what holds for all of them."""
    ttl = min((skill.caching.ttl for skill in skills), default=0)
    is_public = bool(skills) and all(skill.caching.scope == "public" for skill in skills)
    return Caching(ttl, "public" if is_public else "private")


def _hints(request: Request, caching: Caching) -> dict[str, Any]:
    """Return the members about caching, in revisions that have them (X-SKILL-1)."""
    if request.peer.revision not in SINCE_0728:
        return {}
    return {"ttlMs": round(caching.ttl * 1000), "cacheScope": caching.scope}


def _access_at(uri: str, index: Index) -> Access | None:
    unit = index.unit_at(uri)
    return None if unit is None else unit.options.access


def _uri_of(request: Request) -> str:
    check_uri_length(request.params.uri)
    return canonical(request.params.uri)


def _start_of(request: Request) -> int:
    """Return the position that a cursor stands for; an empty one is the first page."""
    return decode_cursor(request.params.cursor) if request.params.cursor else 0


def _unknown_cursor() -> RpcError:
    return RpcError(INVALID_PARAMS, "Invalid params: unknown cursor")


def _refuse(request: Request, reason: str) -> NoReturn:
    raise RpcError(INVALID_PARAMS, f"Invalid params: {reason}", {"uri": request.params.uri})
