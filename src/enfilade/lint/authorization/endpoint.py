"""Requests to the endpoint: without a token, with a made-up one (R-603), and with a real one.

Easy to get wrong: what a request does. A server without authorization answers it, so the requests are those that
change nothing: `server/discover`, or `initialize` and the end of the session that it begins.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from enfilade import __version__
from enfilade.auth.urls import check_url
from enfilade.lint.authorization.challenge import (
    Challenge,
    judge_first_challenge,
    judge_refusal,
    token_challenge,
)
from enfilade.lint.authorization.fetching import ORIGIN, Fetcher, Response
from enfilade.lint.authorization.report import Report, Step, quoted
from enfilade.wire.revisions import LATEST_HANDSHAKE, LATEST_STATELESS

_CLIENT: Final = {"name": "enfilade auth check", "version": __version__}
_META: Final = "io.modelcontextprotocol"
_ACCEPT: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class EndpointError(Exception):
    """The endpoint cannot be reached, or what answers is no MCP endpoint."""


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"Authorization": f"Bearer {token}"}


async def ask(fetcher: Fetcher, url: str, credentials: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Send `server/discover`, and `initialize` to a server that does not know it; end the session it begins."""
    revision = LATEST_STATELESS
    meta = {
        f"{_META}/protocolVersion": revision,
        f"{_META}/clientInfo": _CLIENT,
        f"{_META}/clientCapabilities": {},
    }
    headers = {**_ACCEPT, **credentials, "MCP-Protocol-Version": revision, "Mcp-Method": "server/discover"}
    discover = _request("server/discover", {"_meta": meta})
    response = await fetcher.fetch(url, "POST", headers=headers, json=discover)
    if response.failure or response.status in (200, 401, 403) or not 400 <= response.status < 500:
        return response
    params = {"protocolVersion": LATEST_HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT}
    response = await fetcher.fetch(
        url, "POST", headers={**_ACCEPT, **credentials}, json=_request("initialize", params)
    )
    if session := response.headers.get("mcp-session-id"):
        await fetcher.fetch(url, "DELETE", headers={**credentials, "Mcp-Session-Id": session})
    return response


def _request(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def ask_without_token(fetcher: Fetcher, report: Report) -> Challenge | None:
    """Send a request without a token, judge the refusal, and return its challenge.

    Raises:
        EndpointError: there is no endpoint.
    """
    step = report.step("A request without a token")
    _judge_url(step, report.url)
    response = await ask(fetcher, report.url)
    if response.failure:
        raise EndpointError(f"{report.url} {response.failure}")
    if response.status in (404, 405) or response.status >= 500:
        raise EndpointError(
            f"{report.url} answers {response.describe()}: is this the URL of an MCP endpoint, such as …/mcp?"
        )
    if response.status == 401:
        report.access = "token"
        step.ok("401 Unauthorized")
        challenge = judge_first_challenge(step, response.challenges())
        await _judge_other_methods(fetcher, step, report.url)
        _judge_browser(step, await _preflight(fetcher, report.url), response)
        return challenge
    if 300 <= response.status < 400:
        step.problem(
            f"redirects: {response.describe()}",
            "give clients the URL where the endpoint is: many follow no redirect with a token",
        )
    elif response.status == 200:
        report.access = "open"
        step.ok("is answered: this server wants no token")
    else:
        step.problem(
            f"is answered with {response.describe()}",
            "answer 401 with WWW-Authenticate where a token is missing: clients begin a login at 401 only",
        )
    return token_challenge(response.challenges())


def _judge_url(step: Step, url: str) -> None:
    try:
        check_url(url, "the endpoint")
    except ValueError:
        step.problem(
            f"{url} is http on another machine: tokens travel for everybody to read",
            "serve the endpoint by https, for example behind a proxy",
        )


async def _judge_other_methods(fetcher: Fetcher, step: Step, url: str) -> None:
    """Judge GET and DELETE, which want a token as well."""
    refused = 0
    for method in ("GET", "DELETE"):
        response = await fetcher.fetch(url, method, headers={"Accept": "text/event-stream"})
        if response.failure:
            step.warning(f"{method} {response.failure}", f"answer {method} as POST: 401 without a token")
        elif response.status == 401:
            refused += 1
        elif response.status == 405:
            step.ok(f"{method} is not supported (405)")
        else:
            step.problem(
                f"{method} without a token gets {response.describe()}",
                f"ask for a token at every request; {method} too",
            )
    if refused == 2:
        step.ok("GET and DELETE get 401 as well")


async def _preflight(fetcher: Fetcher, url: str) -> Response:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return await fetcher.fetch(url, "OPTIONS", headers=headers)


def _judge_browser(step: Step, preflight: Response, refusal: Response) -> None:
    """Judge whether a client in a browser may send a token, where such clients are served at all."""
    if "access-control-allow-origin" not in preflight.headers:
        return  # many servers are for other clients, and that is theirs to choose
    exposed = refusal.headers.get("access-control-expose-headers", "").lower()
    if preflight.status == 401:
        step.problem("OPTIONS wants a token", "answer OPTIONS without a token: browsers send none with it")
    elif "www-authenticate" not in exposed and "access-control-allow-origin" in refusal.headers:
        step.warning(
            "browser clients cannot read WWW-Authenticate",
            "add Access-Control-Expose-Headers: WWW-Authenticate to the 401",
        )


async def ask_with_made_up_token(fetcher: Fetcher, report: Report) -> None:
    """Send a token that nobody has issued, and judge the refusal."""
    step = report.step("A request with a made-up token")
    response = await ask(fetcher, report.url, bearer(f"made-up-{secrets.token_urlsafe(16)}"))
    if response.failure:
        step.problem(response.failure, "answer 401: a token that cannot be read needs no other server")
    elif response.status >= 500:
        step.problem(
            f"a made-up token gets {response.describe()}",
            "answer 401 for what is no token; 503 is for tokens that cannot be checked now",
        )
    else:
        judge_refusal(step, response.status, response.challenges())


async def ask_with_credentials(
    fetcher: Fetcher, report: Report, step: Step, credentials: Mapping[str, str]
) -> None:
    """Send a real token or key in its header, and judge the answer."""
    kind = "token" if "Authorization" in credentials else "key"
    response = await ask(fetcher, report.url, credentials)
    challenge = token_challenge(response.challenges())
    description = "" if challenge is None else challenge.parameters.get("error_description", "")
    reason = f": {quoted(description)}" if description else ""
    if response.failure:
        step.problem(response.failure, "see the server's log")
    elif response.status == 200:
        step.ok(f"the server accepts the {kind}")
    elif response.status == 401:
        step.problem(
            f"the server refuses the {kind}{reason}",
            "see below what the token says; the server's log may say more"
            if kind == "token"
            else "compare its digest (enfilade auth hash-key) with those that the server knows",
        )
    elif response.status == 403:
        scopes = [] if challenge is None else challenge.scopes
        needs = f" needs {quoted(' '.join(scopes))}" if scopes else " is not enough"
        step.problem(f"403: the request{needs}{reason}", f"get a {kind} with these scopes")
    elif response.status == 503:
        step.warning(
            "503: the server cannot check tokens now",
            "see whether it reaches its authorization server",
        )
    else:
        step.warning(f"the server answers {response.describe()}", "see the server's log")
