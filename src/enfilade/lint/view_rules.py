"""Rules for views of tools (MCP Apps): what a host needs to show one. They read the views, as a host does.

Easy to get wrong: what a browser loads by itself. Addresses in attributes and styles count, and those that a
script names in `fetch` and the like; an address that merely stands in a text does not, such as that of an XML
namespace.
"""

from __future__ import annotations

import base64
import binascii
import re
import types
from collections.abc import AsyncIterator, Iterator, Mapping
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from enfilade.app import MCPApp
from enfilade.client.surface import Item, Surface
from enfilade.extensions.apps import APPS, VIEW_TYPE, Apps, has_doctype
from enfilade.lint.findings import Finding, Severity
from enfilade.primitives.resource_index import ResourceIndex
from enfilade.primitives.values.media import Audio, Image
from enfilade.wire.content import AudioContent, ImageContent

if TYPE_CHECKING:
    from enfilade.client.recording_client import Connected

#: Severity, reason and fix of each rule.
RULES: Final[Mapping[str, tuple[Severity, str, str]]] = {
    "view-missing": (
        "error",
        "A host shows nothing for a tool whose view it cannot read.",
        "serve the resource that resourceUri names, with a URI that begins with ui://",
    ),
    "view-type": (
        "error",
        f"Hosts show a view only if its media type is exactly {VIEW_TYPE}, in the contents as well.",
        "offer it by @app.view or app.add_view",
    ),
    "view-document": (
        "error",
        "A view is a whole HTML document; hosts put it into a frame as it is.",
        "begin it with <!doctype html>",
    ),
    "view-relative-address": (
        "error",
        "A view has no address of its own, so a relative one leads nowhere.",
        'put the file into the document: app.add_view(uri, folder="dist") does',
    ),
    "view-origin": (
        "warning",
        "Hosts block every origin that the csp of a view does not name.",
        "name it in csp=, or leave it out",
    ),
    "view-without-text": (
        "warning",
        "The model and hosts without views read the text of a result alone.",
        "return ToolResult(content=text, structured_content=data), or a type with text",
    ),
}

_RESOURCES: Final = {
    "script": ("src",),
    "img": ("src",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "image": ("href", "xlink:href"),
    "input": ("src",),
}
_LOADED_LINKS: Final = frozenset(
    {"stylesheet", "icon", "preload", "modulepreload", "apple-touch-icon", "manifest"}
)
_CSS: Final = re.compile(
    r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^\s"')]+))\s*\)|@import\s+(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE
)
_REQUEST: Final = re.compile(
    r"""\b(?:fetch|WebSocket|EventSource|sendBeacon)\(\s*["'`]((?:https?|wss?)://[^"'`\s$]+)""", re.IGNORECASE
)
_IMPORT: Final = re.compile(r"""\b(?:from|import)\s*\(?\s*["'](https?://[^"'\s]+)["']""")
_INLINE: Final = frozenset({"data", "blob", "about", "javascript", "mailto"})
_WITHOUT_TEXT: Final = (type(None), Image, Audio, ImageContent, AudioContent)


async def view_findings(client: Connected, surface: Surface, app: MCPApp | None) -> AsyncIterator[Finding]:
    """Yield the findings about the views that tools name, each once.

    Args:
        app: what is checked, if it is in this process; what not everybody may read of it is not read.
    """
    tools: dict[str, list[str]] = {}
    for tool in surface.tools:
        if isinstance(uri := _uri_of(tool), str):
            tools.setdefault(uri, []).append(tool["name"])
    listed = {resource["uri"]: resource for resource in surface.resources}
    for uri, names in tools.items():
        where = f"tool {names[0]}, view {uri}"
        if not uri.startswith("ui://"):
            yield _finding("view-missing", where, "its URI does not begin with ui://")
            continue
        if app is not None and _is_for_some(app, uri):
            continue
        try:
            result = await client.read_resource(uri)
        except Exception as error:
            yield _finding("view-missing", where, f"cannot be read: {' '.join(str(error).split())[:200]}")
            continue
        for finding in _of_contents(where, _plain(result), listed.get(uri)):
            yield finding


def _is_for_some(app: MCPApp, uri: str) -> bool:
    match = ResourceIndex(app.resources, app.templates).match(uri, lambda access: True)
    return match is not None and match[0].access is not None


def _uri_of(tool: Item) -> object:
    meta = tool.get("_meta") or {}
    ui = meta.get("ui")
    return ui.get("resourceUri") if isinstance(ui, Mapping) else meta.get("ui/resourceUri")


def _plain(result: Any) -> list[Item]:
    items: list[Item] = result.model_dump(by_alias=True, exclude_none=True, mode="json")["contents"]
    return items


def _of_contents(where: str, contents: list[Item], listed: Item | None) -> Iterator[Finding]:
    """Yield the findings about what was read of a view (X-APP-4, X-APP-5)."""
    if not contents:
        yield _finding("view-missing", where, "has no contents")
        return
    first = contents[0]
    for place, item in (("its contents", first), ("its entry in the list", listed)):
        if item is not None and item.get("mimeType") != VIEW_TYPE:
            yield _finding("view-type", where, f"the media type of {place} is {item.get('mimeType', 'absent')}")
    text = _text_of(first)
    if not has_doctype(text):
        yield _finding("view-document", where, "does not begin with <!doctype html>")
    meta = first.get("_meta") or (listed or {}).get("_meta") or {}
    ui = meta.get("ui") if isinstance(meta, Mapping) else None
    csp = ui.get("csp") if isinstance(ui, Mapping) else None
    yield from _of_addresses(where, text, csp if isinstance(csp, Mapping) else {})


def _text_of(contents: Item) -> str:
    if isinstance(text := contents.get("text"), str):
        return text
    try:
        return base64.b64decode(contents.get("blob", "")).decode("utf-8", "replace")
    except binascii.Error:
        return ""


def _of_addresses(where: str, text: str, csp: Mapping[str, Any]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for member, address in addresses_in(text):
        try:
            parts = urlsplit(address)
        except ValueError:
            continue
        if parts.scheme.lower() in _INLINE:
            continue
        if not parts.scheme and not parts.netloc:
            if parts.path and ("", address) not in seen:
                seen.add(("", address))
                yield _finding("view-relative-address", where, f"loads {address[:80]}")
            continue
        origin = f"{parts.scheme or 'https'}://{parts.netloc}".lower()
        if (member, origin) not in seen and not _allows(csp.get(member), origin):
            seen.add((member, origin))
            yield _finding("view-origin", where, f"loads from {origin}, which {_option(member)} of its csp lacks")


def _option(member: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", member)


def _allows(domains: object, origin: str) -> bool:
    """Return whether an origin is among those of a policy, which may stand for all below a name."""
    if not isinstance(domains, list):
        return False
    scheme, _, host = origin.partition("://")
    for domain in domains:
        allowed_scheme, _, allowed = str(domain).lower().rstrip("/").partition("://")
        if allowed_scheme == scheme and (allowed == host or (allowed[:2] == "*." and host.endswith(allowed[1:]))):
            return True
    return False


def addresses_in(text: str) -> list[tuple[str, str]]:
    """Return what a document loads: the member of the policy that has to allow it, and the address."""
    parser = _Addresses()
    parser.feed(text)
    parser.close()
    return parser.addresses


class _Addresses(HTMLParser):
    """Collects addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str]] = []
        self._raw: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self._raw = tag if tag in ("script", "style") else None
        for name in _RESOURCES.get(tag, ()):
            self._add("resourceDomains", attributes.get(name))
        if tag == "link" and _LOADED_LINKS & set(attributes.get("rel", "").lower().split()):
            self._add("resourceDomains", attributes.get("href"))
        if tag in ("img", "source"):
            for candidate in attributes.get("srcset", "").split(", "):
                self._add("resourceDomains", candidate.strip().partition(" ")[0])
        if tag == "iframe":
            self._add("frameDomains", attributes.get("src"))
        if tag == "base" and "://" in attributes.get("href", ""):
            self._add("baseUriDomains", attributes["href"])
        self._style(attributes.get("style", ""))

    def handle_endtag(self, tag: str) -> None:
        self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw == "style":
            self._style(data)
        elif self._raw == "script":
            self.addresses += [("connectDomains", address) for address in _REQUEST.findall(data)]
            self.addresses += [("resourceDomains", address) for address in _IMPORT.findall(data)]

    def _style(self, css: str) -> None:
        for match in _CSS.finditer(css):
            self._add("resourceDomains", next(filter(None, match.groups()), None))

    def _add(self, member: str, address: str | None) -> None:
        address = (address or "").strip()
        if address and not address.startswith("#"):
            self.addresses.append((member, address))


def text_findings(app: MCPApp) -> Iterator[Finding]:
    """Yield the findings about tools with views whose return types have no text (X-APP-7)."""
    extension = None if app.extensions is None else app.extensions.get(APPS)
    if not isinstance(extension, Apps):
        return
    for name, _ in extension.tools_with_ui():
        tool = app.tools.get(name)
        if tool is None:
            continue
        try:
            returns = get_type_hints(tool.fn, include_extras=False).get("return", Any)
        except Exception:  # of a name for type checkers only, or of an object that is no function
            continue
        if _is_without_text(returns):
            yield _finding("view-without-text", f"tool {name}", f"returns {_named(returns)} and no text")


def _is_without_text(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType) or origin in (list, tuple):
        parts = [part for part in get_args(annotation) if part is not Ellipsis]
        return bool(parts) and all(map(_is_without_text, parts))
    return annotation is None or (isinstance(annotation, type) and issubclass(annotation, _WITHOUT_TEXT))


def _named(annotation: Any) -> str:
    return "nothing" if annotation in (None, type(None)) else getattr(annotation, "__name__", str(annotation))


def _finding(rule: str, where: str, problem: str) -> Finding:
    severity, _, fix = RULES[rule]
    return Finding(rule=rule, severity=severity, where=where, problem=problem, fix=fix)
