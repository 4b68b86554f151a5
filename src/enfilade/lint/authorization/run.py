"""Check the authorization of a server, step by step as a client meets it.

Nothing is changed on the server, no login is made, and no client is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from enfilade.lint.authorization.challenge import Challenge, judge_way_to_a_login
from enfilade.lint.authorization.endpoint import (
    ask_with_credentials,
    ask_with_made_up_token,
    ask_without_token,
    bearer,
)
from enfilade.lint.authorization.fetching import Fetcher, http_client
from enfilade.lint.authorization.issuer import Document, read_issuer
from enfilade.lint.authorization.report import Report, quoted
from enfilade.lint.authorization.resource_metadata import authorization_servers, read_resource_metadata
from enfilade.lint.authorization.token import Expected, judge_token
from enfilade.primitives.public_urls import is_loopback_host

#: Most authorization servers that are looked at.
_MOST_SERVERS: Final = 5


async def check_authorization(
    url: str, *, token: str | None = None, headers: Mapping[str, str] | None = None, timeout: float = 10.0
) -> Report:
    """Return what a client finds at a server.

    Args:
        url: the endpoint.
        token: a token that should be accepted. It is sent to this URL alone.
        headers: headers with a key that should be accepted. They are sent to this URL alone.
        timeout: limit in seconds for each request.

    Raises:
        EndpointError: the endpoint cannot be reached, or there is none.
    """
    report = Report(url, steps=[])
    async with http_client(timeout) as client:
        fetcher = Fetcher(client, timeout)
        challenge = await ask_without_token(fetcher, report)
        document = await read_resource_metadata(fetcher, report, challenge)
        if not report.is_protected:
            _judge_open_server(report, document)
            return report
        if challenge is not None and report.offers_login:
            judge_way_to_a_login(report.steps[0], challenge)
        issuers = authorization_servers(document)
        found = [await read_issuer(fetcher, report, issuer) for issuer in issuers[:_MOST_SERVERS]]
        servers = [server for server in found if server is not None]
        _judge_scopes(report, challenge, document, [metadata for metadata, _ in servers])
        await ask_with_made_up_token(fetcher, report)
        if headers:
            step = report.step(f"A request with {', '.join(headers)}")
            await ask_with_credentials(fetcher, report, step, headers)
        if token is not None:
            step = report.step("A request with the token")
            await ask_with_credentials(fetcher, report, step, bearer(token))
            keys = {
                issuer: server[1] for issuer, server in zip(issuers, found, strict=False) if server is not None
            }
            judge_token(step, token, Expected(url, issuers, challenge.scopes if challenge else (), keys))
    return report


def _judge_open_server(report: Report, document: Document | None) -> None:
    """Judge a server that answers without a token."""
    import httpx

    step = report.steps[0]
    if report.access == "unclear":
        return
    if document is not None:
        step.warning(
            "it publishes protected resource metadata, and answers without a token",
            "refuse requests without a token by 401, or remove the metadata",
        )
    elif not is_loopback_host(httpx.URL(report.url).host):
        step.warning(
            "everybody who reaches this address can call its tools",
            "protect it: MCPApp(…, auth=ResourceServer(…)); fine if it is meant for all",
        )


def _judge_scopes(
    report: Report, challenge: Challenge | None, document: Document | None, servers: list[Document]
) -> None:
    """Judge whether the scopes that clients will ask for are known where they ask."""
    wanted = list(challenge.scopes if challenge else ())
    listed = document.get("scopes_supported") if document else None
    if not wanted and isinstance(listed, list):
        wanted = [scope for scope in listed if isinstance(scope, str)]
    if not wanted or not servers:
        return
    step = report.step("Scopes")
    step.ok(f"clients ask for: {quoted(' '.join(wanted))}")
    if challenge and isinstance(listed, list) and (missing := [scope for scope in wanted if scope not in listed]):
        step.warning(
            f"scopes_supported of the resource lacks {quoted(' '.join(missing))}", "list what the challenge names"
        )
    for server in servers:
        known = server.get("scopes_supported")
        if isinstance(known, list) and (missing := [scope for scope in wanted if scope not in known]):
            step.warning(
                f"{quoted(server.get('issuer'))} does not list {quoted(' '.join(missing))}",
                "define these scopes there, if it does not hide them on purpose",
            )
