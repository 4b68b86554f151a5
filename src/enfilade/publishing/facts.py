"""What is published of a server, whatever the document: its names, its texts, its version, its URL.

Easy to get wrong: what is told to nobody else. `instructions` may be for callers with a token alone, and names of
tools for some of them; so neither is in here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import msgspec

from enfilade.primitives.public_urls import fault_of_public
from enfilade.wire.content import Icon

if TYPE_CHECKING:
    from enfilade.auth.authenticator import ResourceAuthenticator
    from enfilade.settings import Settings

#: Most characters of a description and of a title, and of a version.
MOST_TEXT: Final = 100
MOST_VERSION: Final = 255

#: What stands for several versions: operators, wildcards, and parts that are an x.
_RANGE: Final = re.compile(r"[\^~<>=].*|.*[*\s].*|.*\|\|.*|v?(?:\d+\.)*[xX](?:[.-].*)?", re.DOTALL)
#: Control characters, and those that turn the direction of a text.
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: Services that registries know, by host.
_SERVICES: Final = {"github.com": "github", "gitlab.com": "gitlab"}


class PublishedApp(Protocol):
    """What an app says of itself."""

    name: str
    version: str

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        ...

    @property
    def title(self) -> str | None:
        """Its name for people."""
        ...

    @property
    def description(self) -> str | None:
        """What it is for."""
        ...

    @property
    def icons(self) -> Sequence[Icon]:
        """Pictures of it."""
        ...

    @property
    def website_url(self) -> str | None:
        """Where to read about it."""
        ...

    @property
    def authenticator(self) -> ResourceAuthenticator | None:
        """What checks credentials."""
        ...


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts.

    Attributes:
        registry_name: empty if there is none.
        title: its name for people, or else the one that it has for programs.
        description: empty if there is none.
        website_url: empty if there is none that everybody may know.
        icons: those that everybody may fetch.
        repository: empty if there is none.
        url: of the endpoint, as clients call it; empty if nobody has said it.
        needs_key: whether callers send a key or a token that they have, since nobody lets them log in.
    """

    registry_name: str = ""
    title: str = ""
    description: str = ""
    version: str = ""
    website_url: str = ""
    icons: tuple[Icon, ...] = ()
    repository: str = ""
    url: str = ""
    needs_key: bool = False


def facts_of(app: PublishedApp) -> ServerFacts:
    """Return what is published of an app.

    Raises:
        SettingsError: a setting of authorization has a value that it cannot have.
    """
    settings, authenticator = app.settings, app.authenticator
    metadata = None if authenticator is None else authenticator.metadata
    website = app.website_url or ""
    return ServerFacts(
        registry_name=settings.registry_name,
        title=one_line(app.title or app.name),
        description=one_line(app.description or ""),
        version=app.version.strip(),
        website_url=website if is_public(website) else "",
        icons=tuple(icon for icon in app.icons if _is_inline(icon.src) or is_public(icon.src)),
        repository=settings.repository,
        url=settings.public_url or ("" if metadata is None else metadata.resource),
        needs_key=metadata is not None and not metadata.is_there,
    )


def is_public(url: str) -> bool:
    """Whether everybody may be told a URL (X-CARD-2); what follows a `#` is of no account, nor is a query."""
    return bool(url) and not fault_of_public(re.split(r"[?#]", url, maxsplit=1)[0])


def _is_inline(url: str) -> bool:
    return url.isascii() and url.lower().startswith("data:")


def one_line(text: str) -> str:
    """Return a text on one line, with nothing in it that cannot be shown or encoded."""
    return " ".join(_CONTROLS.sub("", " ".join(text.split())).split()).encode("utf-8", "replace").decode()


def shortened(text: str, most: int = MOST_TEXT) -> str:
    """Return a text of at most so many characters, cut behind a word."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    head, space, _ = cut.rpartition(" ")
    return f"{(head if space and len(head) > most // 2 else cut).rstrip(' ,;:.-')}…"


def fault_of_version(version: str) -> str:
    """Return what is wrong with a version; empty if it is a single one (X-CARD-1, X-REG-1)."""
    if not version or len(version) > MOST_VERSION:
        return f"the version has {len(version)} characters; it has 1 to {MOST_VERSION}"
    if not version.isprintable():
        return "the version has characters that cannot be printed"
    if version == "latest" or _RANGE.fullmatch(version):
        return f"the version {version!r} stands for several ones; give a single one, such as 1.0.2"
    return ""


def source_of(repository: str) -> str:
    """Return what a registry calls the service of a repository: `github`, `gitlab`, or its host."""
    host = (urlsplit(repository).hostname or "").removeprefix("www.")
    return _SERVICES.get(host, host)


def members(icons: Iterable[Icon]) -> list[dict[str, object]]:
    """Return icons as JSON has them."""
    return [msgspec.to_builtins(icon) for icon in icons]
