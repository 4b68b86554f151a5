"""The authorization code flow with PKCE, by a user whose browser is httpx, with redirects and cookies."""

import base64
import hashlib
import secrets
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

MOST_REDIRECTS = 20


class FlowError(Exception):
    """The flow did not end with a code; the text says how it ended."""


def follow(url: str, redirect_uri: str, browser: httpx.Client) -> dict[str, str]:
    """Follow redirects from a URL until one leads to the redirect URI, and return what that is given.

    Raises:
        FlowError: a response is no redirect, or there are too many.
    """
    for _ in range(MOST_REDIRECTS):
        response = browser.get(url)
        if not response.is_redirect:
            raise FlowError(f"{url} answers {response.status_code}: {response.text[:2000]}")
        url = urljoin(url, response.headers["location"])
        parts = urlsplit(url)
        if url.partition("?")[0] == redirect_uri:
            return {name: values[0] for name, values in parse_qs(parts.query).items()}
    raise FlowError(f"more than {MOST_REDIRECTS} redirects, the last to {url}")


class CodeFlow:
    """One flow, of one user.

    Args:
        authorization_endpoint: where the browser begins.
        client_id: the client.
        redirect_uri: where the server sends the browser with the code; nobody needs to listen there.
    """

    def __init__(self, authorization_endpoint: str, client_id: str, redirect_uri: str) -> None:
        self._endpoint, self._client_id, self._redirect_uri = authorization_endpoint, client_id, redirect_uri
        self._verifier = secrets.token_urlsafe(32)

    def code(self, **parameters: str) -> str:
        """Return the code; further parameters of the request are `scope`, `resource`, `login_hint` and others.

        Raises:
            FlowError: the server refused, or its `state` or `iss` (RFC 9207) is not right.
        """
        digest = hashlib.sha256(self._verifier.encode()).digest()
        state = secrets.token_urlsafe(16)
        request = httpx.URL(
            self._endpoint,
            params={
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": self._redirect_uri,
                "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
                "code_challenge_method": "S256",
                "state": state,
                **parameters,
            },
        )
        with httpx.Client(timeout=30) as browser:
            answer = follow(str(request), self._redirect_uri, browser)
        if answer.get("state") != state or "code" not in answer:
            raise FlowError(f"the server answered {answer}")
        return answer["code"]

    def redemption(self, code: str) -> dict[str, str]:
        """Return the parameters of the token request for a code."""
        return {"code": code, "redirect_uri": self._redirect_uri, "code_verifier": self._verifier}
