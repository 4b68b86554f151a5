"""The client's certificate, as a proxy that ends TLS says in a header.

Easy to get wrong: whom to believe. A client that reaches the server around the proxy can send any header, so the
header counts only from the addresses that uvicorn trusts for `X-Forwarded-For` (`FORWARDED_ALLOW_IPS`). A server
does not start that trusts everybody: certificates are no secrets, so anybody could send that of a stolen token.
This must run before uvicorn's middleware, which puts the client's address in the place of the proxy's.
"""

import ipaddress
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from enfilade.transports.asgi import CERTIFICATE_KEY, Receive, Scope, Send


def trusts_everybody(trusted: str) -> bool:
    """Whether every address is trusted.

    Args:
        trusted: addresses and networks as uvicorn takes them.
    """
    for entry in trusted.split(","):
        try:
            if entry.strip() == "*" or ipaddress.ip_network(entry.strip(), strict=False).prefixlen == 0:
                return True
        except ValueError:  # the path of a socket
            continue
    return False


class ClientCertificateHeader:
    """An ASGI application that puts the header of a trusted proxy into the scope, for another one.

    Args:
        app: the other application.
        header: the name of the header.
        trusted: addresses and networks of proxies, as uvicorn takes them: `127.0.0.1, 10.0.0.0/8`, or `*`.
    """

    def __init__(self, app: Any, header: str, trusted: list[str] | str) -> None:
        self._app = app
        self._header = header.lower().encode("ascii")
        self._trusted = ProxyHeadersMiddleware(app, trusted).trusted_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = scope.get("client")
            if (peer[0] if peer else None) in self._trusted:
                values = [value for name, value in scope["headers"] if name.lower() == self._header]
                if len(values) == 1:  # of two, one may be the client's
                    scope[CERTIFICATE_KEY] = values[0]
        await self._app(scope, receive, send)
