"""What authors write of views and of tools with views, and what `_meta` has of it."""

from typing import Any

import pytest

from enfilade import MCPApp
from enfilade.extensions.apps import ToolUi, ViewCsp, ViewPermissions

HTML = "<!doctype html><title>View</title>"
URI = "ui://weather/view"


def work() -> str:
    """Work."""
    return "done"


def meta_of_tool(ui: Any, **options: Any) -> dict[str, Any]:
    app = MCPApp()
    tool = app.add_tool(work, ui=ui, **options)
    meta: dict[str, Any] = tool.definition.meta
    return meta


def ui_of_view(**options: Any) -> Any:
    resource = MCPApp().add_view(URI, html=HTML, **options)
    return (resource.definition.meta or {}).get("ui")


@pytest.mark.parametrize(
    ("ui", "written"),
    [
        (URI, {"resourceUri": URI}),
        ({"resource_uri": URI, "visibility": ["app"]}, {"resourceUri": URI, "visibility": ["app"]}),
        ({"resourceUri": URI, "visibility": "model"}, {"resourceUri": URI, "visibility": ["model"]}),
        (
            ToolUi(resource_uri=URI, visibility=["model", "app"]),
            {"resourceUri": URI, "visibility": ["model", "app"]},
        ),
    ],
    ids=["uri", "mapping", "wire names", "struct"],
)
def test_a_view_of_a_tool_stands_in_both_places_x_app_3(ui: Any, written: dict[str, Any]) -> None:
    """X-APP-3, R-573: also in the flat form, which older hosts read."""
    assert meta_of_tool(ui) == {"ui": written, "ui/resourceUri": URI}
    assert meta_of_tool(ui, meta={"own": 1}) == {"own": 1, "ui": written, "ui/resourceUri": URI}


def test_a_visibility_needs_no_view() -> None:
    """X-APP-3: both members are optional."""
    assert meta_of_tool({"visibility": ["app"]}) == {"ui": {"visibility": ["app"]}}


@pytest.mark.parametrize(
    ("ui", "error", "text"),
    [
        ("https://example.com/view", ValueError, 'begins with ui://, which "https://example.com/view" does not'),
        ("ui://a b", ValueError, "ui://a b"),
        ("ui://views/{city}", ValueError, "is a template, and a tool has one view"),
        ({}, ValueError, 'has one: ui="ui://name"'),
        ({"resource_uri": URI, "visibility": []}, ValueError, 'write ["model"], ["app"] or both'),
        ({"resource_uri": URI, "visibility": ["user"]}, ValueError, "work(): ui"),
        ({"uri": URI}, ValueError, "has no member 'uri'; it has: resource_uri, visibility"),
        (7, ValueError, "ui is a dict or ToolUi"),
    ],
    ids=["scheme", "space", "template", "empty", "nobody", "unknown", "member", "number"],
)
def test_what_cannot_be_a_view_of_a_tool(ui: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        meta_of_tool(ui)
    assert text in str(caught.value)


@pytest.mark.parametrize("meta", [{"ui": {}}, {"ui/resourceUri": URI}], ids=["ui", "flat"])
def test_two_words_about_one_view_are_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        meta_of_tool(URI, meta=meta)
    with pytest.raises(ValueError, match="leave one of them out"):
        ui_of_view(prefers_border=True, meta=meta)
    assert meta_of_tool({"visibility": ["app"]}) != meta


def test_meta_by_hand_stays_as_it_is() -> None:
    """What the protocol may have some day can be written by hand."""
    ui = {"csp": {"connectDomains": ["https://api.example.com"]}, "later": True}
    assert ui_of_view(meta={"ui": ui}) == ui


@pytest.mark.parametrize(
    "csp",
    [
        {"connect_domains": ["https://api.example.com", "wss://live.example.com:8443"], "frame_domains": []},
        {"connectDomains": ["https://api.example.com", "wss://live.example.com:8443"], "frameDomains": []},
        ViewCsp(connect_domains=["https://api.example.com", "wss://live.example.com:8443"], frame_domains=[]),
    ],
    ids=["names", "wire names", "struct"],
)
def test_a_policy_x_app_5(csp: Any) -> None:
    """X-APP-5."""
    connect = ["https://api.example.com", "wss://live.example.com:8443"]
    assert ui_of_view(csp=csp) == {"csp": {"connectDomains": connect, "frameDomains": []}}


def test_all_that_a_view_can_ask_for() -> None:
    """X-APP-5."""
    ui = ui_of_view(
        csp={"resource_domains": "https://*.example.com", "base_uri_domains": ["http://localhost:*"]},
        permissions=["camera", "clipboard_write"],
        domain="a.claudemcpcontent.com",
        prefers_border=False,
    )
    assert ui == {
        "csp": {"resourceDomains": ["https://*.example.com"], "baseUriDomains": ["http://localhost:*"]},
        "permissions": {"camera": {}, "clipboardWrite": {}},
        "domain": "a.claudemcpcontent.com",
        "prefersBorder": False,
    }
    assert ui_of_view() is None


@pytest.mark.parametrize(
    "permissions",
    [
        ["microphone", "clipboardWrite"],
        {"microphone": {}, "clipboard_write": True, "camera": None, "geolocation": False},
        ViewPermissions(microphone={}, clipboard_write={}),
    ],
    ids=["names", "mapping", "struct"],
)
def test_permissions(permissions: Any) -> None:
    """X-APP-5."""
    assert ui_of_view(permissions=permissions) == {"permissions": {"microphone": {}, "clipboardWrite": {}}}
    assert ui_of_view(permissions="camera") == {"permissions": {"camera": {}}}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"csp": {"connect_domains": ["api.example.com"]}}, ValueError, "write 'https://api.example.com'"),
        ({"csp": {"resource_domains": ["https://a.com/js"]}}, ValueError, "write 'https://a.com'"),
        ({"csp": {"resource_domains": ["https://a.com; script-src *"]}}, ValueError, "is no origin"),
        ({"csp": {"frame_domains": ["*"]}}, ValueError, "write one such as 'https://api.example.com'"),
        ({"csp": {"connect": ["https://a.com"]}}, ValueError, "has no member 'connect'"),
        ({"permissions": ["bluetooth"]}, ValueError, "there is no permission 'bluetooth'; there are camera"),
        ({"permissions": 7}, TypeError, "permissions is a list of names"),
        ({"domain": " "}, ValueError, "domain is a name"),
        ({"prefers_border": "yes"}, TypeError, "prefers_border is True or False"),
    ],
)
def test_what_hosts_would_misread(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        ui_of_view(**options)
    assert text in str(caught.value)
    assert f'view "{URI}"' in str(caught.value)
