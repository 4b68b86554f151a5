"""A library for whoever wants one: the server whose entries are resources, prompts and completions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.harness import LINES, Http, Line, Serving, open_line
from support.servers import resource_server as served


@pytest.fixture(scope="session")
def library_http() -> Iterator[Http]:
    with Serving(served.Library()) as serving:
        yield serving.http


@pytest.fixture(params=LINES, scope="module")
def library(request: pytest.FixtureRequest, library_http: Http) -> Iterator[Line]:
    """Each way to a library in turn: both eras, both transports."""
    with open_line(request.param, library_http, Path(served.__file__)) as line:
        yield line
