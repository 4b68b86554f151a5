"""One HTML document from a built front end: its assets put into it, or named by the address that serves them.

    index.html ── script, link, img, style ──▶ edits of the text, by position ──▶ one document

Everything that is no reference stays as it was written. Easy to get wrong: what a host can load. A view has no
address of its own, so a reference that is left relative, such as that of a module to another one, leads nowhere.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final
from urllib.parse import quote, urlsplit

from enfilade.extensions.apps.assets import Source
from enfilade.extensions.apps.files import DocumentError
from enfilade.extensions.apps.html_edits import HtmlEdits, Tag, attribute

#: Attributes with the address of one asset, by element.
_SOURCES: Final = {
    "img": ("src",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "embed": ("src",),
    "object": ("data",),
}
_ICONS: Final = frozenset({"icon", "apple-touch-icon", "mask-icon"})
_JAVASCRIPT: Final = frozenset({"", "module", "text/javascript", "application/javascript"})
_CSS_URL: Final = re.compile(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^\s"')]+))\s*\)""", re.IGNORECASE)
_CSS_IMPORT: Final = re.compile(
    r"""@import\s+(?:url\(\s*)?(?:"([^"]*)"|'([^']*)'|([^\s"');]+))\s*\)?\s*([^;]*);""", re.IGNORECASE
)
#: An import of a module beside. In a string of a bundle it is none, so only files that exist count.
_MODULE: Final = re.compile(
    r"""(?:^|[;}\s])(?:import|export)\b[\s\w$*,{}]{0,2000}?["'](\.{0,2}/[^"']+)["']"""
    r"""|\bimport\(\s*["'](\.{0,2}/[^"']+)["']\s*\)"""
)
_SOURCE_MAP: Final = re.compile(
    r"^[ \t]*(?://[#@]\s*sourceMappingURL=\S+|/\*[#@]\s*sourceMappingURL=\S+\s*\*/)", re.MULTILINE
)
#: What would end a script or begin a comment in it; in a string, `\x3C` is the same character.
_SCRIPT_END: Final = re.compile(r"<(?=/script|!--)", re.IGNORECASE)
_STYLE_END: Final = re.compile(r"</(?=style)", re.IGNORECASE)
_DEEPEST: Final = 16  # style sheets that import each other
_IN_PATHS: Final = "/@!$&*+,;=:"  # stand for themselves in a path, beside letters and digits (RFC 3986 §3.3)


def inlined(source: Source) -> str:
    """Return the document with all its assets in it.

    Raises:
        DocumentError: a file is missing, or cannot be put into a document; the text says what to do.
    """
    return _Inlining(source).document()


def served(source: Source, base_url: str) -> str:
    """Return the document with addresses of its assets below a URL.

    Raises:
        DocumentError: a file cannot be read.
    """
    return _Serving(source, base_url).document()


class _Rewriting(HtmlEdits):
    """What both ways have in common: each reference to a file of the folder is replaced."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.html)
        self.source = source
        self.base = source.entry

    def on_start(self, tag: str, written: Tag, attributes: dict[str, str]) -> None:
        values: dict[str, str | None] = {}
        for name in _SOURCES.get(tag, ()):
            if (address := self.address(attributes.get(name, ""))) is not None:
                values[name] = address
        if "srcset" in attributes and tag in ("img", "source"):
            values["srcset"] = self._source_set(attributes["srcset"])
        if "url(" in attributes.get("style", ""):
            values["style"] = self.styled(attributes["style"])
        if tag == "base" and "href" in attributes:
            values |= self._rebased(attributes["href"])
        if tag == "iframe" and self.path_of(attributes.get("src", "")) is not None:
            raise DocumentError(f"{self._place_of(written)}: a frame cannot show a file of the front end")
        if values:
            self.replace(written, written.changed(values))

    def path_of(self, reference: str) -> str | None:
        """Return the path of what the document refers to; None if it is none of the files."""
        return self.source.path_of(reference, self.base)

    def address(self, reference: str) -> str | None:
        """Return what stands for a reference to an image or the like; None if it stays."""
        raise NotImplementedError

    def styled(self, css: str) -> str:
        """Return a style of the document with its references replaced."""
        raise NotImplementedError

    def _place_of(self, written: Tag) -> str:
        return f"{self.source.folder / self.source.entry}, line {self.line_of(written.start)}"

    def _rebased(self, href: str) -> dict[str, str | None]:
        """Resolve later references against the base of the document, and leave that out."""
        address = urlsplit(href)
        if address.scheme or address.netloc:
            raise DocumentError(
                f"{self.source.entry}: <base> names another origin; leave it out, or serve the assets: "
                'assets="served", base_url=...'
            )
        folder = posixpath.join("/", posixpath.dirname(self.source.entry), href.rpartition("/")[0] + "/")
        self.base = posixpath.join(folder, "index.html")
        return {"href": None}

    def _source_set(self, candidates: str) -> str:
        def replaced(candidate: str) -> str:
            reference, _, size = candidate.strip().partition(" ")
            return f"{self.address(reference) or reference} {size}".strip()

        return ", ".join(map(replaced, candidates.split(",")))


class _Inlining(_Rewriting):
    """Puts scripts, styles and images into the document."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._media = source.spellings_of_media()
        names = sorted(map(re.escape, self._media), key=len, reverse=True)
        self._named = re.compile(rf"""(["'`])({"|".join(names)})\1""") if names else None
        #: Scripts that run when the document is complete, which a script in it does not.
        self._deferred: list[str] = []
        self._is_moved = self._is_javascript = False
        self._script_start = 0
        self._body_end: int | None = None

    def finish(self) -> None:
        end = len(self.text) if self._body_end is None else self._body_end
        self.edits.append((end, end, "".join(self._deferred)))

    def on_start(self, tag: str, written: Tag, attributes: dict[str, str]) -> None:
        if tag == "script":
            self._script(written, attributes)
        elif tag == "link":
            self._link(written, attributes)
        else:
            super().on_start(tag, written, attributes)

    def on_end(self, tag: str, start: int, end: int) -> None:
        if tag == "body":
            self._body_end = start
        elif tag == "script" and self._is_moved:
            self.edits.append((self._script_start, end, ""))
            self._is_moved = False

    def on_raw(self, tag: str, start: int, end: int) -> None:
        text = self.text[start:end]
        if tag == "style":
            self.edits.append((start, end, self.styled(text)))
        elif self._is_javascript and not self._is_moved:
            self.edits.append((start, end, self._script_text(text, self.base)))

    def address(self, reference: str) -> str | None:
        path = self.path_of(reference)
        return None if path is None else self.source.data_uri(path, urlsplit(reference).fragment)

    def styled(self, css: str) -> str:
        return self._css(css, self.base, 0)

    def _script(self, written: Tag, attributes: dict[str, str]) -> None:
        kind = attributes.get("type", "").strip().lower()
        self._is_javascript, self._script_start = kind in _JAVASCRIPT, written.start
        path = self.path_of(attributes.get("src", ""))
        if path is None:
            return
        gone: dict[str, str | None] = dict.fromkeys(("src", "integrity", "crossorigin", "async", "defer"))
        code = self._script_text(self.source.text(path), path)
        script = written.changed(gone) + _SCRIPT_END.sub(r"\\x3C", code)
        self._is_javascript = False  # what stands in an element with an address is not run
        if kind != "module" and attributes.keys() & {"async", "defer"}:
            self._deferred.append(f"{script}</script>")
            self._is_moved = True
        else:
            self.replace(written, script)

    def _link(self, written: Tag, attributes: dict[str, str]) -> None:
        kinds = set(attributes.get("rel", "").lower().split())
        path = self.path_of(attributes.get("href", ""))
        if path is None:
            return
        if "stylesheet" in kinds:
            media = f" {attribute('media', attributes['media'])}" if attributes.get("media") else ""
            self.replace(written, f"<style{media}>{self._css(self.source.text(path), path, 0)}</style>")
        elif kinds & _ICONS:
            self.replace(written, written.changed({"href": self.source.data_uri(path)}))
        else:  # preloads of what is in the document now, and manifests
            self.replace(written, "")

    def _script_text(self, code: str, path: str) -> str:
        """Return a script with the images in it that it names.

        Raises:
            DocumentError: it imports another one.
        """
        for match in _MODULE.finditer(code):
            inner = self.source.path_of(match[1] or match[2], path)
            if inner is not None and self.source.has(inner):
                raise DocumentError(
                    f"{path} imports {inner}, and a view has no address to import from; build one bundle (Vite: "
                    "build.rollupOptions.output.inlineDynamicImports, esbuild: --bundle without --splitting)"
                )
        if self._named is not None:
            code = self._named.sub(lambda m: f"{m[1]}{self.source.data_uri(self._media[m[2]])}{m[1]}", code)
        return _SOURCE_MAP.sub("", code)

    def _css(self, css: str, path: str, depth: int) -> str:
        """Return a style sheet with what it imports and its images in it."""
        if depth > _DEEPEST:
            raise DocumentError(f"{path}: more than {_DEEPEST} style sheets import each other")

        def imported(match: re.Match[str]) -> str:
            reference, media = match[1] or match[2] or match[3], match[4].strip()
            inner = self.source.path_of(reference, path)
            if inner is None:
                return match[0]
            text = self._css(self.source.text(inner), inner, depth + 1)
            return f"@media {media} {{{text}}}" if media else text

        def url(match: re.Match[str]) -> str:
            reference = match[1] or match[2] or match[3] or ""
            inner = self.source.path_of(reference, path)
            if inner is None:
                return match[0]
            return f'url("{self.source.data_uri(inner, urlsplit(reference).fragment)}")'

        css = _CSS_URL.sub(url, _CSS_IMPORT.sub(imported, _SOURCE_MAP.sub("", css)))
        return _STYLE_END.sub(r"<\\/", css)


class _Serving(_Rewriting):
    """Names assets by the address that serves them."""

    def __init__(self, source: Source, base_url: str) -> None:
        super().__init__(source)
        self._base_url = base_url

    def on_start(self, tag: str, written: Tag, attributes: dict[str, str]) -> None:
        name = {"script": "src", "link": "href"}.get(tag)
        if name is None:
            super().on_start(tag, written, attributes)
        elif (address := self.address(attributes.get(name, ""))) is not None:
            self.replace(written, written.changed({name: address}))

    def on_raw(self, tag: str, start: int, end: int) -> None:
        if tag == "style":
            self.edits.append((start, end, self.styled(self.text[start:end])))

    def address(self, reference: str) -> str | None:
        path = self.path_of(reference)
        if path is None:
            return None
        address = urlsplit(reference)
        tail = (f"?{address.query}" if address.query else "") + (
            f"#{address.fragment}" if address.fragment else ""
        )
        return f"{self._base_url}{quote(path, safe=_IN_PATHS)}{tail}"

    def styled(self, css: str) -> str:
        def url(match: re.Match[str]) -> str:
            address = self.address(match[1] or match[2] or match[3] or "")
            return match[0] if address is None else f'url("{address}")'

        return _CSS_URL.sub(url, css)
