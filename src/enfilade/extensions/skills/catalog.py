"""All skills of an app: where they come from, what is served of them, and how that stays up to date.

What is served is one immutable index, which is replaced as a whole; requests read it without a lock. A look at
the files takes the lock, and whoever waits for it takes over what another one has seen meanwhile.

Easy to get wrong: two registrations whose skills are at one place. The first one counts, since what a host has
approved must not become another skill; the second one is a problem. And a skill that a read finds first: who may
read it was not known when the caller was checked, so a read is given what the caller was checked for, and what is
not for that is not found. The next request is checked for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from enfilade.extensions.skills.contents import FileFacts, digest_of, facts_of
from enfilade.extensions.skills.definition import Problem, SkillError
from enfilade.extensions.skills.served import SCHEME, ServedFile, ServedSkill, ServedTree
from enfilade.extensions.skills.sources import Source, Unit
from enfilade.primitives.access import Access
from enfilade.primitives.errors import ResourceError, ResourceNotFound
from enfilade.primitives.metadata import Caching
from enfilade.primitives.uris import canonical
from enfilade.wire.resources import Resource

log = logging.getLogger("enfilade.skills")


#: Most segments of the URI of a skill: those of a prefix, and folders within each other.
_DEEPEST_URI: Final = 64


class Index(Struct, frozen=True, eq=False):
    """What is served, each by its canonical URI.

    Attributes:
        units: by the URI of their folders.
        skills: the skills, in listed order.
        files: the files of all skills, with the units that read them.
        folders: the direct children of each folder.
        problems: why others are not served.
    """

    units: Mapping[str, Unit] = {}
    skills: Mapping[str, ServedSkill] = {}
    files: Mapping[str, tuple[Unit, ServedFile]] = {}
    folders: Mapping[str, tuple[Resource, ...]] = {}
    problems: tuple[Problem, ...] = ()

    def unit_at(self, uri: str) -> Unit | None:
        """Return the unit whose folder a canonical URI is in, or is that of; None if there is none."""
        return next((self.units[folder] for folder in _folders_of(uri) if folder in self.units), None)


class ReadFile(NamedTuple):
    """A file as it was read.

    Attributes:
        caching: hints for clients that read it.
    """

    data: bytes
    facts: FileFacts
    caching: Caching


#: Is told what was served before, and what is now.
OnChange = Callable[[Index, Index], None]


class Catalog:
    """The skills of an app.

    Args:
        freshness: seconds for which one look at all folders counts.
        on_change: is told of changes, in the thread that has seen them.

    Attributes:
        index: what is served now.
        duration: seconds that the last look at all folders took.
    """

    def __init__(self, freshness: float, on_change: OnChange) -> None:
        self._freshness = freshness
        self._on_change = on_change
        self._lock = threading.RLock()
        self._sources: list[Source] = []
        self._indexed: Sequence[object] = ()  # what the index was made of
        self._began = float("-inf")
        self._logged: frozenset[Problem] = frozenset()
        self.index = Index()
        self.duration = 0.0

    @property
    def changes_by_itself(self) -> bool:
        """Whether there is anything that changes by itself."""
        return any(source.changes_by_itself for source in self._sources)

    def add(self, source: Source) -> list[str]:
        """Add what skills come from, and return the URIs of those that it serves now."""
        with self._lock:
            source.scan()
            self._sources.append(source)
            self._rebuild()
            served = [unit for unit in source.units if self.index.units.get(canonical(unit.tree.uri)) is unit]
            return [skill.uri for unit in served for skill in unit.tree.skills]

    def add_in_code(self, source: Source) -> list[str]:
        """Add a skill that is made in code.

        Raises:
            ValueError: another skill is at its place.
        """
        with self._lock:
            for unit in source.units:
                if _is_taken(canonical(unit.tree.uri), self.index.units):
                    raise ValueError(
                        f"there is a skill at {unit.tree.uri} already, or around or in it; use prefix="
                    )
            return self.add(source)

    def remove_in_code(self, uri: str) -> None:
        """Stop serving a skill that was made in code.

        Raises:
            KeyError: there is none at this URI.
        """
        with self._lock:
            for source in self._sources:
                roots = () if source.changes_by_itself else [f"{unit.tree.uri}/" for unit in source.units]
                if any(uri.startswith(root) and uri in self.index.skills for root in roots):
                    self._sources.remove(source)
                    self._rebuild()
                    return
        raise KeyError(f"no skill that was made in code is at {uri}")

    def refresh(self) -> None:
        """Look at all folders, unless somebody has done so since this was called, or just before."""
        arrived = time.monotonic()
        with self._lock:
            if self._began > arrived - self._freshness:
                return
            self._began = time.monotonic()
            for source in self._sources:
                source.scan()
            self._rebuild()
            self.duration = time.monotonic() - self._began

    def refresh_at(self, uri: str) -> None:
        """Look at the folder of the skill that has a canonical URI, or at all if there is none."""
        with self._lock:
            unit = self.index.unit_at(uri)
            if unit is None:
                self.refresh()
            else:
                unit.scan()
                self._rebuild()

    def read(self, uri: str, access: Access | None = None) -> ReadFile:
        """Return the file at a canonical URI, with the bytes of which the entry of its skill has the digest.

        It may block.

        Args:
            access: what the caller was checked for; None for what everybody may read.

        Raises:
            ResourceNotFound: no skill that is for this `access` has such a file.
            ResourceError: it cannot be read.
        """
        failure: OSError | SkillError | None = None
        for is_last in (False, True):
            unit, file = self.index.files.get(uri, (None, None))
            failure = None
            if unit is not None and file is not None and unit.options.access is access:
                try:
                    data = unit.read(file)
                except (OSError, SkillError) as error:
                    failure = error
                else:
                    if digest_of(data) == file.facts.digest:
                        return ReadFile(data, file.facts, unit.options.caching)
                    if is_last:  # it has changed once more: what was read is the next state
                        return ReadFile(data, facts_of(file.name, data), unit.options.caching)
            if not is_last:
                self.refresh_at(uri)
        if failure is None:
            raise ResourceNotFound
        reason = str(failure) if isinstance(failure, SkillError) else failure.strerror
        raise ResourceError(f"The file cannot be read: {reason}")

    # -- the index ---------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Replace the index if a source has something new, and tell of it."""
        units = [unit for source in self._sources for unit in source.units]
        made_of = [*(unit.tree for unit in units), *(source.problems for source in self._sources)]
        if len(made_of) == len(self._indexed) and all(map(_is_same, made_of, self._indexed)):
            return
        problems = [problem for source in self._sources for problem in source.problems]
        self._indexed = made_of
        before, self.index = self.index, _index_of(units, problems)
        for problem in self.index.problems:
            if problem not in self._logged:  # again only if it comes back
                log.warning("%s; it is not served", problem)
        self._logged = frozenset(self.index.problems)
        self._on_change(before, self.index)


def _is_same(one: object, other: object) -> bool:
    return one is other or (not isinstance(one, ServedTree) and one == other)


def _index_of(units: Sequence[Unit], problems: list[Problem]) -> Index:
    served: dict[str, Unit] = {}
    above: set[str] = set()  # the folders of skills, and all that these are in
    for unit in units:
        root = canonical(unit.tree.uri)
        problems += unit.tree.problems
        within = _folders_of(root)
        if root in above or not served.keys().isdisjoint(within):
            where = root.removeprefix(SCHEME)
            problems.append(
                Problem("place", where, "another skill is at its URI, or around or in it; use prefix=")
            )
        else:
            served[root] = unit
            above.update(within)
    trees = [(unit, unit.tree) for unit in served.values()]
    return Index(
        served,
        {canonical(skill.uri): skill for _, tree in trees for skill in tree.skills},
        {canonical(uri): (unit, file) for unit, tree in trees for uri, file in tree.files.items()},
        {canonical(uri): children for _, tree in trees for uri, children in tree.folders.items()},
        tuple(problems),
    )


def _folders_of(uri: str) -> list[str]:
    """Return a canonical URI and those of the folders that it is in, as far as skills may be nested."""
    folders: list[str] = []
    end = len(SCHEME)
    if uri.startswith(SCHEME):
        while len(folders) < _DEEPEST_URI and (end := uri.find("/", end + 1)) > 0:
            folders.append(uri[:end])
        folders.append(uri)
    return folders


def _is_taken(root: str, served: Mapping[str, Unit]) -> bool:
    """Whether a folder is one of those that are served, is in one of them, or has one in it."""
    return not served.keys().isdisjoint(_folders_of(root)) or any(
        other.startswith(f"{root}/") for other in served
    )
