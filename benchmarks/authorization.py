"""Access tokens for the rows of servers that want one, and what such a server has to know to verify them.

The signatures are real, by a key that is made for the run; the server gets the public key alone. The easy thing
to get wrong is a server that verifies nothing: `FORGED` is checked to be refused before any load.
"""

import json
from typing import Final

from enfilade.testing import Issuer

RESOURCE: Final = "https://mcp.example.com/mcp"
_LASTING: Final = 86_400.0  # seconds for which a token holds: longer than any run

_issuer: Final = Issuer(audience=RESOURCE)


def _token() -> str:
    return _issuer.token("ada", scopes=["notes:read", "notes:write"], expires_in=_LASTING)


#: Signed with ES256, as an authorization server would: RFC 9068.
TOKEN: Final = _token()
#: The same claims with the signature of other claims.
FORGED: Final = f"{TOKEN.rpartition('.')[0]}.{_token().rpartition('.')[2]}"


def variables() -> dict[str, str]:
    """Return the environment variables of a server that wants a token."""
    return {
        "BENCH_ISSUER": _issuer.url,
        "BENCH_RESOURCE": RESOURCE,
        "BENCH_KEYS": json.dumps(_issuer.jwks()),
    }
