"""The paths of the proxy, in the app and at the root of a host."""

from typing import Final

#: Before the names of the endpoints.
PREFIX: Final = "/oauth/"
ENDPOINTS: Final = ("authorize", "consent", "callback", "token", "register", "revoke")
WELL_KNOWN: Final = "/.well-known/"
#: Documents that are the metadata of the authorization server (RFC 8414 §3, OpenID Connect Discovery §4).
DOCUMENTS: Final = ("oauth-authorization-server", "openid-configuration")
#: All of them, as a regular expression for the router of a host.
LOGIN_PATHS: Final = rf"^(?:{PREFIX}(?:{'|'.join(ENDPOINTS)})|{WELL_KNOWN}(?:{'|'.join(DOCUMENTS)})(?:/.*)?)$"
