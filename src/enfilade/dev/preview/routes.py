"""The routes of the preview, for an app under development alone, and for this machine alone.

Easy to get wrong: who reaches it. The page calls tools without asking, so a request that comes from elsewhere, or
by another name than that of this machine, finds nothing.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from enfilade.app import MCPApp
from enfilade.dev.preview.sandbox import SandboxServer
from enfilade.routes.request import HttpError, RouteRequest
from enfilade.routes.response import Response
from enfilade.transports.http.origin_checks import is_loopback
from enfilade.wire.apps import APPS

#: Where the page is.
PATH: Final = "/preview/"
_FOLDER: Final = Path(__file__).parent / "page"
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
#: The sandbox has a port of its own, which may change with each reload.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src http://127.0.0.1:*; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "referrer-policy": "origin",  # by which the sandbox knows its host
    "x-content-type-options": "nosniff",
}


def attach(app: MCPApp) -> bool:
    """Serve the preview beside the endpoint of an app; return whether it is served.

    It is not if the server listens for other machines, or if the app has a route at its path.
    """
    if not _is_local(app):
        return False
    sandbox = SandboxServer()

    def file(request: RouteRequest) -> Response:
        _check_local(request)
        return _file(request.path_params.get("file", "index.html"))

    def config(request: RouteRequest) -> Response:
        _check_local(request)
        return Response(
            {"endpoint": app.settings.path, "name": app.name, "sandbox": sandbox.url}, headers=_HEADERS
        )

    def redirect(request: RouteRequest) -> Response:
        _check_local(request)
        return Response(status=307, headers={**_HEADERS, "location": PATH})

    try:
        app.route(f"{PATH}{{file}}")(file)
    except ValueError:  # the app has a route there
        return False
    for path, handler in ((PATH, file), (f"{PATH}config.json", config), (PATH.rstrip("/"), redirect)):
        with suppress(ValueError):
            app.route(path)(handler)
    return True


def _check_local(request: RouteRequest) -> None:
    """Refuse requests from other machines, and those by another name than that of this one.

    Raises:
        HttpError: 404.
    """
    host = (request.headers.get("host") or "").rpartition("@")[2]
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if not is_loopback(request.client or "") or not is_loopback(name.lower()):
        raise HttpError(404)


def _file(name: str) -> Response:
    """Return a file of the page; the sandbox is no part of it."""
    path = _FOLDER / name
    if path.parent != _FOLDER or path.suffix not in _TYPES or name == "sandbox.html" or not path.is_file():
        raise HttpError(404)
    return Response(path.read_bytes(), headers=_HEADERS, media_type=f"{_TYPES[path.suffix]}; charset=utf-8")


def address_of(app: MCPApp, endpoint: str) -> str | None:
    """Return the address of the preview for people; None if it is not served, or there is nothing to see.

    Args:
        endpoint: the URL of the endpoint.
    """
    has_views = app.extensions is not None and app.extensions.get(APPS) is not None
    if not has_views or not _is_local(app):
        return None
    url = urlsplit(endpoint)
    return f"{url.scheme}://{url.netloc}{PATH}"


def _is_local(app: MCPApp) -> bool:
    """Whether the server listens for this machine alone."""
    return is_loopback(app.settings.host) and not app.settings.uds
