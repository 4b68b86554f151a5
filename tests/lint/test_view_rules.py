"""`enfilade check` reads the views of tools as a host does."""

import asyncio
from typing import Any

import pytest

from enfilade import Image, MCPApp, ToolResult
from enfilade.lint.run import check, why
from enfilade.lint.view_rules import RULES, addresses_in
from enfilade.wire.content import ImageContent

HTML = "<!doctype html><title>View</title>"
URI = "ui://view"


def app_with(html: str = HTML, **options: Any) -> MCPApp:
    app = MCPApp("checked")
    app.add_view(URI, html=html, description="A view.", **options)
    app.add_tool(show, ui=URI, annotations={"read_only_hint": True})
    return app


def show() -> str:
    """Show something."""
    return "text"


def found(app: MCPApp) -> list[tuple[str, str]]:
    findings = asyncio.run(check(app)).findings
    assert all(why(finding) for finding in findings)
    return [(finding.rule, finding.problem) for finding in findings]


def test_a_view_without_faults() -> None:
    assert found(app_with()) == []


@pytest.mark.parametrize(
    ("html", "csp", "expected"),
    [
        ('<script src="https://cdn.example.com/a.js">', None, "https://cdn.example.com, which resource_domains"),
        ('<script src="//cdn.example.com/a.js">', None, "https://cdn.example.com, which resource_domains"),
        ('<iframe src="https://a.example.com/x">', None, "https://a.example.com, which frame_domains"),
        ("<style>@import 'https://a.example.com/x.css'</style>", None, "which resource_domains"),
        ("<i style=\"background: url('https://a.example.com/x.png')\">", None, "which resource_domains"),
        ("<script>fetch('https://api.example.com/v1')</script>", None, "which connect_domains"),
        ("<script>import 'https://a.example.com/x.js'</script>", None, "which resource_domains"),
        (
            "<script>new WebSocket(`wss://a.example.com`)</script>",
            {"connect_domains": ["https://a.example.com"]},
            "wss",
        ),
        (
            '<img src="https://b.example.com/x.png">',
            {"resource_domains": ["https://a.example.com"]},
            "https://b.",
        ),
    ],
)
def test_an_origin_that_the_policy_does_not_name(html: str, csp: Any, expected: str) -> None:
    """X-APP-5: a view without `csp` reaches nothing outside."""
    ((rule, problem),) = found(app_with(HTML + html, csp=csp))
    assert rule == "view-origin"
    assert expected in problem


@pytest.mark.parametrize(
    ("html", "csp"),
    [
        ('<img src="https://a.example.com/x.png">', {"resource_domains": ["https://a.example.com"]}),
        ('<img src="https://a.b.example.com/x.png">', {"resource_domains": ["https://*.example.com"]}),
        ('<img src="data:image/png;base64,AA=="><a href="https://example.com">x</a>', None),
        (
            "<svg xmlns='http://www.w3.org/2000/svg'></svg><script>const ns = 'http://www.w3.org/1999/xlink'</script>",
            None,
        ),
        ('<link rel="canonical" href="https://example.com">', None),
    ],
)
def test_what_is_allowed_or_not_loaded(html: str, csp: Any) -> None:
    assert found(app_with(HTML + html, csp=csp)) == []


def test_an_address_that_leads_nowhere() -> None:
    findings = found(app_with(f'{HTML}<script src="./main.js"></script><script src="./main.js"></script>'))
    assert findings == [("view-relative-address", "loads ./main.js")]


def test_views_that_no_host_can_show() -> None:
    """X-APP-4: found at servers of others as well, which `check` reaches by a URL."""
    app = MCPApp("checked")
    app.add_text_resource("ui://type", "<p>Hello</p>", mime_type="text/html", description="A view.")
    hints = {"read_only_hint": True}
    app.add_tool(show, name="one", annotations=hints, meta={"ui": {"resourceUri": "ui://type"}})
    app.add_tool(show, name="two", annotations=hints, meta={"ui/resourceUri": "ui://gone"})
    app.add_tool(show, name="three", annotations=hints, meta={"ui": {"resourceUri": "https://example.com"}})
    assert [rule for rule, _ in found(app)] == [
        "view-type",
        "view-type",
        "view-document",
        "view-missing",
        "view-missing",
    ]


@pytest.mark.parametrize(
    ("returns", "is_silent"),
    [
        (Image, True),
        (list[ImageContent], True),
        (None, True),
        (Image | None, True),
        (str, False),
        (Image | str, False),
        (ToolResult, False),
        (dict[str, int], False),
        (list[Any], False),
    ],
    ids=str,
)
def test_a_result_without_text(returns: Any, is_silent: bool) -> None:
    """X-APP-7, X-APP-9: a declared type without text, of a tool with a view."""

    def draw() -> Any:
        """Draw something."""

    draw.__annotations__["return"] = returns
    app = MCPApp("checked")
    app.add_view(URI, html=HTML, description="A view.")
    app.add_tool(draw, ui=URI, annotations={"read_only_hint": True})
    assert [rule for rule, _ in found(app)] == ["view-without-text"] * is_silent
    plain = MCPApp("checked")
    plain.add_tool(draw, annotations={"read_only_hint": True})
    assert found(plain) == []


@pytest.mark.parametrize("access", [{"visible": lambda principal, peer: False}, {"requires_scopes": ["a"]}])
def test_a_view_for_some_callers_is_not_missing(access: Any) -> None:
    app = app_with(**access)
    assert "view-missing" not in {finding.rule for finding in asyncio.run(check(app)).findings}


def test_addresses_of_a_document() -> None:
    text = '<base href="https://a.example.com/"><img srcset="a.png 1x, https://b.example.com/c.png 2x">'
    assert addresses_in(text) == [
        ("baseUriDomains", "https://a.example.com/"),
        ("resourceDomains", "a.png"),
        ("resourceDomains", "https://b.example.com/c.png"),
    ]


def test_every_rule_has_a_row_in_the_documentation() -> None:
    from support.docs.pages import ROOT, table

    rows = table(ROOT / "docs" / "check.md", "rule of views")
    assert rows == [[f"`{name}`", severity, why] for name, (severity, why, _) in RULES.items()]
