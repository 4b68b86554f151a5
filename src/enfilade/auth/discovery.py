"""The metadata of an authorization server: RFC 8414, and OpenID Connect discovery."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from enfilade.auth.http_client import FetchError, get_json
from enfilade.auth.urls import check_url, origin_of

log = logging.getLogger("enfilade.auth")

_OAUTH: Final = "/.well-known/oauth-authorization-server"
_OPENID: Final = "/.well-known/openid-configuration"


def metadata_urls(issuer: str) -> Iterator[str]:
    """Yield where an issuer's metadata may be, in the order in which it is looked for.

    RFC 8414 §3 puts the well-known part before the path of the issuer, OpenID Connect Discovery §4 after it, and
    RFC 8414 §5 allows that of OpenID Connect before it as well.
    """
    parts = urlsplit(issuer)
    origin, path = origin_of(parts, parts.port), parts.path.rstrip("/")
    yield f"{origin}{_OAUTH}{path}"
    yield f"{origin}{_OPENID}{path}"
    if path:
        yield f"{origin}{path}{_OPENID}"


async def find_metadata(client: httpx.AsyncClient, issuer: str, *, needed: str) -> Mapping[str, Any]:
    """Return the first metadata of an issuer that has a field.

    Raises:
        FetchError: there is none; the text has what is wrong at each URL.
    """
    faults = []
    for url in metadata_urls(issuer):
        try:
            metadata = (await get_json(client, url)).value
        except FetchError as error:
            faults.append(f"{url}: {error}")
            if error.status is None:
                break  # the same server would not answer at the other URLs either
            continue
        fault = _fault_of(metadata, issuer, needed)
        if not fault:
            return dict(metadata)
        faults.append(f"{url}: {fault}")
    raise FetchError("; ".join(faults))


def _fault_of(metadata: object, issuer: str, needed: str) -> str:
    if not isinstance(metadata, dict):
        return "the metadata is no JSON object"
    if metadata.get("issuer") != issuer:
        # RFC 8414 §3.3: metadata of another issuer must not be used.
        return (
            f"its issuer is {_short(metadata.get('issuer'))}, but {issuer!r} is configured, which must be equal"
        )
    if not isinstance(metadata.get(needed), str):
        return f"the metadata has no {needed}"
    return ""


def _short(value: object) -> str:
    """Return a value of a stranger for the log: printable, and not longer than a URL is."""
    return ascii(value) if not isinstance(value, str) else ascii(value[:200])


async def find_jwks_uri(client: httpx.AsyncClient, issuer: str) -> str:
    """Return where the keys of an issuer are, as its metadata says.

    Raises:
        FetchError: there is no metadata, it is of another issuer, or the URL is not https (R-617).
    """
    metadata = await find_metadata(client, issuer, needed="jwks_uri")
    try:
        url = check_url(metadata["jwks_uri"], "jwks_uri")
    except ValueError:
        raise FetchError("its metadata has a jwks_uri that is no https URL") from None
    if issuer.lower().startswith("https:") and not url.lower().startswith("https:"):
        raise FetchError("its metadata has a jwks_uri with http, but the issuer has https")
    return url
