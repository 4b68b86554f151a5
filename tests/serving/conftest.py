"""The resource server for all tests of this room: its entries are resources, prompts and completions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.harness import CLIENT_KINDS, Http, McpClient, Serving, open_client
from support.servers import resource_server as served


@pytest.fixture(scope="session")
def resource_http() -> Iterator[Http]:
    with Serving(served.ResourceServer()) as serving:
        yield serving.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def resource_client(request: pytest.FixtureRequest, resource_http: Http) -> Iterator[McpClient]:
    """A client of the resource server for each era and transport in turn."""
    with open_client(request.param, resource_http, Path(served.__file__)) as client:
        yield client
