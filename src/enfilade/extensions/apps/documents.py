"""Where the HTML of a view comes from: a text, a file, the folder of a built front end, or a template.

Files are read when a client asks, and again when one of them has changed, so what is edited is seen at the next
look.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from enfilade.extensions.apps.files import DocumentError, Files, check_html
from enfilade.startup.lazy import LazyModule

if TYPE_CHECKING:
    from enfilade.extensions.apps import assets as _assets, front_end as _front_end
else:  # for folders only
    _assets = LazyModule("enfilade.extensions.apps.assets")
    _front_end = LazyModule("enfilade.extensions.apps.front_end")


class Document(ABC):
    """The HTML of a view that needs no request."""

    @abstractmethod
    def read(self) -> str:
        """Return the document; it may block.

        Raises:
            DocumentError: there is none.
        """


class TextDocument(Document):
    """A text of the program.

    Args:
        source: what errors call it.

    Raises:
        DocumentError: it is no HTML document.
    """

    def __init__(self, html: str, source: str) -> None:
        self._text = check_html(html, source)

    def read(self) -> str:
        """Return the document."""
        return self._text


class _FromFiles(Document):
    """A document that is kept while its files do not change."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._cached: tuple[Files, str] | None = None

    def read(self) -> str:
        """Return the document; its files are read if one of them has changed."""
        cached = self._cached
        if cached is not None and cached[0].are_unchanged():
            return cached[1]
        files, now = Files(self._max_size), time.time_ns()
        text = self._make(files)
        self._cached = (files, text) if files.are_settled(now) else None
        return text

    @abstractmethod
    def _make(self, files: Files) -> str:
        """Read the files and return the document."""


class FileDocument(_FromFiles):
    """One HTML file."""

    def __init__(self, path: Path, max_size: int) -> None:
        super().__init__(max_size)
        self._path = path

    def _make(self, files: Files) -> str:
        return check_html(files.read_text(self._path), str(self._path))


class FolderDocument(_FromFiles):
    """A built front end: an HTML file and its scripts, styles and images.

    Args:
        folder: what the build has written.
        entry: the HTML file in it.
        base_url: where the assets are served, with a slash at the end; None to put them into the document.
        max_size: most bytes of all files together.
    """

    def __init__(self, folder: Path, entry: str, base_url: str | None, max_size: int) -> None:
        super().__init__(max_size)
        self._folder = folder
        self._entry = entry
        self._base_url = base_url

    def _make(self, files: Files) -> str:
        source = _assets.Source(self._folder, self._entry, files)
        check_html(source.html, str(self._folder / self._entry))
        return _front_end.served(source, self._base_url) if self._base_url else _front_end.inlined(source)


class ViewTemplate:
    """A template of jinja2 that makes HTML: values are escaped, and one that is missing is an error.

    Args:
        path: the template; those that it includes or extends are beside it or below.

    Raises:
        ModuleNotFoundError: jinja2 is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import jinja2
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                'template= needs jinja2: pip install "enfilade[apps]"', name="jinja2"
            ) from None
        self._path = path
        self._jinja = jinja2
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(path.parent),
            autoescape=True,
            auto_reload=True,
            undefined=jinja2.StrictUndefined,
        )

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the document; it may block.

        Raises:
            DocumentError: the template cannot be read, is wrong, or lacks a value.
        """
        try:
            text = self._environment.get_template(self._path.name).render(values)
        except self._jinja.TemplateNotFound as error:
            raise DocumentError(f"there is no template {self._path.parent / str(error)}") from None
        except self._jinja.TemplateError as error:
            line = f", line {error.lineno}" if isinstance(error, self._jinja.TemplateSyntaxError) else ""
            raise DocumentError(f"the template {self._path}{line}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentError(f"the template {self._path} cannot be read: {error}") from None
        return check_html(text, f"what the template {self._path} makes")


class TemplateDocument(Document):
    """A template with values that do not change."""

    def __init__(self, template: ViewTemplate, values: Mapping[str, Any]) -> None:
        self._template = template
        self._values = dict(values)

    def read(self) -> str:
        """Return the document; the template is read if it has changed."""
        return self._template.render(self._values)
