"""What a person does in the browser, for the terminal: open a link, press each button, read the last page.

    python consent.py LINK

The exit status is 0 if the last page says that it went well.
"""

import sys
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx

MOST_PAGES = 5


class Page(HTMLParser):
    """Reads the headline and the form of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headline = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._has_button = self._is_in_headline = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Read a tag."""
        values = {name: value or "" for name, value in attrs}
        if tag == "h1":
            self._is_in_headline = True
        elif tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" or (tag == "button" and not self._has_button):  # of several buttons, the first
            self._has_button = self._has_button or tag == "button"
            if "name" in values:
                self.fields[values["name"]] = values.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        """End a headline."""
        if tag == "h1":
            self._is_in_headline = False

    def handle_data(self, data: str) -> None:
        """Read a text."""
        if self._is_in_headline:
            self.headline += data


def main(link: str) -> int:
    """Go from a link to the last page, and print its headline."""
    if urlsplit(link).hostname not in ("127.0.0.1", "::1", "localhost"):
        print("This presses every button, so it opens links to this machine alone.", file=sys.stderr)
        return 2
    with httpx.Client(follow_redirects=True, timeout=30) as browser:  # it keeps cookies
        response = browser.get(link)
        page = Page(response.text)
        for _ in range(MOST_PAGES):
            if page.action is None:
                break
            response = browser.post(urljoin(str(response.url), page.action), data=page.fields)
            page = Page(response.text)
        print(page.headline)
        return 0 if response.is_success else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python consent.py LINK")
    sys.exit(main(sys.argv[1]))
