"""An authorization server for this machine: clients get tokens for themselves, and nobody logs in.

It stands for the one of your organisation, and makes the same tokens. It is for trying things out, and no more:
its clients and their secrets stand in this file, and it has other keys each time it starts.
"""

import os
from urllib.parse import urlsplit

import uvicorn

from enfilade.testing import Issuer

issuer = Issuer(
    os.environ.get("ISSUER", "http://127.0.0.1:9000"),
    scopes=["notes:read", "notes:write"],
    clients={"ada": "the-secret-of-ada", "bob": "the-secret-of-bob"},
)

if __name__ == "__main__":
    uvicorn.run(issuer.app, host="127.0.0.1", port=urlsplit(issuer.url).port or 80)
