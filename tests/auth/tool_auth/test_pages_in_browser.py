"""The pages of tool authorization in Chromium: each width, light and dark, by keyboard, without scripts (A8)."""

import asyncio
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from enfilade import Context, MCPApp
from enfilade.auth import OAuth2
from enfilade.testing import connect
from support.authorization.oauth_service import AUTHORIZE, TOKEN, OAuthService
from support.authorization.tool_app import CLIENT, SECRET
from support.browser import open_browser
from support.harness import Serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
SCHEMES = ("light", "dark")
#: A folder for screenshots, for whoever wants to look at the pages.
SHOTS = os.environ.get("ENFILADE_SHOTS")

#: Returns the texts of a page whose contrast with what is behind them is below 4.5:1 (WCAG 2.2, 1.4.3).
PALE_TEXTS = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = rgba(getComputedStyle(each).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const pale = [];
  for (const element of document.body.querySelectorAll("*")) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    for (const pseudo of [null, "::before"]) {
      const [a, b] = [rgba(getComputedStyle(element, pseudo).color), behind(element)].map(light);
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) pale.push(`${element.tagName} ${ratio.toFixed(2)} ${element.textContent.slice(0, 40)}`);
    }
  }
  return pale;
}"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with open_browser() as opened:
        yield opened


@pytest.fixture
def service() -> Iterator[OAuthService]:
    with OAuthService({CLIENT: SECRET}) as service:
        yield service


@contextmanager
def link_to(service: OAuthService, **texts: Any) -> Iterator[str]:
    """Yield a link to the page of consent.

    The provider is at another site than the server, as `localhost` is for browsers, so cookies count as they do
    between hosts.

    Args:
        service: the provider.
        texts: `server`, `provider` and `scope`: what others have written that the page shows.
    """
    corp = OAuth2(
        "corp",
        service.url(AUTHORIZE).replace("127.0.0.1", "localhost"),
        service.url(TOKEN),
        title=texts.get("provider", "Corp"),
        scope_texts={"files:read": texts.get("scope", "read your files")},
    )
    app = MCPApp("files", title=texts.get("server", "Files"), tool_auth=[corp.client(id=CLIENT, secret=SECRET)])

    @app.tool(requires_auth=corp(scopes=["files:read", "files:list"]))
    async def find_in_files(ctx: Context) -> str:
        """Find something."""
        return ctx.auth.token

    async def asked() -> str:
        async with connect(f"http://127.0.0.1:{serving.port}/mcp") as client:
            result = await client.call_tool("find_in_files")
            url: str = (result.meta or {})["enfilade/authorization"]["url"]
            return url

    with Serving(app) as serving, ThreadPoolExecutor(1) as threads:  # this thread has the loop of Playwright
        yield threads.submit(asyncio.run, asked()).result(30)


@contextmanager
def opened(
    browser: "Browser", size: str = "phone", scheme: Any = "light", **options: Any
) -> "Iterator[tuple[Page, list[str]]]":
    """Yield a page of a new browser, and what it complains of: scripts, styles and forms that are refused."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **options
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    yield page, complaints
    context.close()


def check_page(page: "Page", name: str) -> None:
    """Check what holds for every page."""
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title()
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    assert page.evaluate("document.body.scrollWidth <= innerWidth")
    assert page.evaluate(PALE_TEXTS) == []
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def failed_loads(complaints: list[str]) -> list[str]:
    """Return the complaints that are about more than the status of a page."""
    return [text for text in complaints if "Failed to load resource" not in text]


# -- how they look -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_the_pages_of_a_consent(browser: "Browser", service: OAuthService, size: str, scheme: str) -> None:
    """A8: the page, by keyboard through the provider to the last one, and the link that was used."""
    with link_to(service) as link, opened(browser, size, scheme) as (page, complaints):
        page.goto(link)
        check_page(page, f"consent-{size}-{scheme}")
        button = page.get_by_role("button", name="Continue to Corp")
        assert button.count() == 1
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "BUTTON"
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])"
            "(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"]
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44  # for a thumb
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"focus-{size}-{scheme}.png")
        page.keyboard.press("Enter")
        page.wait_for_url("**/auth/callback**")
        assert page.locator("h1").inner_text() == "Done"
        check_page(page, f"done-{size}-{scheme}")
        used = page.goto(link)
        assert used is not None
        assert used.status == 410
        check_page(page, f"used-{size}-{scheme}")
        assert failed_loads(complaints) == []
    assert service.count(TOKEN) == 1


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_pages_with_a_fault(browser: "Browser", service: OAuthService, size: str, scheme: str) -> None:
    """A10: a refusal, and a provider that gives no token, whose page has a reference to the log."""
    service.denies = True
    with link_to(service) as link, opened(browser, size, scheme) as (page, _):
        page.goto(link)
        page.get_by_role("button").click()
        assert page.locator("h1").inner_text() == "No access was given"
        check_page(page, f"refused-{size}-{scheme}")
    service.denies = False
    service.clients[CLIENT] = "another secret"
    with link_to(service) as link, opened(browser, size, scheme) as (page, _):
        page.goto(link)
        page.get_by_role("button").click()
        assert page.locator("h1").inner_text() == "Corp has given no access"
        assert page.locator("code").count() == 1
        check_page(page, f"no-token-{size}-{scheme}")


# -- what they need ----------------------------------------------------------------------------------------------


def test_without_scripts(browser: "Browser", service: OAuthService) -> None:
    """A8: nothing of the way needs a script, and the policy of the page lets its form go to the provider."""
    with link_to(service) as link, opened(browser, java_script_enabled=False) as (page, complaints):
        page.goto(link)
        assert page.locator("script").count() == 0
        page.get_by_role("button", name="Continue to Corp").click()
        page.get_by_role("heading", name="Done").wait_for()
        assert failed_loads(complaints) == []


def test_the_cookie(browser: "Browser", service: OAuthService) -> None:
    """A8, A10: no script reads it, no foreign site sends it with a form, and it comes back with the callback."""
    with link_to(service) as link, opened(browser) as (page, _):
        page.goto(link)
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("enfilade-auth", True, "Lax")
        assert (cookie["domain"], cookie["path"]) == ("127.0.0.1", "/")
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button").click()
        assert page.locator("h1").inner_text() == "Done"


def test_another_browser_cannot_end_it(browser: "Browser", service: OAuthService) -> None:
    """A10: the redirect of the provider is worth nothing in a browser that has not pressed the button."""
    with link_to(service) as link, opened(browser) as (page, _), opened(browser) as (victim, _):
        page.goto(link)
        request = page.context.request
        form = {"token": page.locator("input[name=token]").get_attribute("value") or ""}
        there = request.post(link, form=form, max_redirects=0).headers["location"]
        answer = request.get(there, max_redirects=0).headers["location"]
        refused = victim.goto(answer)
        assert refused is not None
        assert refused.status == 400
        assert victim.locator("h1").inner_text() == "This page was not opened here"
    assert service.count(TOKEN) == 0


# -- what others have written ------------------------------------------------------------------------------------

HOSTILE = {
    "markup": "<img src=x onerror=alert(1)><script>alert(2)</script></title></style><h1>\"'>",
    "script": "javascript:alert(1)",
    "reversed": "\u202eelgooG\u202c \u2066\u200b\u200fsafe\u2069",
    "long": "W" * 10_000,
    "zalgo": "Z" + "\u0301\u0324" * 300,
    "lines": "Corp\n\n\n\nThis is a system message:\r\nallow it\x00\x1b[2J",
    "wide": "\ufdfd" * 200,
}
#: Characters that make a text look like another one.
FORGING = re.compile("[\u200b-\u200f\u202a-\u202e\u2066-\u2069\x00\x1b]")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts(browser: "Browser", service: OAuthService, kind: str, size: str) -> None:
    """A8: they are texts, in their places, and no wider than the page."""
    text = HOSTILE[kind]
    with (
        link_to(service, server=text, provider=text, scope=text) as link,
        opened(browser, size) as (page, complaints),
    ):
        page.goto(link)
        check_page(page, f"hostile-{kind}-{size}")
        assert page.locator("img, script, iframe, main main").count() == 0
        assert page.locator("form").count() == page.locator("button").count() == 1
        assert not FORGING.search(page.locator("main").inner_text())
        button = page.get_by_role("button").bounding_box()
        assert button is not None
        assert 44 <= button["height"] < 200
        assert page.evaluate("document.documentElement.scrollHeight") < 2500
        page.get_by_role("button").click()
        page.get_by_role("heading", name="Done").wait_for()
        check_page(page, f"hostile-{kind}-done-{size}")
        assert not FORGING.search(page.locator("main").inner_text())
        assert page.evaluate("document.documentElement.scrollHeight") < 1000
        assert failed_loads(complaints) == []
