"""What authors write of views and of tools with views, as `_meta` has it, checked when it is registered.

Easy to get wrong: an origin without its scheme. Hosts write it into a policy of the browser, which then allows
something else or nothing, and the author sees an empty view.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from enfilade.primitives.metadata import DumpableModel, read_message
from enfilade.primitives.uris import check_uri
from enfilade.wire.apps import FLAT_URI, ORIGIN, VIEW_SCHEME, ToolUi, ViewCsp, ViewPermissions, ViewUi

#: What an author can give as the view of a tool.
ToolUiOption = str | Mapping[str, Any] | ToolUi | DumpableModel
CspOption = Mapping[str, Any] | ViewCsp | DumpableModel
PermissionsOption = Iterable[str] | Mapping[str, Any] | ViewPermissions | DumpableModel

_PERMISSIONS: Final = {name.replace("_", ""): name for name in ViewPermissions.__struct_fields__}


def read_tool_ui(label: str, ui: ToolUiOption) -> ToolUi:
    """Return the view of a tool.

    Args:
        label: what errors call the tool.
        ui: the URI of the view, or a mapping with `resource_uri` and `visibility`.

    Raises:
        TypeError, ValueError: it cannot be; the text says what to write (X-APP-3, X-APP-4).
    """
    if isinstance(ui, str):
        ui = ToolUi(resource_uri=ui)
    elif not isinstance(ui, ToolUi):
        if isinstance(ui, Mapping) and isinstance(ui.get("visibility"), str):
            ui = {**ui, "visibility": [ui["visibility"]]}
        ui = read_message(ToolUi, ui, f"{label}: ui")
    if ui.resource_uri is UNSET and ui.visibility is UNSET:
        raise ValueError(f'{label}: ui is the URI of a view, or has one: ui="ui://name"')
    if ui.resource_uri is not UNSET:
        check_view_uri(ui.resource_uri, f"{label}: ui")
        if "{" in ui.resource_uri:
            raise ValueError(
                f'{label}: "{ui.resource_uri}" is a template, and a tool has one view: name a URI of it'
            )
    if ui.visibility is not UNSET and not ui.visibility:
        raise ValueError(
            f'{label}: visibility=[] hides the tool from everybody; write ["model"], ["app"] or both'
        )
    return ui


def check_view_uri(uri: object, label: str) -> None:
    """Refuse what cannot be the URI of a view (X-APP-4).

    Raises:
        TypeError, ValueError: says what to write.
    """
    if not isinstance(uri, str):
        raise TypeError(f'{label}: the URI of a view is a string: "ui://name"')
    if not uri.startswith(VIEW_SCHEME):
        raise ValueError(f'{label}: the URI of a view begins with ui://, which "{uri[:60]}" does not')
    if "{" not in uri:
        check_uri(uri)


def tool_meta(ui: ToolUi, meta: Mapping[str, Any] | None, label: str) -> dict[str, Any]:
    """Return the `_meta` of a tool with a view: also in the flat form, which older hosts read (X-APP-3).

    Raises:
        ValueError: `meta` says something of a view as well.
    """
    members = _without_ui(meta, label, "ui=")
    members["ui"] = msgspec.to_builtins(ui)
    if ui.resource_uri is not UNSET:
        members[FLAT_URI] = ui.resource_uri
    return members


def view_meta(
    label: str,
    *,
    csp: CspOption | None = None,
    permissions: PermissionsOption | None = None,
    domain: str | None = None,
    prefers_border: bool | None = None,
    meta: Mapping[str, Any] | None = None,
    served_from: str | None = None,
) -> dict[str, Any]:
    """Return the `_meta` of a view, for its entry in the list and for its contents (X-APP-5, X-APP-6).

    Args:
        label: what errors call the view.
        csp: the origins that it needs, by `connect_domains`, `resource_domains`, `frame_domains` and
            `base_uri_domains`.
        permissions: names of what it asks of the browser: `camera`, `microphone`, `geolocation`,
            `clipboard_write`.
        domain: the origin that a host should give it.
        prefers_border: whether the host should draw a border.
        meta: other members.
        served_from: the origin that its assets come from.

    Raises:
        TypeError, ValueError: something cannot be; the text says what to write.
    """
    ui = ViewUi()
    if csp is not None or served_from is not None:
        ui.csp = _read_csp(label, csp, served_from)
    if permissions is not None:
        ui.permissions = _read_permissions(label, permissions)
    if domain is not None:
        if not str(domain).strip():
            raise ValueError(f"{label}: domain is a name in the form that the host wants, not {domain!r}")
        ui.domain = domain
    if prefers_border is not None:
        if not isinstance(prefers_border, bool):
            raise TypeError(f"{label}: prefers_border is True or False, not {prefers_border!r}")
        ui.prefers_border = prefers_border
    if not (written := msgspec.to_builtins(ui)):
        return dict(meta or {})  # which may say it in the protocol's own words
    return {**_without_ui(meta, label, "csp=, permissions=, domain= and prefers_border="), "ui": written}


def _without_ui(meta: Mapping[str, Any] | None, label: str, options: str) -> dict[str, Any]:
    """Return a copy of the other members.

    Raises:
        ValueError: they say something of the view.
    """
    members = dict(meta or {})
    for name in ("ui", FLAT_URI):
        if name in members:
            raise ValueError(f'{label}: meta has "{name}", which {options} write; leave one of them out')
    return members


def _read_csp(label: str, csp: CspOption | None, served_from: str | None) -> ViewCsp:
    """Return the policy of a view, with the origin of its assets."""
    policy = ViewCsp()
    if csp is not None:
        policy = csp if isinstance(csp, ViewCsp) else read_message(ViewCsp, _lists(csp), f"{label}: csp")
    for name in ViewCsp.__struct_fields__:
        domains = getattr(policy, name)
        for domain in () if domains is UNSET else domains:
            _check_origin(label, name, domain)
    if served_from is None:
        return policy
    own = () if policy.resource_domains is UNSET else policy.resource_domains
    return msgspec.structs.replace(policy, resource_domains=list(dict.fromkeys([*own, served_from])))


def _lists(csp: Mapping[str, Any] | DumpableModel) -> Mapping[str, Any] | DumpableModel:
    """Return a policy with a list for each single origin."""
    if not isinstance(csp, Mapping):
        return csp
    return {name: [value] if isinstance(value, str) else value for name, value in csp.items()}


def _check_origin(label: str, name: str, domain: str) -> None:
    if ORIGIN.fullmatch(domain):
        return
    host = domain.partition("://")[2] or domain
    host = re.split(r"[/?#\s;,'\"]", host)[0]
    scheme = domain.partition("://")[0].lower() if "://" in domain else "https"
    suggestion = f"{scheme}://{host}"
    advice = (
        f"write {suggestion!r}" if ORIGIN.fullmatch(suggestion) else "write one such as 'https://api.example.com'"
    )
    raise ValueError(f"{label}: csp: {domain[:80]!r} in {name} is no origin of scheme and host; {advice}")


def _read_permissions(label: str, permissions: PermissionsOption) -> ViewPermissions:
    if isinstance(permissions, ViewPermissions):
        return permissions
    if hasattr(permissions, "model_dump"):
        permissions = permissions.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(permissions, str):
        permissions = [permissions]
    if not isinstance(permissions, Iterable):
        raise TypeError(f"{label}: permissions is a list of names, not {type(permissions).__name__}")
    if isinstance(permissions, Mapping):
        permissions = [name for name, value in permissions.items() if value is not None and value is not False]
    asked = ViewPermissions()
    for name in permissions:
        known = _PERMISSIONS.get(str(name).replace("_", "").replace("-", "").lower())
        if known is None:
            raise ValueError(
                f"{label}: there is no permission {name!r}; there are {', '.join(_PERMISSIONS.values())}"
            )
        setattr(asked, known, {})
    return asked
