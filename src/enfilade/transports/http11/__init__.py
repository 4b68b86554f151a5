"""HTTP/1.1 for `run()`: a protocol for uvicorn's server, and the limits of an open port.

Why it exists. uvicorn's own protocols create a timer, an event, a parsed URL, a task callback and a second write
for each request, and search each response header for bad characters. `HttpProtocol` does without. And they have
no limits for slow heads, slow bodies, unread responses and the number of connections, which a server on an open
port needs.

What it owns. llhttp (by way of httptools) parses, uvicorn owns listener, lifespan, signals and the ASGI
configuration. Of RFC 9112 this package decides what llhttp leaves to its user:

    §2.3 version, §3.2 target and Host, §6.1 Transfer-Encoding   `reader.py`
    §6.3, §7 framing of responses                                `request_cycle.py`, for applications of ASGI
                                                                 (`asgi_cycle.py`) and for an endpoint without
                                                                 ASGI in between (`direct_exchange.py`)
    §9.3 persistence, §9.3.2 pipelining, §9.6 closing            `protocol.py`, which uses `memory_limits.py` for
                                                                 the pipeline and `flow_control.py` to close
    §9.5 timeouts                                                `connection_timeouts.py`

Beyond RFC 9112, a head that came before on the same connection is not parsed again (`known_heads.py`).

When it can be deleted. All but the limits: once uvicorn's own protocol costs as little, hands whole requests to
an endpoint, and has hooks for the limits. Until then a uvicorn that creates connections in another
way than `is_supported` expects is served by its own protocol, and a warning says which settings have no effect.

uvicorn's own command takes it as well: `uvicorn server:app --http enfilade.transports.http11:Protocol`. Then time
limits have their defaults, an idle connection has uvicorn's `--timeout-keep-alive`, and `--limit-concurrency`
counts. Easy to get wrong there: a host with WebSockets, as an `Upgrade` is ignored.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enfilade.transports.http11.protocol import HttpProtocol as Protocol

__all__ = ["Protocol"]


def __getattr__(name: str) -> Any:
    if name != "Protocol":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import uvicorn

    from enfilade.transports.http11.protocol import HttpProtocol, is_supported

    if not is_supported():  # it would fail with the first connection, or with a later one
        raise ImportError(f"{__name__} does not support uvicorn {uvicorn.__version__}; leave out --http")
    return HttpProtocol
