"""Where skills come from: folders on disk, which are looked at again and again, and code.

A file is hashed again whenever its fingerprint is another one, and also while that is young: a clock may be so
coarse that a second change leaves no trace in it (X-SKILL-11). Only a digest that was taken a while after the
file was first seen like this, or long after its last change, counts from then on.

Easy to get wrong: a change in the middle of a look. A digest is of the bytes that were read; if the file
changed meanwhile, its fingerprint does not count, so the next look reads it again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from msgspec import Struct

from enfilade.extensions.skills.contents import FileFacts, facts_of, front_matter_of
from enfilade.extensions.skills.definition import (
    DEEPEST,
    SKILL_FILE,
    Problem,
    SkillError,
    check_file_name,
)
from enfilade.extensions.skills.folder import Fingerprint, Listing, OpenFolder, kind_of, list_skill
from enfilade.extensions.skills.front_matter import FrontMatterError
from enfilade.extensions.skills.served import Options, ServedFile, ServedTree, folder_uri, served_tree
from enfilade.primitives.resource import Resource

#: Seconds for which a fingerprint is young: no clock of a file system is coarser.
_YOUNG: Final = 2.0
#: Seconds after its last change from which a file is old by any clock.
_OLD: Final = 60.0
#: How often something is read that changes meanwhile.
_ATTEMPTS: Final = 3
#: Folders in which skills are searched for.
_MOST_SEARCHED: Final = 5_000


class Unit(Protocol):
    """What serves a skill and those nested in it."""

    @property
    def tree(self) -> ServedTree:
        """What it serves, as it was seen last."""
        ...

    @property
    def options(self) -> Options:
        """What its skills have in common."""
        ...

    @property
    def generated(self) -> Resource | None:
        """What reads its `SKILL.md`, if a function writes that; None if it is a file."""
        ...

    def scan(self) -> None:
        """Bring `tree` up to date; it may block."""
        ...

    def read(self, file: ServedFile) -> bytes:
        """Return the bytes of a file.

        Raises:
            OSError, SkillError: it cannot be read.
        """
        ...


class Source(Protocol):
    """Where skills come from.

    Attributes:
        changes_by_itself: whether a scan may see something new.
    """

    changes_by_itself: ClassVar[bool]

    @property
    def units(self) -> Sequence[Unit]:
        """The units, in listed order."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why there are not more of them."""
        ...

    def scan(self) -> None:
        """Bring `units` and all of them up to date; it may block."""
        ...


class _KnownFile(Struct, frozen=True):
    """A file as it was read last.

    Attributes:
        first_seen: when its fingerprint was seen first, by the monotonic clock.
        is_settled: whether the fingerprint tells all by now.
        front_matter: of a `SKILL.md`.
    """

    fingerprint: Fingerprint
    first_seen: float
    is_settled: bool
    facts: FileFacts
    front_matter: dict[str, Any] | FrontMatterError | None = None


class SkillFolder:
    """The folder of one skill, and the skills nested in it.

    Args:
        root: the folder of all skills.
        names: the folders from there to that of the skill.
        label: what problems call it.
        options: of all skills in `root`.
    """

    def __init__(self, root: Path, names: tuple[str, ...], label: str, options: Options) -> None:
        self._root = root
        self._names = names
        self._label = label
        self.options = options
        self._files: dict[str, _KnownFile] = {}
        self._folders: list[str] = []
        self._built_of: object = None
        self._tree = ServedTree(folder_uri(options.prefix, label))
        self.generated: Resource | None = None

    @property
    def tree(self) -> ServedTree:
        """What it serves, as it was seen last."""
        return self._tree

    def scan(self) -> None:
        """Look at all files, and read those that may be others than before."""
        for attempt in range(_ATTEMPTS):
            try:
                self._look()
                break
            except FileNotFoundError as error:  # a file may have been removed since it was listed
                if attempt == _ATTEMPTS - 1:
                    self._fail(error)
            except (OSError, SkillError) as error:
                self._fail(error)
                return
        facts = {path: (known.facts, known.front_matter) for path, known in self._files.items()}
        if self._folders and (facts, self._folders) != self._built_of:
            self._built_of = facts, self._folders
            self._tree = self._served()

    def _look(self) -> None:
        with OpenFolder.root(self._root) as root, root.at(self._names) as folder:
            listing = list_skill(folder)
            self._files = {path: self._known(folder, path, listing) for path in listing.files}
            self._folders = listing.folders

    def _served(self) -> ServedTree:
        front_matters = {
            path.removesuffix(SKILL_FILE).rstrip("/"): known.front_matter
            for path, known in self._files.items()
            if known.front_matter is not None
        }
        facts = {path: known.facts for path, known in self._files.items()}
        return served_tree(self._tree.uri, self._label, facts, self._folders, front_matters, self.options)

    def read(self, file: ServedFile) -> bytes:
        """Return the bytes of a file."""
        with OpenFolder.root(self._root) as root, root.at(self._names) as folder:
            for _ in range(_ATTEMPTS):
                data, _, is_stable = folder.read(file.path)
                if is_stable:
                    return data
        raise SkillError("files", "the file is being written; read it again")

    def _known(self, folder: OpenFolder, path: str, listing: Listing) -> _KnownFile:
        known, fingerprint = self._files.get(path), listing.files[path]
        if known is not None and known.is_settled and known.fingerprint == fingerprint:
            return known
        now, date = time.monotonic(), time.time()  # before the file is read
        data, fingerprint, is_stable = folder.read(path)
        is_same = known is not None and known.fingerprint == fingerprint
        first_seen = known.first_seen if known is not None and is_same and is_stable else now
        facts = facts_of(path.rpartition("/")[2], data)
        if known is not None and known.facts == facts:
            front_matter = known.front_matter
        else:
            front_matter = front_matter_of(data) if path.rpartition("/")[2] == SKILL_FILE else None
        age = date - max(fingerprint.modified, fingerprint.changed) / 1e9
        is_settled = is_stable and (age > _OLD or now - first_seen >= _YOUNG)
        return _KnownFile(fingerprint, first_seen, is_settled, facts, front_matter)

    def _fail(self, error: OSError | SkillError) -> None:
        """Serve nothing, and say why, unless the folder is gone."""
        self._files, self._folders, self._built_of = {}, [], None
        problems: tuple[Problem, ...] = ()
        if isinstance(error, SkillError):
            problems = (Problem(error.rule, self._label, str(error)),)
        elif not isinstance(error, FileNotFoundError):
            problems = (Problem("place", self._label, f"it cannot be read: {error.strerror}"),)
        if self._tree.skills or self._tree.problems != problems:
            self._tree = ServedTree(self._tree.uri, problems=problems)


class SkillsFolder:
    """A folder of skill folders at any depth, or the folder of one skill.

    Args:
        path: the folder.
        options: of all its skills.
    """

    changes_by_itself: ClassVar[bool] = True

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options
        self._by_names: dict[tuple[str, ...], SkillFolder] = {}
        self._problems: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why others are not searched."""
        return self._problems

    @property
    def units(self) -> Sequence[SkillFolder]:
        """The folders of skills, in the order of their paths."""
        return list(self._by_names.values())

    def scan(self) -> None:
        """Search for skills, and look at the files of each."""
        problems: list[Problem] = []
        found: list[tuple[str, ...]] = []
        try:
            with OpenFolder.root(self._path) as root:
                found = list(_search(root, (), problems, [0]))
        except OSError as error:
            problems.append(Problem("place", self._path.name, f"the folder cannot be read: {error.strerror}"))
        units = {}
        for names in sorted(found):
            label = "/".join(names) or self._path.name
            units[names] = self._by_names.get(names) or SkillFolder(self._path, names, label, self._options)
            units[names].scan()
        self._by_names = units
        self._problems = tuple(problems)


def _search(
    folder: OpenFolder, names: tuple[str, ...], problems: list[Problem], count: list[int]
) -> Iterator[tuple[str, ...]]:
    """Yield the folders of skills below a folder; what is in them is not searched.

    Args:
        names: the folders on the way here.
        problems: gets the problems of others.
        count: the number of folders that were searched before, in a list.
    """
    label, count[0] = "/".join(names) or ".", count[0] + 1
    try:
        entries = folder.entries()
        if SKILL_FILE in entries:
            yield names
            return
        if any(name.lower() == SKILL_FILE.lower() for name in entries):
            raise SkillError("files", f"the file of a skill is called {SKILL_FILE}, in this case")
        if count[0] > _MOST_SEARCHED or len(names) >= DEEPEST:
            raise SkillError("place", "there are too many folders to search for skills; name a folder of skills")
    except SkillError as error:
        problems.append(Problem(error.rule, label, str(error)))
        return
    for name, status in entries.items():
        kind = kind_of(status)
        try:
            if kind == "link":
                raise SkillError(
                    "place", "it is a symbolic link, which is not followed; put the folder itself there"
                )
            if kind == "folder":
                check_file_name(name)
                with folder.folder(name) as below:
                    yield from _search(below, (*names, name), problems, count)
        except SkillError as error:
            problems.append(Problem(error.rule, "/".join((*names, name)), str(error)))
        except OSError as error:
            text = f"it cannot be read: {error.strerror}"
            problems.append(Problem("place", "/".join((*names, name)), text))


class SkillInCode:
    """A skill whose files are in memory.

    Args:
        tree: what it serves.
        options: who may read it, and caching.
        files: the bytes of its files, by path.
        generated: reads its `SKILL.md`, if a function writes that at each request.
    """

    changes_by_itself: ClassVar[bool] = False
    problems: tuple[Problem, ...] = ()

    def __init__(
        self,
        tree: ServedTree,
        options: Options,
        files: Mapping[str, bytes],
        generated: Resource | None = None,
    ) -> None:
        self.tree = tree
        self.options = options
        self.generated = generated
        self._files = files

    @property
    def units(self) -> Sequence[Unit]:
        """The skill itself."""
        return (self,)

    def scan(self) -> None:
        """Do nothing: it stays as it is."""

    def read(self, file: ServedFile) -> bytes:
        """Return the bytes of a file."""
        return self._files[file.path]
