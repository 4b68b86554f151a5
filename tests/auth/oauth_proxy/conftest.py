"""A server with a login of its own in front of a real provider, a client that has registered, and a user."""

from collections.abc import Iterator

import pytest

from support.authorization.oidc_provider import OidcProvider
from support.authorization.proxy_client import ProxyClient
from support.authorization.visitor import Visitor
from support.servers import login_server


@pytest.fixture(scope="module")
def running_url(running_oidc_provider: OidcProvider) -> Iterator[str]:
    with login_server.serving(running_oidc_provider) as url:
        yield url


@pytest.fixture
def public_url(running_url: str, oidc_provider: OidcProvider) -> str:
    """The public URL of the server; its provider has the settings of its start."""
    return running_url


@pytest.fixture
def client(public_url: str) -> ProxyClient:
    """A client that has registered."""
    return ProxyClient.registered(public_url)


@pytest.fixture
def visitor() -> Iterator[Visitor]:
    """A user with a browser, in which nobody has logged in before."""
    with Visitor() as visitor:
        yield visitor
