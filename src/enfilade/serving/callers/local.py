"""Whether a caller is a user of this machine, where nobody has authenticated callers.

Easy to get wrong: a proxy on this machine, whose address is a loopback one for every caller. So the `Host` has to
be a name of this machine as well, and a request that says it was passed on is not local.
"""

from collections.abc import Iterable
from typing import Final

from enfilade.primitives.public_urls import is_loopback_host
from enfilade.serving.channel import Channel

#: Headers that proxies add, by name and by the beginning of the name.
_PASSED_ON: Final = frozenset((b"forwarded", b"via", b"x-real-ip", b"x-client-ip", b"true-client-ip"))
_PROXIES: Final = (b"x-forwarded-", b"x-original-", b"x-envoy-", b"cf-", b"fastly-")


def is_local(channel: Channel) -> bool:
    """Whether a request came over a pipe, or from a loopback address to a name of this machine."""
    if channel.http is None:
        return channel.is_local
    return is_local_http(channel.http.client, channel.http.headers)


def local_base(channel: Channel) -> str:
    """Return the URL by which a local client has reached the server, without the endpoint; empty over a pipe.

    It is the server's own address, which no header says.
    """
    if channel.http is None:
        return channel.local_base
    scope = channel.http.scope
    host, port = scope.get("server") or ("127.0.0.1", 80)
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if scope.get("scheme") == "https" else "http"
    return f"{scheme}://{host}:{port}{scope.get('root_path', '').rstrip('/')}"


def is_local_http(client: tuple[str, int | None] | None, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an HTTP request came from a loopback address to a name of this machine, and was not passed on.

    Args:
        client: its address.
        headers: as they came, names in lower case.
    """
    if client is None or not is_loopback_host(client[0]):
        return False
    hosts = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name in _PASSED_ON or name.startswith(_PROXIES):
            return False
    return len(hosts) == 1 and is_loopback_host(_without_port(hosts[0]))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
