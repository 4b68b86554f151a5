"""A real browser for the tests of pages: Chromium, driven by Playwright.

It is that of the machine, or else the one that `tooling.py` has unpacked. Easy to get wrong: what a browser sends
by itself. It is started without all that, as tests have no network.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support import tooling

_OPTIONS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
]


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start a browser; where there is none, the test is skipped.

    It is also skipped, and never failed, where the browser needs something else that the machine lacks.
    """
    with tooling.or_skip():
        path, variables = tooling.chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=path, args=_OPTIONS, env={**os.environ, **variables}
            )
            browser.new_page().goto("data:text/html,<p>text")
        except sync_api.Error as error:
            pytest.skip(f"{path} does not start here: {str(error).splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()
