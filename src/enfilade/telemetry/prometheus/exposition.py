"""What a scrape gets, and who may scrape.

A scrape needs no credentials unless there is a token, as exporters have none. A page in a browser must not read
what a server on its user's machine or network does, though: its requests carry its origin, or a name of its own
as Host. So both headers are checked as those of the endpoint are, except that any IP address may be the Host:
that is what Prometheus calls pods by, and no page can have an address as the name that it points elsewhere.
"""

import hmac
import os
import struct
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from enfilade.telemetry.prometheus.ended import SharedMetrics
from enfilade.telemetry.prometheus.sampler import collect
from enfilade.transports.http.origin_checks import HostOriginPolicy, is_address

#: The variable by which `prometheus_client` shares metrics between processes.
FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_FOREIGN_HOST: Final = 421


#: A scrape meets files of workers that start or end; this is how often it is tried, and the seconds in between.
_ATTEMPTS: Final = 20
_PAUSE: Final = 0.02


class ScrapeError(Exception):
    """Metrics cannot be read; the text is for the log."""


class Refusal(NamedTuple):
    """Why a request gets no metrics.

    Attributes:
        status: of HTTP.
        reason: for people.
    """

    status: int
    reason: str


def render() -> bytes:
    """Return all metrics as text, of this process or of all that share its folder; it takes milliseconds.

    Raises:
        ScrapeError: the files of the folder cannot be read; the text says why.
    """
    collect()
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return generate_latest(REGISTRY)
    failure: Exception | None = None
    for _ in range(_ATTEMPTS):
        try:
            registry = CollectorRegistry()
            registry.register(SharedMetrics(folder))
            return generate_latest(registry)
        except (OSError, RuntimeError, ValueError, struct.error) as error:  # a worker makes a file, or it is gone
            failure = error
            time.sleep(_PAUSE)
    raise ScrapeError(f"the metrics in {folder} cannot be read: {type(failure).__name__}: {failure}")


def refusal_of(
    policy: HostOriginPolicy, token: str, fields: Mapping[bytes, bytes], method: str
) -> Refusal | None:
    """Return why a request gets no metrics; None if it gets them.

    Args:
        policy: says which hosts and origins are allowed.
        token: that a scrape needs; empty for none.
        fields: headers of the request.
        method: of HTTP.
    """
    host, origin = fields.get(b"host"), fields.get(b"origin")
    refusal = policy.verdict(host, origin)
    if refusal is not None and refusal[0] == _FOREIGN_HOST and host is not None and is_address(host):
        refusal = policy.verdict(None, origin)
    if refusal is not None:
        return Refusal(*refusal)
    if method not in ("GET", "HEAD"):
        return Refusal(405, "metrics are read with GET")
    if token and not _has_token(fields.get(b"authorization", b""), token):
        return Refusal(401, "metrics need the token that metrics_token says: Authorization: Bearer ...")
    return None


def _has_token(authorization: bytes, token: str) -> bool:
    scheme, _, credentials = authorization.strip().partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(credentials.strip(), token.encode())
