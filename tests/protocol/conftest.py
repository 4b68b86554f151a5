"""The gallery for all tests of the protocol: one server, and a line to it in each revision."""

from collections.abc import Iterator

import pytest

from enfilade.wire.revisions import ALL
from support.every_revision import open_revision
from support.harness import Http, McpClient, Serving
from support.servers.content_server import ContentServer


@pytest.fixture(scope="session")
def gallery() -> Iterator[Serving]:
    with Serving(ContentServer()) as serving:
        yield serving


@pytest.fixture(scope="session")
def gallery_http(gallery: Serving) -> Http:
    return gallery.http


@pytest.fixture(params=ALL, scope="module")
def each(request: pytest.FixtureRequest, gallery_http: Http) -> Iterator[McpClient]:
    """A line in each revision in turn."""
    with open_revision(request.param, gallery_http) as line:
        yield line
