"""The official Python client 1.x as one that logs in; see logins.py for its commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from logins import REDIRECT_URI, Browser, Storage, serve
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata


def provider_of(command: dict[str, Any]) -> OAuthClientProvider:
    if credentials := command.get("credentials"):
        return ClientCredentialsOAuthProvider(
            command["url"],
            Storage(),
            credentials["client_id"],
            credentials["client_secret"],
            scopes=credentials["scope"],
        )
    browser = Browser()

    async def returned() -> tuple[str, str | None]:
        answer = browser.returned()
        return answer["code"], answer["state"]

    metadata = OAuthClientMetadata(client_name="python-v1", redirect_uris=[REDIRECT_URI])
    return OAuthClientProvider(
        command["url"],
        metadata,
        Storage(),
        browser.visit,
        returned,
        client_metadata_url=command.get("document"),
    )


@asynccontextmanager
async def connect(command: dict[str, Any]) -> AsyncIterator[ClientSession]:
    async with httpx.AsyncClient(auth=provider_of(command), timeout=30) as http:
        async with streamable_http_client(command["url"], http_client=http) as (read, write, _):
            async with ClientSession(read, write) as session:
                await session.initialize()
                yield session


asyncio.run(serve(connect))
