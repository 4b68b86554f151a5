"""The endpoint with tokens of a real authorization server: JWTs by its keys, opaque ones by introspection."""

from collections.abc import Iterator

import pytest

from enfilade import Context, MCPApp, text_of
from enfilade.auth import Introspection, ResourceServer
from enfilade.testing import ConnectError, connect
from support.authorization.oidc_provider import OidcProvider
from support.harness import Serving

RESOURCE, OTHER = "http://127.0.0.1:8000/mcp", "http://127.0.0.1:8001/mcp"
pytestmark = pytest.mark.anyio


@pytest.fixture
def url(oidc_provider: OidcProvider) -> Iterator[str]:
    """The URL of a server that takes tokens of the authorization server, whatever their form."""
    oidc_provider.configure(resources=[RESOURCE, OTHER])
    introspection = Introspection(
        oidc_provider.introspection_url, oidc_provider.client_id, oidc_provider.client_secret
    )
    auth = ResourceServer(
        RESOURCE, [oidc_provider.issuer], scopes=["notes:read"], verifiers=[introspection], leeway=0
    )
    app = MCPApp("protected", auth=auth)

    @app.tool
    def whoami(ctx: Context) -> str:
        assert ctx.principal is not None
        return ctx.principal.subject

    with Serving(app) as serving:
        yield f"http://127.0.0.1:{serving.port}/mcp"


async def caller(url: str, token: str) -> str:
    """Return who calls with a token, as the server has it."""
    async with connect(url, headers={"Authorization": f"Bearer {token}"}) as client:
        return text_of(await client.call_tool("whoami", {}))


@pytest.mark.parametrize("form", ["jwt", "opaque"])
async def test_users_and_clients_are_principals(url: str, oidc_provider: OidcProvider, form: str) -> None:
    """X-AUTH-30: a client that acts for itself needs no user."""
    oidc_provider.configure(format=form)
    assert await caller(url, oidc_provider.user_token("grace", ["notes:read"])) == "grace"
    assert await caller(url, oidc_provider.client_credentials_token(["notes:read"])) == oidc_provider.client_id


@pytest.mark.parametrize("form", ["jwt", "opaque"])
async def test_a_token_for_another_resource_is_refused(url: str, oidc_provider: OidcProvider, form: str) -> None:
    """X-AUTH-40: the audience is that of the resource."""
    oidc_provider.configure(format=form)
    with pytest.raises(ConnectError, match="401"):
        await caller(url, oidc_provider.client_credentials_token(["notes:read"], resource=OTHER))


async def test_a_revoked_token_is_refused(url: str, oidc_provider: OidcProvider) -> None:
    """X-AUTH-4."""
    oidc_provider.configure(format="opaque")
    token = oidc_provider.user_token("grace", ["notes:read"])
    oidc_provider.revoke(token)
    with pytest.raises(ConnectError, match="401"):
        await caller(url, token)


async def test_keys_that_are_rotated_are_found(url: str, oidc_provider: OidcProvider) -> None:
    """X-AUTH-3: a key that is not known is looked for."""
    assert await caller(url, oidc_provider.user_token("ada", ["notes:read"])) == "ada"
    oidc_provider.rotate_keys()
    assert await caller(url, oidc_provider.user_token("grace", ["notes:read"])) == "grace"
