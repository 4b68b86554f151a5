"""The content server for all tests of the protocol: one server, and a client of it in each revision."""

from collections.abc import Iterator

import pytest

from enfilade.wire.revisions import ALL
from support.every_revision import open_revision
from support.harness import Http, McpClient, Serving
from support.servers.content_server import ContentServer


@pytest.fixture(scope="session")
def content_server() -> Iterator[Serving]:
    with Serving(ContentServer()) as serving:
        yield serving


@pytest.fixture(scope="session")
def content_http(content_server: Serving) -> Http:
    return content_server.http


@pytest.fixture(params=ALL, scope="module")
def each_client(request: pytest.FixtureRequest, content_http: Http) -> Iterator[McpClient]:
    """A client of each revision in turn."""
    with open_revision(request.param, content_http) as client:
        yield client
