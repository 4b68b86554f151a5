"""The skills extension, `io.modelcontextprotocol/skills` (SEP-2640).

    a request ─── look at the files, in a thread ─── Index ─── its answer
                            │ if something changed
    every few seconds ──────┴─── Publisher ─── resources of the app, and notifications

Easy to get wrong: whose change it is. Each worker looks at the files by itself and tells its own clients;
nothing of skills is in the store. A worker that does not know a file yet looks for it before it says that there
is none.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from enfilade.extensions.skills.catalog import Catalog, Index
from enfilade.extensions.skills.definition import Problem
from enfilade.extensions.skills.front_matter import check_parser
from enfilade.extensions.skills.methods import GetSkillRequestParams, ReadDirectoryRequestParams, SkillMethods
from enfilade.extensions.skills.options import SkillOptions, read_options
from enfilade.extensions.skills.resources import Publisher
from enfilade.extensions.skills.served import ServedSkill
from enfilade.extensions.skills.skill import Skill, generated_skill
from enfilade.extensions.skills.sources import SkillsFolder
from enfilade.primitives.uris import canonical
from enfilade.serving.extensions.contract import Extension
from enfilade.wire.message import PaginatedRequestParams

if TYPE_CHECKING:
    from enfilade.serving.execution import HandlerRunner
    from enfilade.serving.extensions.method import ExtensionMethod

log = logging.getLogger("enfilade.skills")

ID: Final = "io.modelcontextprotocol/skills"

#: What part of the time looks at the folders may take, at most.
_MOST_TIME: Final = 0.05


class SkillsExtension(Extension):
    """Serves skills; `app.add_skills` and its kin add it to an app.

    It declares `{"directoryRead": true}` (X-SKILL-1), and its methods have no header of their own (X-SKILL-9).

    Args:
        poll_interval: seconds between two looks at all folders while a server runs; 0 to look only when a client
            asks.
        freshness: seconds for which one look counts for lists, and for skills that are not known.
    """

    def __init__(self, *, poll_interval: float = 2.0, freshness: float = 0.5) -> None:
        super().__init__(ID, settings={"directoryRead": True})
        self._poll_interval = poll_interval
        self._catalog = Catalog(freshness, self._publish)
        self._app: Any = None
        self._publisher: Publisher | None = None
        self._runner: HandlerRunner | None = None
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._polling: asyncio.Task[None] | None = None
        methods = SkillMethods(
            self._look,
            lambda: self._catalog.index,
            lambda: self._app.dispatcher.access,
            lambda: self._app.settings.page_size,
        )
        self.add_method("skills/list", methods.list, params=PaginatedRequestParams)
        self.add_method("skills/get", methods.get, params=GetSkillRequestParams, check=methods.check)
        self.add_method(
            "resources/directory/read",
            methods.read_folder,
            params=ReadDirectoryRequestParams,
            check=methods.check,
        )

    # -- what it serves ----------------------------------------------------------------------------------------

    def add_folder(self, path: str | os.PathLike[str], **options: Unpack[SkillOptions]) -> list[str]:
        """Serve a folder of skill folders, at any depth, or the folder of one skill.

        Skills that break a rule are left out, and the log says why.

        Args:
            path: the folder.

        Returns:
            The URIs of the skills that are served now.

        Raises:
            ModuleNotFoundError: there is no YAML parser.
            TypeError, ValueError: there is no such folder, or an option has a value that it cannot have.
        """
        folder = Path(os.path.abspath(path))
        if not folder.is_dir():
            raise ValueError(f"{path} is no folder; name one with a SKILL.md, or with folders that have one")
        check_parser()
        return self._catalog.add(SkillsFolder(folder, read_options(f"skills in {folder.name}", options)))

    def add_skill(self, skill: Skill, **options: Unpack[SkillOptions]) -> str:
        """Serve a skill that was made in code, and return its URI.

        Raises:
            TypeError: it is no `Skill`.
            ValueError: another skill is at its place, it breaks a rule, or an option has a value that it cannot
                have.
        """
        if not isinstance(skill, Skill):
            raise TypeError(f"app.add_skill() takes a Skill of enfilade.extensions.skills, not {skill!r}")
        return self._catalog.add_in_code(skill.source(read_options(f"skill {skill.name}", options)))[0]

    def add_generated(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        front_matter: Mapping[str, Any] | None = None,
        **options: Unpack[SkillOptions],
    ) -> str:
        """Serve a skill whose instructions a function writes at each request, and return its URI.

        Clients cannot verify what they read of it: its `resources` are `"dynamic"`.

        Args:
            fn: sync or async, without parameters except the context; returns the text after the front matter.
            name: by default that of the function, with hyphens.
            description: by default the docstring's.
            front_matter: further members.

        Raises:
            TypeError: the function has parameters.
            ValueError: as for `add_skill`.
        """
        source = generated_skill(
            fn, read_options("skill", options), name=name, description=description, front_matter=front_matter
        )
        return self._catalog.add_in_code(source)[0]

    def remove_skill(self, uri: str) -> None:
        """Stop serving a skill that was made in code, by the URI of its `SKILL.md`.

        Raises:
            KeyError: there is none at this URI.
        """
        self._catalog.remove_in_code(canonical(uri))

    @property
    def skills(self) -> Sequence[ServedSkill]:
        """The skills that are served, as they were seen last."""
        return tuple(self._catalog.index.skills.values())

    @property
    def problems(self) -> Sequence[Problem]:
        """Why others are not served."""
        return self._catalog.index.problems

    # -- beside requests ---------------------------------------------------------------------------------------

    def attach(self, app: Any) -> None:
        """Add the resources that the files are."""
        self._app = app
        self._publisher = Publisher(
            app, lambda: self._catalog.index, lambda: self._catalog.changes_by_itself, self._catalog.read
        )
        self._publisher.update(Index(), self._catalog.index)

    def bound_methods(self, runner: HandlerRunner) -> list[ExtensionMethod]:
        """Return the methods, and take the threads of the server for looks at the folders."""
        self._runner = runner
        return super().bound_methods(runner)

    def _publish(self, before: Index, after: Index) -> None:
        if self._publisher is not None:
            self._publisher.update(before, after)

    async def start(self) -> None:
        """Begin to look at the folders every few seconds."""
        if self._poll_interval > 0:
            self._polling = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """End it."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait((self._polling,))
            self._polling = None

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(max(self._poll_interval, self._catalog.duration / _MOST_TIME))
            try:
                await self._look(None)
            except Exception:
                log.exception("the folders of skills could not be looked at")

    async def _look(self, uri: str | None) -> Index:
        """Look at the folder of the skill that has a canonical URI, or at all, and return what is served."""
        if self._catalog.changes_by_itself:
            look = self._catalog.refresh if uri is None else partial(self._catalog.refresh_at, uri)
            # A request that is cancelled leaves the thread to the look, and others must not take further ones.
            await asyncio.shield(asyncio.get_running_loop().create_task(self._in_turn(look)))
        return self._catalog.index

    async def _in_turn(self, look: Callable[[], None]) -> None:
        """Look in a thread; one at a time, since looks wait for each other anyway."""
        assert self._runner is not None
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = loop, asyncio.Lock()
        async with self._turn[1]:
            await self._runner.threads.run(look)
