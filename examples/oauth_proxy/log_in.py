"""Log in as a client does, with a user who needs no browser, and print the access token.

    python log_in.py NAME "SCOPE SCOPE"

The steps are those of every host: read the metadata, register, send the user to the server, redeem the code.
"""

import base64
import hashlib
import os
import re
import secrets
import sys
from urllib.parse import parse_qsl, urlsplit

import httpx

PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
REDIRECT_URI = "http://127.0.0.1:1/callback"


def agree(url: str, name: str) -> dict[str, str]:
    """Do what a user does in a browser: agree to the client, and log in at the provider."""
    with httpx.Client() as browser:
        response = browser.get(url)
        while not response.headers.get("location", "").startswith(REDIRECT_URI):
            if response.is_redirect:
                response = browser.get(response.headers["location"])
                continue
            action = re.search(r'action="([^"]*)"', response.text)
            hidden = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', response.text))
            fields = {**hidden, "decision": "allow"} if hidden else {"name": name}
            response = browser.post(action[1] if action else response.url, data=fields)
            if response.is_error:
                response.raise_for_status()
    return dict(parse_qsl(urlsplit(response.headers["location"]).query))


def main(name: str, scope: str) -> int:
    """Print the token, or what is wrong."""
    metadata = httpx.get(f"{PUBLIC_URL}/.well-known/oauth-authorization-server").raise_for_status().json()
    client = {
        "client_name": "log_in.py",
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": "none",
    }
    registered = httpx.post(metadata["registration_endpoint"], json=client).raise_for_status().json()
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    request = {
        "response_type": "code",
        "client_id": registered["client_id"],
        "redirect_uri": REDIRECT_URI,
        "scope": scope,
        "resource": f"{PUBLIC_URL}/mcp",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    answer = agree(str(httpx.URL(metadata["authorization_endpoint"], params=request)), name)
    if "code" not in answer:
        print(f"{answer['error']}: {answer['error_description']}", file=sys.stderr)
        return 1
    form = {
        "grant_type": "authorization_code",
        "code": answer["code"],
        "client_id": registered["client_id"],
        "redirect_uri": REDIRECT_URI,
        "code_verifier": verifier,
    }
    print(httpx.post(metadata["token_endpoint"], data=form).raise_for_status().json()["access_token"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
