"""URLs of authorization: which may be configured, and which two are the same."""

import pytest

from enfilade.auth.urls import check_url, normalized


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example.com",
        "https://mcp.example.com:8443/mcp",
        "http://127.0.0.1:8000/mcp",
        "http://[::1]:8000/mcp",
        "http://localhost/mcp",
    ],
)
def test_urls_that_are_safe(url: str) -> None:
    """R-617."""
    assert check_url(url, "the resource") == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://mcp.example.com/mcp", "needs https://"),
        ("http://127.0.0.1.example.com/mcp", "needs https://"),
        ("mcp.example.com/mcp", "is no URL"),
        ("ftp://mcp.example.com", "is no URL"),
        ("https:///mcp", "is no URL"),
        ("https://mcp.example.com:99999/mcp", "is no URL"),
        ("https://ada:secret@mcp.example.com", "has credentials in it"),
        ("https://mcp.example.com/mcp#tools", "has a fragment"),
        ("https://mcp.example.com/m cp", "has spaces"),
    ],
)
def test_urls_that_are_not(url: str, fault: str) -> None:
    """R-617."""
    with pytest.raises(ValueError, match=rf"^the resource {fault}"):
        check_url(url, "the resource")


def test_what_is_no_text_is_no_url() -> None:
    with pytest.raises(TypeError, match="not int"):
        check_url(443, "the resource")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://MCP.Example.com/mcp", "https://mcp.example.com/mcp", True),
        ("HTTPS://mcp.example.com/mcp/", "https://mcp.example.com/mcp", True),
        ("https://mcp.example.com:443/mcp", "https://mcp.example.com/mcp", True),
        ("http://[::1]:80/mcp", "http://[::1]/mcp", True),
        ("https://mcp.example.com/MCP", "https://mcp.example.com/mcp", False),
        ("https://mcp.example.com:444/mcp", "https://mcp.example.com/mcp", False),
        ("https://mcp.example.com/mcp?a=1", "https://mcp.example.com/mcp", False),
        ("http://mcp.example.com/mcp", "https://mcp.example.com/mcp", False),
        ("api://notes", "api://notes/", True),
        ("notes", "notes/", False),
    ],
)
def test_two_urls_are_compared_in_their_canonical_form(one: str, other: str, same: bool) -> None:
    """R-612."""
    assert (normalized(one) == normalized(other)) is same
