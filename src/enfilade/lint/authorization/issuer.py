"""An authorization server: its metadata (RFC 8414, OpenID Connect discovery), its keys, its ways to register.

The places of the metadata are those that MCP clients try, in their order. A client refuses a server whose
`issuer` is another one, and one that does not say that it supports PKCE by SHA-256.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Final

from enfilade.auth.discovery import metadata_urls
from enfilade.auth.jwks import PRIVATE_MEMBERS
from enfilade.auth.servers import ALGORITHMS
from enfilade.auth.urls import check_url
from enfilade.lint.authorization.fetching import Fetcher
from enfilade.lint.authorization.report import Report, Step, quoted

Document = dict[str, Any]

#: Most keys that are looked at.
_MOST_KEYS: Final = 100


async def read_issuer(fetcher: Fetcher, report: Report, issuer: str) -> tuple[Document, list[Document]] | None:
    """Judge an issuer, and return its metadata and its keys; None if it has no metadata."""
    step = report.step(f"Authorization server {quoted(issuer)}")
    if not _is_safe(step, issuer, "the issuer"):
        return None
    places = list(metadata_urls(issuer))
    for place in places:
        response = await fetcher.fetch(place, headers={"Accept": "application/json"})
        document = response.json_object() if response.status == 200 and not response.failure else None
        if document is not None:
            step.ok(f"metadata: {place}")
            _judge_metadata(step, issuer, document)
            return document, await _read_keys(fetcher, step, document)
        if response.failure or response.status >= 500:
            step.problem(f"{place}: {quoted(response.describe())}", "see whether the authorization server runs")
            return None
    step.problem(
        f"no metadata at {', '.join(places)}",
        "name the issuer in authorization_servers exactly as the server's own metadata does",
    )
    return None


def _judge_metadata(step: Step, issuer: str, document: Document) -> None:
    if document.get("issuer") == issuer:
        step.ok("issuer is the one that was named")
    else:
        step.problem(
            f"its issuer is {quoted(document.get('issuer'))}, and the resource names {quoted(issuer)}",
            "write the issuer in authorization_servers exactly so, with or without the slash at its end",
        )
    _judge_endpoints(step, document)
    methods = _texts(document.get("code_challenge_methods_supported"))
    if "S256" in methods:
        step.ok("PKCE by S256")
    elif _grants(document, "authorization_code"):
        step.problem(
            f"code_challenge_methods_supported is {quoted(document.get('code_challenge_methods_supported'))}",
            'it must list "S256": clients refuse a server that does not say so',
        )
    _judge_registration(step, document)
    if not document.get("authorization_response_iss_parameter_supported"):
        step.warning(
            "it does not say that it sends `iss` with its responses (RFC 9207)",
            "turn that on if the server can: it keeps clients from mixing up authorization servers",
        )


def _judge_endpoints(step: Step, document: Document) -> None:
    needed = ["token_endpoint"]
    if _grants(document, "authorization_code"):
        needed.insert(0, "authorization_endpoint")
    for name in needed:
        if not isinstance(document.get(name), str):
            step.problem(f"it has no {name}", f"add {name} to the metadata")
    for name in (*needed, "registration_endpoint", "device_authorization_endpoint", "jwks_uri"):
        if isinstance(document.get(name), str):
            _is_safe(step, document[name], name)
    grants = document.get("grant_types_supported")
    if grants is not None:
        step.ok(f"grants: {quoted(', '.join(map(_short_grant, _texts(grants))))}")


def _short_grant(grant: str) -> str:
    return grant.removeprefix("urn:ietf:params:oauth:grant-type:")


def _judge_registration(step: Step, document: Document) -> None:
    """Judge how a client that nobody has registered becomes a client."""
    methods = _texts(document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]))
    by_document = document.get("client_id_metadata_document_supported") is True
    dynamic = isinstance(document.get("registration_endpoint"), str)
    ways = [name for name, on in (("client id metadata documents", by_document), ("dynamic", dynamic)) if on]
    if ways:
        step.ok(f"registration: {', '.join(ways)}")
    else:
        step.warning(
            "clients cannot register: neither client_id_metadata_document_supported nor registration_endpoint",
            "turn one on, or register each client by hand and give its users the client id",
        )
    step.ok(f"token_endpoint_auth_methods_supported: {quoted(', '.join(methods))}")
    if by_document and "none" not in methods:
        step.warning(
            'token_endpoint_auth_methods_supported lacks "none"',
            "list it: clients with a metadata document have no secret, and some look for it",
        )


async def _read_keys(fetcher: Fetcher, step: Step, document: Document) -> list[Document]:
    """Judge the keys of a server, and return those that can be used."""
    uri = document.get("jwks_uri")
    if not isinstance(uri, str):
        if "introspection_endpoint" in document:
            step.ok("no jwks_uri: its tokens are checked by introspection")
        else:
            step.problem("it has no jwks_uri", "add jwks_uri, or an introspection_endpoint for opaque tokens")
        return []
    response = await fetcher.fetch(uri, headers={"Accept": "application/json"})
    keys = None if response.failure or response.status != 200 else (response.json_object() or {}).get("keys")
    if not isinstance(keys, list):
        step.problem(
            f"keys at {quoted(uri)}: {quoted(response.describe())}"
            + ("" if response.failure or response.status != 200 else ", with no list of keys"),
            "serve a JWK set there (RFC 7517)",
        )
        return []
    usable = [key for key in keys[:_MOST_KEYS] if _is_usable(step, key)]
    if usable:
        kinds = ", ".join(
            sorted({key.get("alg") or f"{key['kty']} {key.get('crv', '')}".strip() for key in usable})
        )
        step.ok(f"keys: {len(usable)} of {len(keys)} can be used ({quoted(kinds)})")
    else:
        step.problem(
            f"none of its {len(keys)} keys can be used", f"publish a key for one of {', '.join(ALGORITHMS)}"
        )
    if len(usable) > 1 and any(not key.get("kid") for key in usable):
        step.warning("several keys, and some have no `kid`", "give each key one, so that a token can name it")
    return usable


def _is_usable(step: Step, key: object) -> bool:
    """Whether a key verifies signatures of access tokens."""
    if not isinstance(key, dict):
        return False
    name = quoted(key.get("kid", "without kid"))
    if PRIVATE_MEMBERS & key.keys():
        step.problem(
            f"the key {name} is published with its secret part",
            "replace this key at once: everybody can sign with it",
        )
        return False
    if key.get("use", "sig") != "sig" or key.get("alg", ALGORITHMS[0]) not in ALGORITHMS:
        return False
    try:
        return _imported(key)
    except (ValueError, TypeError) as error:
        step.warning(f"the key {name} cannot be read: {quoted(str(error))}", "publish a valid JWK, or remove it")
        return False


def _imported(key: Mapping[str, Any]) -> bool:
    """Import a key.

    Raises:
        TypeError, ValueError: it is no key.
    """
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weak keys
            JWKRegistry.import_key(dict(key))
    except JoseError as error:
        raise ValueError(error.description or error.error) from None
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    return True


def _is_safe(step: Step, url: str, name: str) -> bool:
    try:
        check_url(url, name)
    except ValueError as error:
        step.problem(quoted(str(error)), "serve it by https")
        return False
    return True


def _grants(document: Document, grant: str) -> bool:
    """Whether a server offers a grant; by default it does (RFC 8414 §2)."""
    grants = document.get("grant_types_supported")
    return not isinstance(grants, list) or grant in grants


def _texts(values: object) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
