"""Get an access token from the authorization server, as a client that acts for itself, and print it.

    python get_token.py CLIENT "SCOPE SCOPE"

The secret of the client is that of issuer.py, unless CLIENT_SECRET has another one.
"""

import os
import sys

import httpx

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:9000")
RESOURCE = os.environ.get("RESOURCE", "http://127.0.0.1:8000/mcp")


def main(client: str, scope: str) -> int:
    """Print the token, or what is wrong."""
    metadata = httpx.get(f"{ISSUER}/.well-known/openid-configuration").raise_for_status().json()
    response = httpx.post(
        metadata["token_endpoint"],
        data={"grant_type": "client_credentials", "scope": scope, "resource": RESOURCE},
        auth=(client, os.environ.get("CLIENT_SECRET", f"the-secret-of-{client}")),
    )
    if response.is_error:
        print(response.text, file=sys.stderr)
        return 1
    print(response.json()["access_token"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
