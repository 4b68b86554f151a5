"""The server card (SEP-2127, experimental) and the AI catalog, and the responses with them.

Both are the same for everybody and need no credentials, so they are written once and sent as they are. Every
worker writes the same bytes, so that an entity tag of one is known to the others. Nothing of them is taken from a
request: the URL of the endpoint is the one that the settings or `auth=` have.
"""

import hashlib
import logging
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from enfilade.primitives.public_urls import check_public_url
from enfilade.publishing.facts import (
    PublishedApp,
    ServerFacts,
    facts_of,
    fault_of_version,
    members,
    shortened,
    source_of,
)
from enfilade.transports.exchange import Headers, HttpExchange
from enfilade.transports.http.response import send_empty
from enfilade.wire import revisions

log = logging.getLogger("enfilade")

CARD_SCHEMA: Final = "https://static.modelcontextprotocol.io/schemas/v1/server-card.schema.json"
CARD_TYPE: Final = "application/mcp-server-card+json"
CATALOG_TYPE: Final = "application/ai-catalog+json"
#: What stands behind the path of the endpoint.
CARD_SUFFIX: Final = "/server-card"
CATALOG_PATH: Final = "/.well-known/ai-catalog.json"

#: 2024-11-05 is served to those who ask for it, but its own HTTP transport was another one.
VERSIONS: Final = tuple(revision for revision in revisions.ALL if revision not in revisions.ONLY_2024)

#: In this form CARD has them (X-CARD-2); pages of any origin may read what anybody may.
_CORS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET"),
    (b"access-control-allow-headers", b"Content-Type, If-None-Match"),
    (b"access-control-expose-headers", b"ETag"),
]
_CACHING: Final = (b"cache-control", b"public, max-age=3600")
_MAX_AGE: Final = (b"access-control-max-age", b"86400")
_ALLOW: Final = (b"allow", b"GET, HEAD, OPTIONS")
#: An entity tag in a list of them (RFC 9110 §8.8.3); one that is weak is compared as any other (§13.1.2).
_TAG: Final = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Document(msgspec.Struct, frozen=True):
    """A document that is ready to be sent.

    Attributes:
        tag: its strong entity tag, in quotation marks.
    """

    body: bytes
    media_type: bytes
    tag: bytes


class Documents:
    """The documents of one app, and where they are.

    Args:
        facts: what is published.
        path: of the endpoint in the app.

    Attributes:
        fault: why there are none; empty if there are.
    """

    def __init__(self, facts: ServerFacts, path: str) -> None:
        self._endpoint = path.rstrip("/")
        self.fault = fault_of_card(facts)
        if not self.fault:
            self._card = _document(card(facts), CARD_TYPE)
            self._catalog = _document(catalog(facts), CATALOG_TYPE)

    def at(self, path: str, *, is_mounted: bool) -> Document | None:
        """Return the document at a path, None if there is none (X-CARD-4).

        Args:
            path: without that of a mount.
            is_mounted: whether a host has mounted the app, so that the mount itself is an endpoint.
        """
        if self.fault:
            return None
        if path == CATALOG_PATH:
            return self._catalog
        if path == f"{self._endpoint}{CARD_SUFFIX}" or (is_mounted and path == CARD_SUFFIX):
            return self._card
        return None


def documents_of(app: PublishedApp) -> Documents:
    """Return the documents of an app."""
    return Documents(facts_of(app), app.settings.path)


def warn_of_fault(app: PublishedApp) -> None:
    """Log why an app that has a registry name and a URL has no card, or one with a URL that leads elsewhere."""
    facts, path = facts_of(app), app.settings.path.rstrip("/")
    if facts.url and (fault := fault_of_card(facts)):
        log.warning("no server card is served: %s", fault)
    elif app.settings.public_url and not urlsplit(facts.url).path.rstrip("/").endswith(path):
        log.warning(
            "public_url %s does not end in the path of the endpoint, %s: clients that read it call it as it is",
            facts.url,
            path,
        )


def fault_of_card(facts: ServerFacts) -> str:
    """Return why no card of these facts can be published; empty if it can."""
    if not facts.registry_name:
        return "it has no registry_name, such as io.github.ada/notes"
    if not facts.url:
        return "nobody has said by which URL clients call it; set public_url"
    try:
        check_public_url(facts.url)
    except ValueError as error:
        return f"the URL {error}"
    return fault_of_version(facts.version)


def card(facts: ServerFacts) -> dict[str, Any]:
    """Return the server card (X-CARD-1). What it says is what `server/discover` says, or is not said there."""
    return {
        "$schema": CARD_SCHEMA,
        "name": facts.registry_name,
        "title": shortened(facts.title),
        "description": shortened(facts.description or facts.title),
        "version": facts.version,
        **({"websiteUrl": facts.website_url} if facts.website_url else {}),
        **({"icons": members(facts.icons)} if facts.icons else {}),
        **(
            {"repository": {"url": facts.repository, "source": source_of(facts.repository)}}
            if facts.repository
            else {}
        ),
        "remotes": [
            {**remote(facts.url, needs_key=facts.needs_key), "supportedProtocolVersions": list(VERSIONS)}
        ],
    }


def remote(url: str, *, needs_key: bool) -> dict[str, Any]:
    """Return how clients reach a server over HTTP, as cards and registries have it.

    Args:
        url: of the endpoint.
        needs_key: whether they have to be given a key; a client that can log in finds out where by itself.
    """
    key = {"description": "API key or token", "isRequired": True, "isSecret": True}
    header = {"name": "Authorization", "isRequired": True, "isSecret": True, "value": "Bearer {key}"}
    return {
        "type": "streamable-http",
        "url": url,
        **({"headers": [{**header, "variables": {"key": key}}]} if needs_key else {}),
    }


def catalog(facts: ServerFacts) -> dict[str, Any]:
    """Return the AI catalog with the one entry (X-CARD-3)."""
    namespace, _, name = facts.registry_name.partition("/")
    entry = {
        "identifier": f"urn:air:{'.'.join(reversed(namespace.split('.')))}:mcp:{name}",
        "type": CARD_TYPE,
        "url": facts.url.rstrip("/") + CARD_SUFFIX,
    }
    return {"specVersion": "1.0", "entries": [entry]}


def _document(content: dict[str, Any], media_type: str) -> Document:
    body = msgspec.json.encode(content)
    return Document(body, media_type.encode(), b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode())


async def serve_document(exchange: HttpExchange, document: Document) -> None:
    """Answer a request for a document (X-CARD-2): no credentials are needed."""
    if exchange.method == "OPTIONS":
        await send_empty(exchange, 204, [*_CORS, _MAX_AGE])
        return
    if exchange.method not in ("GET", "HEAD"):
        await send_empty(exchange, 405, [*_CORS, _ALLOW])
        return
    headers = [*_CORS, _CACHING, (b"etag", document.tag)]
    if _is_current(exchange.headers, document.tag):
        await exchange.send(304, headers, b"")  # of which a length would be that of the document
        return
    length = (b"content-length", b"%d" % len(document.body))
    headers = [(b"content-type", document.media_type), length, *headers]
    await exchange.send(200, headers, document.body if exchange.method == "GET" else b"")


def _is_current(headers: Iterable[tuple[bytes, bytes]], tag: bytes) -> bool:
    """Whether a client says that it has the document with this tag (RFC 9110 §13.1.2)."""
    values = [value.strip() for name, value in headers if name.lower() == b"if-none-match"]
    return values == [b"*"] or any(tag in _TAG.findall(value) for value in values)
