"""The official Python client 2.x as one that logs in; see logins.py for its commands."""

import asyncio
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from logins import REDIRECT_URI, Browser, Storage, serve
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

warnings.simplefilter("ignore")


def provider_of(command: dict[str, Any]) -> OAuthClientProvider:
    if credentials := command.get("credentials"):
        return ClientCredentialsOAuthProvider(command["url"], Storage(), **credentials)
    browser = Browser()

    async def returned() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(**browser.returned())

    metadata = OAuthClientMetadata(client_name="python-v2", redirect_uris=[REDIRECT_URI])
    return OAuthClientProvider(
        command["url"],
        metadata,
        Storage(),
        browser.visit,
        returned,
        client_metadata_url=command.get("document"),
    )


@asynccontextmanager
async def connect(command: dict[str, Any]) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(auth=provider_of(command), timeout=30) as http:
        transport = streamable_http_client(command["url"], http_client=http)
        async with Client(transport, mode=command["mode"]) as client:
            yield client


asyncio.run(serve(connect))
