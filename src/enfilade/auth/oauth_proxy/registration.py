"""Dynamic client registration (RFC 7591), of which nothing is kept: the id of a client is its registration,
sealed.

What a client says is data of a stranger. Only what is needed goes into the id; logos, links and all else are left
out, so that no page ever shows them.
"""

import time
from collections.abc import Collection
from typing import Any, Final

import msgspec

from enfilade.auth.oauth_proxy.clients import METHODS, MOST_CHARACTERS, Clients
from enfilade.auth.oauth_proxy.documents import MOST_NAME
from enfilade.auth.oauth_proxy.redirects import fault_of_redirect
from enfilade.auth.oauth_proxy.sealed import CLIENT_PREFIX, Codec, Registration
from enfilade.auth.pages.page import plain
from enfilade.auth.pages.requests import OAuthError

#: Bytes of a registration request.
MOST_BYTES: Final = 16 * 1024
_MOST_REDIRECTS: Final = 10
_UNNAMED: Final = "a client without a name"


class Registrations:
    """Registers clients.

    Args:
        grant_types: that clients may have.
        schemes: private-use schemes without a dot that redirect URIs may have.
    """

    def __init__(
        self, codec: Codec, clients: Clients, grant_types: Collection[str], schemes: Collection[str]
    ) -> None:
        self._codec, self._clients = codec, clients
        self._grant_types, self._schemes = grant_types, schemes

    def register(self, body: bytes) -> dict[str, Any]:
        """Return the response to a registration.

        Raises:
            OAuthError: `invalid_redirect_uri` or `invalid_client_metadata` (RFC 7591 §3.2.2).
        """
        metadata = _read(body)
        method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in METHODS:
            raise _bad(f"token_endpoint_auth_method must be one of {', '.join(METHODS)}")
        grant_types = self._granted(metadata)
        has_logins = "authorization_code" in grant_types
        uris = self._redirect_uris(metadata) if has_logins or metadata.get("redirect_uris") else []
        name = plain(_text(metadata, "client_name"), MOST_NAME) or _UNNAMED
        created_at = int(time.time())
        sealed = self._codec.seal(Registration(name, uris, method, created_at))
        client_id = CLIENT_PREFIX + sealed
        if len(client_id) > MOST_CHARACTERS:
            raise OAuthError("invalid_redirect_uri", "the redirect URIs are too long together")
        response: dict[str, Any] = {
            "client_id": client_id,
            "client_id_issued_at": created_at,
            "client_name": name,
            "redirect_uris": uris,
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        }
        if method != "none":
            response |= {"client_secret": self._clients.secret_of(client_id), "client_secret_expires_at": 0}
        return response

    def _redirect_uris(self, metadata: dict[str, Any]) -> list[str]:
        uris = metadata.get("redirect_uris")
        if not isinstance(uris, list) or not 0 < len(uris) <= _MOST_REDIRECTS:
            raise OAuthError("invalid_redirect_uri", f"redirect_uris is not a list of 1 to {_MOST_REDIRECTS}")
        for uri in uris:
            if fault := fault_of_redirect(uri, self._schemes):
                raise OAuthError("invalid_redirect_uri", f"a redirect URI {fault}")
        return list(dict.fromkeys(uris))

    def _granted(self, metadata: dict[str, Any]) -> list[str]:
        """Return the grant types of a client: those that it asks for and that there are (RFC 7591 §2)."""
        grant_types = metadata.get("grant_types", ["authorization_code"])
        response_types = metadata.get("response_types", ["code"])
        if not isinstance(grant_types, list) or not isinstance(response_types, list):
            raise _bad("grant_types and response_types are lists")
        if "code" not in response_types:
            raise _bad("response_types needs code")
        granted = [name for name in grant_types if isinstance(name, str) and name in self._grant_types]
        if not granted:
            raise _bad(f"grant_types has none of {', '.join(self._grant_types)}")
        return list(dict.fromkeys(granted))


def _read(body: bytes) -> dict[str, Any]:
    if len(body) > MOST_BYTES:
        raise OAuthError("invalid_client_metadata", f"the body has more than {MOST_BYTES} bytes", 413)
    try:
        metadata = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise _bad("the body is no JSON object")
    return metadata


def _text(metadata: dict[str, Any], name: str) -> str:
    value = metadata.get(name, "")
    if not isinstance(value, str):
        raise _bad(f"{name} is no text")
    return value


def _bad(description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description)
