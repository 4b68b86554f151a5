"""The extension itself: what the server declares, and what is checked when it starts.

An app gets it with its first view or tool with `ui=`, so no server declares it that has none (X-APP-10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import UNSET

from enfilade.extensions.apps.files import DocumentError
from enfilade.extensions.apps.metadata import ToolUiOption, read_tool_ui, tool_meta
from enfilade.extensions.apps.views import View, ViewFamily
from enfilade.primitives.resource_index import ResourceIndex
from enfilade.primitives.schema.signature import describe
from enfilade.serving.extensions.contract import Extension
from enfilade.wire.apps import APPS, VIEW_TYPE, ToolUi, shows_views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from enfilade.primitives.registry import Registry, ToolRegistry
    from enfilade.primitives.resource import Resource, ResourceTemplate
    from enfilade.serving.channel import Peer


class ViewError(ValueError):
    """A view that a tool names cannot be shown; the text says what to do."""


class Registered(Protocol):
    """What an app offers, as far as views are concerned."""

    @property
    def tools(self) -> ToolRegistry:
        """Its tools."""

    @property
    def resources(self) -> Registry[Resource]:
        """Its resources."""

    @property
    def templates(self) -> Registry[ResourceTemplate]:
        """Its templates."""


class Apps(Extension):
    """MCP Apps: views of tools, which hosts show in a sandbox.

    An app adds it by itself. Add one before the start if views come later: `app.add_extension(Apps())`.
    """

    def __init__(self) -> None:
        super().__init__(APPS, settings=self._declared)
        self._app: Registered | None = None
        self._uis: dict[str, ToolUi] = {}

    def attach(self, app: Any) -> None:
        """Know the app that it is added to."""
        self._app = app

    def meta_of_tool(
        self, fn: Callable[..., Any], ui: ToolUiOption, meta: Mapping[str, Any] | None
    ) -> tuple[ToolUi, dict[str, Any]]:
        """Return the view of a tool that is about to be added, and the `_meta` of the tool.

        Raises:
            TypeError, ValueError: it cannot be; the text says what to write.
        """
        label = describe(fn)
        view = read_tool_ui(label, ui)
        return view, tool_meta(view, meta, label)

    def remember(self, name: str, ui: ToolUi) -> None:
        """Remember the view of a tool that was added."""
        self._uis[name] = ui

    def tools_with_ui(self) -> Iterator[tuple[str, ToolUi]]:
        """Yield the tools that have a view or a visibility, by name."""
        assert self._app is not None
        for name, ui in self._uis.items():
            if name in self._app.tools:
                yield name, ui

    def views(self) -> Iterator[View | ViewFamily]:
        """Yield the views of the app."""
        assert self._app is not None
        for item in (*self._app.resources.items(), *self._app.templates.items()):
            if isinstance(item, View | ViewFamily):
                yield item

    def supports(self, peer: Peer) -> bool:
        """Whether a client shows views (X-APP-2)."""
        return shows_views(self.client_settings(peer), in_session=peer.session_id is not None)

    def check(self) -> None:
        """Check that the view of each tool is served, and that each view is an HTML document (X-APP-4, X-APP-9).

        What functions return is checked when they have returned it.

        Raises:
            ViewError: names the tool or the view, and says what to do.
        """
        assert self._app is not None
        index = ResourceIndex(self._app.resources, self._app.templates)
        for name, ui in self.tools_with_ui():
            if ui.resource_uri is not UNSET:
                _check_served(index, name, ui.resource_uri)
        for view in self.views():
            if isinstance(view, View) and view.document is not None:
                try:
                    view.document.read()
                except DocumentError as error:
                    raise ViewError(f'view "{view.uri}": {error}') from None

    async def start(self) -> None:
        """Check the views; files are read in a thread."""
        await asyncio.to_thread(self.check)

    def _declared(self, peer: Peer) -> dict[str, Any] | None:
        """Return the settings, which are empty; None without a view and a tool with one (X-APP-1)."""
        has_any = next(self.tools_with_ui(), None) is not None or next(self.views(), None) is not None
        return {} if has_any else None


def _check_served(index: ResourceIndex, tool: str, uri: str) -> None:
    match = index.match(uri, lambda access: True)
    if match is None:
        raise ViewError(
            f'tool {tool}: its view "{uri}" is not served; offer it by @app.view("{uri}") on a function that '
            f'returns HTML, or by app.add_view("{uri}", file="view.html")'
        )
    kind = match[0].definition.mime_type
    if kind != VIEW_TYPE:
        shown = "without a media type" if kind is UNSET else f"as {kind}"
        raise ViewError(
            f'tool {tool}: its view "{uri}" is served {shown}, and hosts show {VIEW_TYPE} alone; offer it by '
            "@app.view or app.add_view"
        )
