"""The consent page in a real browser."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.authorization.proxy_client import ProxyClient
from support.browser import open_browser
from support.servers.scripted_http_server import Answer, Received, ScriptedHttpServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a browser in which nobody has been anywhere, as narrow as a telephone."""
    context = browser.new_context(viewport={"width": 320, "height": 640})
    page = context.new_page()
    yield page
    context.close()


class Listener(ScriptedHttpServer):
    """A client that listens for the answer, whatever it is."""

    def answer(self, request: Received) -> Answer:
        return super().answer(replace(request, path=request.path.partition("?")[0]))


@pytest.fixture
def callback() -> Iterator[Listener]:
    with Listener() as server:
        yield server


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_user_agrees(public_url: str, callback: Listener, page: Any, scheme: str) -> None:
    """R-616, A23: with the keyboard alone, without a script, in both color schemes, and on a narrow screen."""
    client = ProxyClient.registered(public_url, redirect_uris=[f"{callback.origin}/callback"])
    callback.answers["/callback"] = Answer(b"You can close this page.")
    answered: list[str] = []
    page.on("request", lambda request: answered.append(request.url))
    page.emulate_media(color_scheme=scheme)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(client.authorization_url())
    assert page.locator("h1").inner_text() == "Allow “the client” to use Notes of Ada?"
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.locator("script").count() == 0
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(244, 245, 247)") is (scheme == "light")
    assert refused == [], "the policy of the page allows its style"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "allow"
    with page.expect_request(lambda request: "/callback?" in request.url and callback.origin in request.url):
        page.keyboard.press("Enter")
    (url,) = [url for url in answered if url.startswith(f"{callback.origin}/callback?")]
    assert "code=enf_ac_" in url


def test_a_user_does_not_agree(public_url: str, callback: Listener, page: Any) -> None:
    """R-616."""
    client = ProxyClient.registered(public_url, redirect_uris=[f"{callback.origin}/callback"])
    page.goto(client.authorization_url())
    with page.expect_request(lambda request: "error=access_denied" in request.url):
        page.get_by_role("button", name="Do not allow").click()


def test_no_page_frames_it(public_url: str, callback: Listener, page: Any) -> None:
    """R-708: a button of it cannot be put under the cursor of somebody who does not see it."""
    client = ProxyClient.registered(public_url)
    frame = f'<!doctype html><iframe src="{client.authorization_url().replace("&", "&amp;")}"></iframe>'
    callback.answers["/"] = Answer(frame.encode(), headers={"Content-Type": "text/html"})
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(f"{callback.origin}/")
    page.wait_for_timeout(300)
    assert any("frame-ancestors" in text or "X-Frame-Options" in text for text in refused), refused
    assert [frame.url for frame in page.frames[1:]] == ["chrome-error://chromewebdata/"]


def test_the_opener_of_a_popup_is_told(public_url: str, callback: Listener, page: Any) -> None:
    """A23: hosts on the web open the login in a popup, and wait for it."""
    client = ProxyClient.registered(public_url, redirect_uris=[f"{callback.origin}/callback"])
    opener = "<!doctype html><script>onmessage = event => document.title = event.data</script>"
    told = "<!doctype html><script>opener.postMessage('done', '*')</script>"
    callback.answers["/"] = Answer(opener.encode(), headers={"Content-Type": "text/html"})
    callback.answers["/callback"] = Answer(told.encode(), headers={"Content-Type": "text/html"})
    page.goto(f"{callback.origin}/")
    with page.expect_popup() as opened:
        page.evaluate("url => { window.open(url) }", client.authorization_url())
    popup = opened.value
    popup.wait_for_load_state()
    popup.get_by_role("button", name="Allow, and").click()
    page.wait_for_function("document.title === 'done'")
