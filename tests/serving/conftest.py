"""A library for whoever wants one: the server whose entries are resources, prompts and completions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.harness import CLIENT_KINDS, Http, McpClient, Serving, open_client
from support.servers import resource_server as served


@pytest.fixture(scope="session")
def library_http() -> Iterator[Http]:
    with Serving(served.ResourceServer()) as serving:
        yield serving.http


@pytest.fixture(params=CLIENT_KINDS, scope="module")
def library(request: pytest.FixtureRequest, library_http: Http) -> Iterator[McpClient]:
    """Each way to a library in turn: both eras, both transports."""
    with open_client(request.param, library_http, Path(served.__file__)) as line:
        yield line
