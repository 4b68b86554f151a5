"""Applications around a server, each with the path at which clients call it."""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from enfilade import MCPApp

#: Makes the server, with the endpoint it is given.
MakeServer = Callable[[str], MCPApp]

#: Makes an ASGI application around a server; the text names the method of the server that makes the route of the
#: document under test, for a host that takes single routes.
MakeHost = Callable[[MakeServer, str], Any]


def alone(make: MakeServer, route: str) -> Any:
    return make("/mcp")


def at_the_root(make: MakeServer, route: str) -> Any:
    return make("/")


def with_a_slash(make: MakeServer, route: str) -> Any:
    return make("/tools/mcp/")


def fastapi_mount(make: MakeServer, route: str) -> Any:
    host = FastAPI()
    host.mount("/mcp", make("/mcp"))
    return host


def fastapi_prefix(make: MakeServer, route: str) -> Any:
    host = FastAPI()
    host.mount("/tools", make("/mcp"))
    return host


def fastapi_behind_a_proxy(make: MakeServer, route: str) -> Any:
    host = FastAPI(root_path="/api/v1")
    host.mount("/tools", make("/mcp"))
    return host


def fastapi_routes(make: MakeServer, route: str) -> Any:
    host, app = FastAPI(), make("/mcp")
    host.router.routes += [app.host_route(), getattr(app, route)()]
    return host


def starlette_nested(make: MakeServer, route: str) -> Any:
    return Starlette(routes=[Mount("/a", routes=[Mount("/b", app=make("/mcp"))])])


#: A host, the path of its endpoint as clients call it, and what a proxy before it strips.
HOSTS: Final[list[tuple[MakeHost, str, str]]] = [
    (alone, "/mcp", ""),
    (alone, "/stripped/mcp", "/stripped"),
    (at_the_root, "/", ""),
    (with_a_slash, "/tools/mcp/", ""),
    (fastapi_mount, "/mcp/", ""),
    (fastapi_prefix, "/tools/mcp", ""),
    (fastapi_prefix, "/stripped/tools/mcp", "/stripped"),
    (fastapi_behind_a_proxy, "/api/v1/tools/mcp", "/api/v1"),
    (fastapi_routes, "/mcp", ""),
    (starlette_nested, "/a/b/mcp", ""),
]

#: What pytest calls them.
HOST_NAMES: Final = [f"{host.__name__} {path}" for host, path, _ in HOSTS]
