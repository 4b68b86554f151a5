"""Pages as responses: templates of jinja2 that escape every value, with the headers that keep them safe.

They work without a script, in light and dark, and at any width. Nothing of a page is loaded from elsewhere.

Easy to get wrong: `form-action` in the policy. Chromium applies it to redirects after a form was sent, which lead
to a provider and from there to whoever it trusts with its logins; so it is left out. What a page contains is
escaped, so nobody else puts a form into it.
"""

import base64
import hashlib
import importlib.util
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from enfilade.transports.exchange import HttpExchange

if TYPE_CHECKING:
    import jinja2

_FOLDER: Final = Path(__file__).parent / "templates"
#: Most characters of a text of somebody else on a page.
_LONGEST_TEXT: Final = 200


def check_installed() -> None:
    """Check that what pages need is installed.

    Raises:
        ModuleNotFoundError: it is not; the text says what to install.
    """
    missing = [name for name in ("httpx", "jinja2", "joserfc") if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"authorization needs {' and '.join(missing)}: pip install 'enfilade[auth]'", name=missing[0]
        )


@cache
def _style() -> str:
    return (_FOLDER / "style.css").read_text(encoding="utf-8")


@cache
def _environment() -> "jinja2.Environment":
    """Return the templates.

    Raises:
        ModuleNotFoundError: jinja2 is not installed.
    """
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.globals["style"] = _style()
    return environment


@cache
def _security_headers() -> tuple[tuple[bytes, bytes], ...]:
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
    )
    return (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"x-robots-tag", b"noindex, nofollow"),
    )


def _security_headers_but(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of every page, without those that a page has otherwise."""
    names = {name for name, _ in headers}
    return [pair for pair in _security_headers() if pair[0] not in names]


def plain(text: object, most: int = _LONGEST_TEXT) -> str:
    """Return a text of somebody else for a page: in one line, without characters that change how others look.

    Control characters, and those that reverse the direction of a text or have no width, are left out, since they
    make a name look like another one.
    """
    kept = (" " if c.isspace() else c for c in str(text)[: 4 * most])
    cleaned = "".join(c for c in kept if unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cn", "Cs"))
    words = " ".join(cleaned.split())
    return words if len(words) <= most else words[: most - 1] + "…"


def render(template: str, **values: Any) -> bytes:
    """Return a page.

    Args:
        template: the name of its file, without `.html`.
        values: what it shows; each is escaped.
    """
    return _environment().get_template(f"{template}.html").render(**values).encode()


async def send_page(
    exchange: HttpExchange, status: int, template: str, headers: Sequence[tuple[bytes, bytes]] = (), **values: Any
) -> None:
    """Answer a request with a page.

    Args:
        status: the HTTP status.
        template: the name of its file, without `.html`.
        headers: more headers, such as cookies, or others in place of those that every page has.
        values: what it shows.
    """
    body = render(template, **values)
    every = [*_security_headers_but(headers), (b"content-length", b"%d" % len(body)), *headers]
    await exchange.send(status, every, b"" if exchange.method == "HEAD" else body)


async def send_message(
    exchange: HttpExchange,
    status: int,
    title: str,
    text: str,
    *,
    kind: str = "fault",
    reference: str | None = None,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a request with a page that says one thing.

    Args:
        status: the HTTP status.
        title: what it is, in a few words.
        text: what it means, and what to do.
        kind: `done` or `fault`, for the mark beside the title.
        reference: by which the log has more about it; None for nothing.
        headers: more headers.
    """
    await send_page(exchange, status, "message", headers, title=title, text=text, kind=kind, reference=reference)


async def send_redirect(exchange: HttpExchange, url: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a browser to another URL with GET (303).

    Raises:
        ValueError: the URL has a character that no header may have.
    """
    if not url.isascii() or not url.isprintable():
        raise ValueError("the URL of a redirect is visible ASCII")
    security = [pair for pair in _security_headers_but(headers) if pair[0] != b"content-type"]
    every = [*security, (b"location", url.encode()), (b"content-length", b"0"), *headers]
    await exchange.send(303, every, b"")
