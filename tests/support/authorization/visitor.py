"""A person with a browser at the pages of tool authorization: cookies, redirects step by step, forms and buttons.

The browser is httpx with a cookie jar. It obeys what a server says: a form is sent where its page says, with its
hidden fields, as a browser would do it under `Referrer-Policy: no-referrer` and under a `form-action` of the
`Content-Security-Policy`, which Chromium also holds against the redirects that a form comes to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpx

MOST_REDIRECTS = 20


@dataclass
class Form:
    """A form of a page: where it goes, and its fields."""

    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What a browser shows.

    Attributes:
        trail: the URLs that led here, this one included.
    """

    response: httpx.Response
    trail: tuple[str, ...]

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def url(self) -> str:
        return str(self.response.url)

    @property
    def html(self) -> str:
        return self.response.text

    @property
    def forms(self) -> list[Form]:
        parser = _Forms()
        parser.feed(self.html)
        return parser.forms

    @property
    def text(self) -> str:
        """What is to be read, with single spaces."""
        parser = _Forms()
        parser.feed(self.html)
        return " ".join(" ".join(parser.texts).split())


class Visitor:
    """A person with a browser.

    Args:
        login: whom providers of tests take them for; by default the user whom the provider is set to.
    """

    def __init__(self, login: str | None = None) -> None:
        self._client = httpx.Client(timeout=30, trust_env=False, headers={"Accept": "text/html"})
        self._sent_with: dict[str, str] = {}
        if login is not None:
            self._client.cookies.set("login", login, domain="127.0.0.1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._client.cookies

    def send_with(self, headers: Mapping[str, str]) -> None:
        """Send these headers with each request from now on, in place of those before."""
        for name in self._sent_with:
            self._client.headers.pop(name, None)
        self._sent_with = dict(headers)
        self._client.headers.update(headers)

    def open(self, url: str, until: str | None = None) -> Page:
        """Open a link, and return the page that comes at last.

        Args:
            url: the link.
            until: the beginning of a URL that is not opened; the page is then the redirect to it.
        """
        return self._follow(self._client.build_request("GET", url, headers=_NAVIGATION), until)

    def press(self, page: Page, until: str | None = None, **fields: str) -> Page:
        """Press the button of the only form of a page.

        Args:
            page: the page.
            until: as that of `open`.
            fields: other values for its fields.
        """
        (form,) = page.forms
        assert form.buttons, "the form has no button"
        assert form.method == "post", "only a POST may change something"
        url = urljoin(page.url, form.action)
        origin = _origin_of(page)
        request = self._client.build_request(
            "POST", url, data={**form.fields, **fields}, headers={**_NAVIGATION, "Origin": origin}
        )
        return self._follow(request, until, _form_actions(page))

    def agree(self, url: str) -> Page:
        """Open a link, press the button of the page if there is one, and return the page that comes at last."""
        page = self.open(url)
        return self.press(page) if page.status == 200 and page.forms else page

    def _follow(
        self, request: httpx.Request, until: str | None, form_actions: tuple[str, ...] | None = None
    ) -> Page:
        trail: list[str] = []
        for _ in range(MOST_REDIRECTS):
            response = self._client.send(request)
            trail.append(str(request.url))
            if form_actions is not None:
                assert str(request.url).startswith(form_actions), f"form-action does not allow {request.url}"
            if not response.is_redirect:
                return Page(response, tuple(trail))
            assert response.status_code in (302, 303), "others send a form again"
            url = urljoin(str(request.url), response.headers["location"])
            if until is not None and url.startswith(until):
                return Page(response, (*trail, url))
            assert urlsplit(url).hostname in {"127.0.0.1", "localhost"}, f"a redirect to {url}"
            request = self._client.build_request("GET", url, headers=_NAVIGATION)
        raise AssertionError(f"more than {MOST_REDIRECTS} redirects: {trail}")


_NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def _origin_of(page: Page) -> str:
    """Return what a browser sends as `Origin` with a form of a page."""
    if page.response.headers.get("referrer-policy") == "no-referrer":
        return "null"
    parts = urlsplit(page.url)
    return f"{parts.scheme}://{parts.netloc}"


def _form_actions(page: Page) -> tuple[str, ...] | None:
    """Return the beginnings of URLs to which forms of a page may lead; None for any."""
    parts = urlsplit(page.url)
    for directive in page.response.headers.get("content-security-policy", "").split(";"):
        name, *sources = directive.split() or [""]
        if name == "form-action":
            own = f"{parts.scheme}://{parts.netloc}"
            return tuple(own if source == "'self'" else source.removesuffix("*") for source in sources)
    return None


class _Forms(HTMLParser):
    """Reads the forms and the text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.texts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in ("style", "script"):
            self._hidden += 1
        if tag == "form":
            self.forms.append(Form(values.get("method", "get").lower(), values.get("action", "")))
        if not self.forms:
            return
        form = self.forms[-1]
        if tag == "button" or (tag == "input" and values.get("type") == "submit"):
            form.buttons.append(values.get("value", ""))
        elif tag == "input" and values.get("name"):
            form.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.texts.append(data)
