"""Views as resources: their media type, their metadata, and their HTML.

A view is a resource like any other, but that it is always an HTML document of the media type that hosts show, and
that its `_meta.ui` stands in the list and in its contents (X-APP-4, X-APP-6).

Easy to get wrong: a function that returns part of a document. Hosts show nothing then, so that is an error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from msgspec import UNSET
from msgspec.structs import replace

from enfilade.extensions.apps.documents import (
    Document,
    FileDocument,
    FolderDocument,
    TemplateDocument,
    TextDocument,
    ViewTemplate,
)
from enfilade.extensions.apps.files import DocumentError, check_html
from enfilade.extensions.apps.metadata import check_view_uri, view_meta
from enfilade.primitives.errors import ResourceError, ReturnedValueError
from enfilade.primitives.handler import Handler, constant_handler, handler_of
from enfilade.primitives.resource import (
    Resource,
    ResourceTemplate,
    define_resource,
    resource_from_function,
    template_from_function,
)
from enfilade.primitives.schema.signature import read_signature
from enfilade.primitives.values.media import MAX_SIZE
from enfilade.primitives.values.results import read_result
from enfilade.serving.context import Context
from enfilade.wire.apps import ORIGIN, VIEW_TYPE
from enfilade.wire.content import ResourceContents
from enfilade.wire.resources import ReadResourceResult

if TYPE_CHECKING:
    import os

log = logging.getLogger("enfilade.apps")

#: Options that make the `_meta.ui` of a view; all others are those of resources.
_UI_OPTIONS: Final = ("csp", "permissions", "domain", "prefers_border")
_UNREADABLE: Final = "The view cannot be read; the log of the server says why"


@dataclass(frozen=True, slots=True, eq=False)
class View(Resource):
    """A view at one URI.

    Attributes:
        document: its HTML, if no request is needed for it.
    """

    document: Document | None = None

    def result(self, value: Any, uri: str) -> ReadResourceResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ReturnedValueError: it is no HTML document.
        """
        return _view_result(value, uri, self.definition.meta or None)


@dataclass(frozen=True, slots=True, eq=False)
class ViewFamily(ResourceTemplate):
    """Views by a URI template."""

    def result(self, value: Any, uri: str) -> ReadResourceResult:
        """Return the result for what the function returned (after awaiting it).

        Raises:
            ReturnedValueError: it is no HTML document.
        """
        return _view_result(value, uri, self.definition.meta or None)


def _view_result(value: Any, uri: str, meta: Mapping[str, Any] | None) -> ReadResourceResult:
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            value = bytes(value).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ReturnedValueError(f"The view {uri} is not in UTF-8") from None
    result = read_result(value, uri, VIEW_TYPE, meta)
    for contents in result.contents:
        try:
            check_html(_html_of(contents), f"The view {uri}")
        except DocumentError as error:
            raise ReturnedValueError(str(error)) from None
    return replace(result, contents=[replace(contents, mime_type=VIEW_TYPE) for contents in result.contents])


def _html_of(contents: ResourceContents) -> str:
    """Return the text of contents, or what is in their bytes."""
    if contents.text is not UNSET:
        return contents.text
    try:
        return base64.b64decode(contents.blob or b"").decode("utf-8", "replace")
    except binascii.Error:
        return ""


# -- making views ----------------------------------------------------------------------------------------------


def view_from_function(
    fn: Callable[..., Any], uri: str, template: str | os.PathLike[str] | None, options: Mapping[str, Any]
) -> View | ViewFamily:
    """Make a view of a function.

    Args:
        fn: sync or async; returns an HTML document, or with `template` the values for it, a dict.
        uri: its URI, or a template of URIs.
        template: the file of a template of jinja2.
        options: those of `ViewOptions`, with `caching` and `access` in place of what makes them.

    Raises:
        TypeError, ValueError: something cannot be; the text says what to write.
        ModuleNotFoundError: a template needs jinja2.
    """
    label = f'view "{uri}"'
    check_view_uri(uri, label)
    arguments, meta = _separated(label, options)
    if "{" in uri:
        family = template_from_function(
            fn, uri, context_type=Context, mime_type=VIEW_TYPE, meta=meta, **arguments
        )
        handler = _rendering(family.handler, template, uri)
        return ViewFamily(**{**_members(family), "handler": handler})
    view = resource_from_function(fn, uri, context_type=Context, mime_type=VIEW_TYPE, meta=meta, **arguments)
    return View(**{**_members(view), "handler": _rendering(view.handler, template, uri)})


def _members(item: Resource | ResourceTemplate) -> dict[str, Any]:
    return {field.name: getattr(item, field.name) for field in fields(item)}


def _rendering(handler: Handler, template: str | os.PathLike[str] | None, uri: str) -> Handler:
    """Return a handler that puts what another one returns into a template; files are read in a thread."""
    if template is None:
        return handler
    render, fn = _renderer(ViewTemplate(Path(template)), uri), handler.fn
    if handler.is_async:

        @wraps(fn)
        async def call(*args: Any, **values: Any) -> str:
            return await asyncio.to_thread(render, await fn(*args, **values))
    else:

        @wraps(fn)
        def call(*args: Any, **values: Any) -> str:
            return render(fn(*args, **values))

    return replace(handler, fn=call)


def _renderer(template: ViewTemplate, uri: str) -> Callable[[Any], str]:
    def render(values: Any) -> str:
        if not isinstance(values, Mapping):
            raise ReturnedValueError(
                f"The view {uri} has a template, so its function returns the values for it, a dict, not "
                f"{type(values).__name__}"
            )
        return _read(uri, lambda: template.render(values))

    return render


def _read(uri: str, read: Callable[[], str]) -> str:
    """Return a document; what is wrong with its files is for the log.

    Raises:
        ResourceError: there is none.
    """
    try:
        return read()
    except DocumentError as error:
        log.error("the view %s cannot be read: %s", uri, error)
        raise ResourceError(_UNREADABLE) from None


def view_of_document(
    uri: str,
    *,
    html: str | None = None,
    file: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    template: str | os.PathLike[str] | None = None,
    values: Mapping[str, Any] | None = None,
    entry: str = "index.html",
    assets: str = "inline",
    base_url: str | None = None,
    max_size: int = MAX_SIZE,
    options: Mapping[str, Any],
) -> View:
    """Make a view of a text, a file, a folder or a template; the arguments are those of `app.add_view`.

    Raises:
        TypeError, ValueError: something cannot be; the text says what to write.
        ModuleNotFoundError: a template needs jinja2.
    """
    label = f'view "{uri}"'
    check_view_uri(uri, label)
    if "{" in uri:
        raise ValueError(f"{label} is a template of URIs, which needs a function: @app.view(uri)")
    given = [name for name, value in _sources(html, file, folder, template).items() if value is not None]
    if len(given) != 1:
        both = f", not {' and '.join(given)}" if given else ""
        raise TypeError(f"{label} takes one of html=, file=, folder= and template={both}")
    if isinstance(max_size, bool) or max_size <= 0:
        raise ValueError(f"{label}: max_size is a number of bytes, not {max_size!r}")
    served_at = _base_url(label, folder, assets, base_url)
    if template is None and values is not None:
        raise TypeError(f"{label}: values= are for template=")
    document: Document
    if html is not None:
        document = _text(html, label)
    elif file is not None:
        document = FileDocument(Path(file), max_size)
    elif folder is not None:
        document = FolderDocument(Path(folder), _entry(label, entry), served_at, max_size)
    else:
        assert template is not None
        document = TemplateDocument(ViewTemplate(Path(template)), values or {})
    origin = None if served_at is None else "{0.scheme}://{0.netloc}".format(urlsplit(served_at))
    arguments, meta = _separated(label, options, origin)
    caching, access = arguments.pop("caching"), arguments.pop("access")
    name = arguments.pop("name", None) or uri.removeprefix("ui://").rstrip("/")
    definition = define_resource(uri, name, mime_type=VIEW_TYPE, meta=meta, **arguments)
    return View(uri, definition, _handler(uri, document), caching, access=access, document=document)


def _sources(
    html: str | None,
    file: str | os.PathLike[str] | None,
    folder: str | os.PathLike[str] | None,
    template: str | os.PathLike[str] | None,
) -> dict[str, object]:
    return {"html": html, "file": file, "folder": folder, "template": template}


def _text(html: object, label: str) -> TextDocument:
    if not isinstance(html, str):
        raise TypeError(f"{label}: html is a string, not {type(html).__name__}")
    try:
        return TextDocument(html, f"{label}: html=")
    except DocumentError as error:
        raise ValueError(str(error)) from None


def _entry(label: str, entry: str) -> str:
    path = Path(entry)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{label}: entry is an HTML file in the folder, such as 'index.html', not {entry!r}")
    return path.as_posix()


def _base_url(label: str, folder: object, assets: str, base_url: str | None) -> str | None:
    """Return where the assets of a folder are served, with a slash at its end; None for into the document."""
    if assets not in ("inline", "served"):
        raise ValueError(f"{label}: assets is 'inline' or 'served', not {assets!r}")
    if assets == "inline":
        if base_url is not None:
            raise TypeError(f'{label}: base_url= is for assets="served"')
        return None
    if folder is None:
        raise TypeError(f'{label}: assets="served" is for folder=')
    address = urlsplit(base_url or "")
    is_origin = ORIGIN.fullmatch(f"{address.scheme}://{address.netloc}")  # it becomes part of a policy
    if not is_origin or address.scheme not in ("http", "https") or address.query or address.fragment:
        raise ValueError(
            f'{label}: assets="served" needs base_url=, where they are served: "https://cdn.example.com/app/"'
        )
    return f"{(base_url or '').rstrip('/')}/"


def _separated(
    label: str, options: Mapping[str, Any], served_from: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of a resource, and the `_meta` that the options of a view make."""
    arguments = {**options}
    ui = {name: arguments.pop(name, None) for name in _UI_OPTIONS}
    return arguments, view_meta(label, **ui, meta=arguments.pop("meta", None), served_from=served_from)


def _handler(uri: str, document: Document) -> Handler:
    """Return what gives a document; files are read in a thread."""
    if isinstance(document, TextDocument):
        return constant_handler(document.read(), f"the view {uri}")

    def read() -> str:
        return _read(uri, document.read)

    return handler_of(read, read_signature(read, Context))
