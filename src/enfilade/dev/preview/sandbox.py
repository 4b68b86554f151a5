"""The sandbox of views: one page on a port of its own, with the policy of the view as a header.

A header cannot be changed by the document that it is about. The policy is that of the specification (ext-apps
2026-01-26, "Content Security Policy Enforcement"); beyond it, `data:` and `blob:` are allowed where they load
nothing from elsewhere. Easy to get wrong: what is written into the header. It comes by the address of the page,
so only origins get through.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from enfilade.wire.apps import ORIGIN

_PAGE: Final = Path(__file__).parent / "page" / "sandbox.html"
_TIMEOUT: Final = 10.0  # seconds that a connection may be silent


def content_security_policy(csp: Mapping[str, Any]) -> str:
    """Return the policy of a view as a header (X-APP-5).

    Args:
        csp: the `csp` of its `_meta.ui`; what is no origin in it is left out.
    """
    resources, connect = _origins(csp, "resourceDomains"), _origins(csp, "connectDomains")
    frames, bases = _origins(csp, "frameDomains"), _origins(csp, "baseUriDomains")
    directives = {
        "default-src": ["'none'"],
        "script-src": ["'self'", "'unsafe-inline'", *resources],
        "style-src": ["'self'", "'unsafe-inline'", *resources],
        "img-src": ["'self'", "data:", "blob:", *resources],
        "font-src": ["'self'", "data:", *resources],
        "media-src": ["'self'", "data:", "blob:", *resources],
        "connect-src": connect or ["'none'"],
        "worker-src": ["blob:"],
        "frame-src": frames or ["'none'"],
        "object-src": ["'none'"],
        "base-uri": bases or ["'self'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["http://127.0.0.1:*", "http://localhost:*"],
    }
    return "; ".join(" ".join([name, *values]) for name, values in directives.items())


def _origins(csp: Mapping[str, Any], name: str) -> list[str]:
    values = csp.get(name)
    listed = values if isinstance(values, list) else []
    return [value for value in listed if isinstance(value, str) and ORIGIN.fullmatch(value)]


class SandboxServer:
    """Serves the sandbox on a free loopback port, in a thread, from the first use to the end of the process."""

    @cached_property
    def url(self) -> str:
        """The address of the page; it takes the `csp` of a view as JSON in its query."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="enfilade-sandbox", daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.path != "/":
            self.send_error(404)
            return
        body = _PAGE.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", content_security_policy(_asked(address.query)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the class above
        """Log nothing: the terminal shows requests of the app."""


def _asked(query: str) -> Mapping[str, Any]:
    """Return the `csp` in a query; nothing, which is the strictest, if it is none."""
    try:
        csp = json.loads(parse_qs(query).get("csp", ["{}"])[0])
    except (ValueError, RecursionError):
        return {}
    return csp if isinstance(csp, Mapping) else {}
