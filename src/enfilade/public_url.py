"""The URL by which clients reach a server, as far as the settings tell, for greetings and the log.

A server that is bound to every address is called by a name that only its operator knows, and `Host` is checked
against `allowed_hosts`. So a greeting with 127.0.0.1 may offer a URL that the server itself refuses with 421.
"""

import logging
from typing import Final

from msgspec.structs import replace

from enfilade.settings import Settings
from enfilade.transports.http.origin_checks import is_loopback, own_name

__all__ = ["UNKNOWN_HOST", "public_url", "warn_of_missing_names"]

#: Stands in a URL where the settings name no host by which the server can be called.
UNKNOWN_HOST: Final = "HOST"

log = logging.getLogger("enfilade")


def public_url(of: Settings, port: int) -> str:
    """Return the URL of the endpoint: by the first allowed host if the server is public, else by its address.

    Args:
        of: the settings in force.
        port: the port that is bound.

    Returns:
        The URL. It has `UNKNOWN_HOST` as its host if the server refuses loopback names and `allowed_hosts` has no
        whole name.
    """
    local = replace(of, port=port).url
    names = [host for host in of.allowed_hosts if "*" not in host]
    loopback_is_served = of.allow_localhost or "*" in of.allowed_hosts
    is_public = not own_name(of.host)
    if not is_public and (loopback_is_served or not is_loopback(of.host)):
        return local
    if not names:
        return local if loopback_is_served else f"http://{UNKNOWN_HOST}:{port}{of.path}"
    return f"http://{_with_port(names[0], port)}{of.path}"


def warn_of_missing_names(of: Settings) -> None:
    """Log a warning if the server is not bound to loopback and may be called by no name but its own address."""
    if of.allowed_hosts or (is_loopback(of.host) and of.allow_localhost):
        return
    served = [] if not of.allow_localhost and is_loopback(of.host) else [*own_name(of.host)]
    served += ["localhost", "127.0.0.1", "[::1]"] if of.allow_localhost else []
    log.warning(
        "allowed_hosts is empty, so %s; add the names by which clients call, with --allowed-hosts NAME or "
        "ENFILADE_ALLOWED_HOSTS=NAME",
        f"requests for other hosts than {', '.join(served)} are refused"
        if served
        else "every request is refused",
    )


def _with_port(name: str, port: int) -> str:
    """Return `name:port`; an allowed host may have a port of its own, and an IPv6 address has brackets then."""
    if name.startswith("["):
        return name if "]:" in name else f"{name}:{port}"
    colons = name.count(":")
    return name if colons == 1 else f"[{name}]:{port}" if colons else f"{name}:{port}"
