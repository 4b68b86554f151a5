"""Plain HTTP requests for what is beside the endpoint: probes and metadata."""

import contextlib
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import NamedTuple


class PlainReply(NamedTuple):
    """A response; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def fetch(port: int, verb: str, path: str, headers: Mapping[str, str] = {}, body: bytes = b"") -> PlainReply:
    """Send a request to a port of this machine and return the whole response."""
    with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(verb, path, body, dict(headers))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return PlainReply(response.status, fields, response.read())
