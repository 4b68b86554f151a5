"""Two people with all links, pages, redirects and codes of each other, in any order (A9, A10, R-545, R-718).

Whatever they open and send, in whichever browser: a token is kept for the user who asked for it and has logged in
and consented in one browser, or for nobody. A browser itself opens the callback that it is sent to, before
anybody else sees its URL.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from support.authorization.desk import Desk, desk
from support.authorization.visitor import Page, Visitor

USERS = ("ada", "bob")
numbers = itertools.count()
#: Who acts, what they do, and with which of the things that there are.
STEPS = st.tuples(st.sampled_from(USERS), st.sampled_from(("open", "open", "press", "mix")), st.integers(0, 5))


class Browsers:
    """The browsers of the two, and what has been seen in either of them."""

    def __init__(self, links: list[str], stack: ExitStack) -> None:
        self.visitors = {user: stack.enter_context(Visitor(user)) for user in USERS}
        self.urls = list(links)
        self.pages: list[Page] = []

    def act(self, user: str, kind: str, number: int) -> None:
        """Do one step, with any page or URL of either; no redirect is followed by itself."""
        visitor = self.visitors[user]
        if kind == "press" and self.pages:
            self._keep(visitor, visitor.press(self.pages[-1 - number % len(self.pages)], until="http"))
        elif kind == "mix":
            self._keep(visitor, visitor.open(self._mixed(number), until="http"))
        else:
            self._keep(visitor, visitor.open(self.urls[-1 - number % len(self.urls)], until="http"))

    def _mixed(self, number: int) -> str:
        """Return a callback with the code of one and the state of another, if there are two."""
        queries = [(url, dict(parse_qsl(urlsplit(url).query))) for url in self.urls if "code=" in url]
        if not queries:
            return self.urls[number % len(self.urls)]
        url, query = queries[number % len(queries)]
        _, other = queries[number // 2 % len(queries)]
        return urlsplit(url)._replace(query=urlencode({**query, "code": other["code"]})).geturl()

    def _keep(self, visitor: Visitor, page: Page) -> None:
        if page.response.is_redirect:
            self.urls.append(page.trail[-1])
            if "/auth/callback?" in page.trail[-1]:
                self._keep(visitor, visitor.open(page.trail[-1], until="http"))
        elif page.status == 200 and page.forms:
            self.pages.append(page)

    def finish(self) -> None:
        """Go the way of each user to its end."""
        for user in USERS:
            for _ in range(2):
                for url in list(self.urls):
                    self._keep(self.visitors[user], self.visitors[user].open(url, until="http"))


@pytest.fixture(scope="module")
def shared() -> Iterator[Desk]:
    with desk(users=True) as it:
        yield it


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(steps=st.lists(STEPS, min_size=4, max_size=20))
def test_a_token_is_that_of_its_user_or_there_is_none(shared: Desk, steps: list[tuple[str, str, int]]) -> None:
    """A9, A10, A13: also at the end of what they have begun."""
    people = {user: f"{user}-{next(numbers)}" for user in USERS}  # who have not consented yet
    with ExitStack() as stack:
        browsers = Browsers([shared.link("whoami_corp", name) for name in people.values()], stack)
        for user, visitor in browsers.visitors.items():
            visitor.cookies.set("login", people[user], domain="127.0.0.1")
        for step in steps:
            browsers.act(*step)
        browsers.finish()
    for name in people.values():
        result = shared.call("whoami_corp", name).result
        assert result.get("isError") or result["content"][0]["text"] == name
    assert shared.service.grants.replayed_codes == 0


def test_each_gets_there_who_is_left_alone(shared: Desk) -> None:
    """The steps above do lead to a token: opening, pressing, and opening each redirect."""
    with ExitStack() as stack:
        browsers = Browsers([shared.link("whoami_corp", user) for user in USERS], stack)
        for index, user in enumerate(USERS):
            visitor = browsers.visitors[user]
            page = visitor.press(visitor.open(browsers.urls[index]), until="http")
            while page.response.is_redirect:
                page = visitor.open(page.trail[-1], until="http")
            assert page.text.startswith("Done")
            assert shared.text("whoami_corp", user) == user
