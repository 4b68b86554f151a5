"""The protected resource metadata (RFC 9728): where clients look for it, and what it must say.

Clients look at three places in this order: the URL of the challenge, the well-known path with the endpoint's path
behind it, and the well-known path alone. The first document that they can read is the one that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from enfilade.auth.metadata import WELL_KNOWN
from enfilade.auth.urls import check_url, normalized
from enfilade.lint.authorization.challenge import Challenge, judge_offline_access
from enfilade.lint.authorization.fetching import ORIGIN, Fetcher, Response
from enfilade.lint.authorization.report import Report, Step, quoted

Document = dict[str, Any]


def places(url: str, challenge: Challenge | None) -> list[tuple[str, str]]:
    """Return where the metadata of an endpoint is looked for: the name of the place, and its URL."""
    parts = urlsplit(url)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    found = [("the challenge's URL", challenge.parameters.get("resource_metadata", ""))] if challenge else []
    if path:
        found.append(("the well-known path of the endpoint", f"{origin}{WELL_KNOWN}{path}"))
    found.append(("the well-known path of the origin", f"{origin}{WELL_KNOWN}"))
    return [(name, place) for name, place in found if place]


async def read_resource_metadata(
    fetcher: Fetcher, report: Report, challenge: Challenge | None
) -> Document | None:
    """Look at every place, judge the first document, and return it; None if there is none.

    A server without authorization needs none, so its absence is no finding there.
    """
    documents: dict[str, tuple[Response, Document]] = {}
    absent: list[Response] = []
    where = places(report.url, challenge)
    step = Step("Protected resource metadata")
    for name, place in where:
        if place in documents:
            step.ok(f"{name} is the same: {quoted(place)}")
            continue
        response = await fetcher.fetch(place, headers={"Accept": "application/json", "Origin": ORIGIN})
        document = response.json_object() if response.status == 200 and not response.failure else None
        if document is not None and "resource" in document:
            documents[place] = response, document
            step.ok(f"{name}: {quoted(place)}")
        elif report.is_protected:
            absent.append(response)
            _judge_absence(step, name, response)
    if challenge is not None and report.is_protected and _are_of_keys(challenge, documents, absent):
        report.offers_login = False
        report.step(step.title).ok("there is none: no login is offered, so keys or ready tokens only")
        return None
    if documents or report.is_protected:
        report.steps.append(step)
    if not documents:
        if report.is_protected:
            step.problem(
                "no place has the metadata, so clients know no authorization server",
                f"serve it at {places(report.url, None)[0][1]} and name that URL in the challenge",
            )
        return None
    response, document = next(iter(documents.values()))
    _judge_sameness(step, [document for _, document in documents.values()])
    _judge_response(step, response)
    _judge_document(step, report.url, document)
    return document


def _are_of_keys(challenge: Challenge, documents: Mapping[str, object], absent: list[Response]) -> bool:
    """Whether nothing says that there is a login, as at a server of API keys, which needs no metadata."""
    are_not_there = all(not response.failure and response.status in (404, 405, 410) for response in absent)
    return "resource_metadata" not in challenge.parameters and not documents and are_not_there


def _judge_absence(step: Step, name: str, response: Response) -> None:
    """Judge a place without a document: the challenge's URL must have one, and so should one of the others."""
    reason = (
        response.describe() if response.failure or response.status != 200 else "no JSON object with `resource`"
    )
    text = f"{name}: {quoted(reason)} ({quoted(response.url)})"
    if 300 <= response.status < 400:
        step.problem(text, "serve the document itself there: clients follow no redirects to other hosts")
    elif name.startswith("the challenge"):
        step.problem(text, "name a URL that clients reach: the public one, not that behind a proxy")
    elif name.endswith("endpoint"):
        step.warning(text, "serve the metadata there too, for clients that do not read the challenge")
    else:
        step.ok(f"{text}; optional")


def _judge_sameness(step: Step, documents: list[Document]) -> None:
    if any(document != documents[0] for document in documents):
        step.warning("the places have different documents", "serve the same one at all of them")


def _judge_response(step: Step, response: Response) -> None:
    kind = response.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        step.warning(f"its type is {quoted(kind) or 'not named'}", "send Content-Type: application/json")
    allowed = response.headers.get("access-control-allow-origin")
    if allowed == "*":
        step.ok("CORS: any origin may read it")
    else:
        step.warning(
            "browser clients cannot read it (CORS)",
            "add Access-Control-Allow-Origin: * to it; it has no secrets",
        )


def _judge_document(step: Step, url: str, document: Document) -> None:
    _judge_resource(step, url, document["resource"])
    servers = document.get("authorization_servers")
    if not _texts(servers) or not servers:
        step.problem(
            f"authorization_servers is {quoted(servers)}",
            'list at least one issuer, such as ["https://idp.example.com"]',
        )
    scopes = document.get("scopes_supported")
    if scopes is not None and not _texts(scopes):
        step.problem(f"scopes_supported is {quoted(scopes)}", "make it a list of texts")
    elif scopes:
        step.ok(f"scopes_supported: {quoted(' '.join(scopes))}")
        judge_offline_access(step, scopes, "scopes_supported")
    methods = document.get("bearer_methods_supported", ["header"])
    if methods != ["header"]:
        step.warning(
            f"bearer_methods_supported is {quoted(methods)}",
            'make it ["header"]: MCP clients send tokens in no other way',
        )


def _judge_resource(step: Step, url: str, resource: object) -> None:
    """Judge `resource`, the audience of the tokens that clients get: it must be the URL that they call."""
    if not isinstance(resource, str):
        step.problem(f"resource is {quoted(resource)}", f'make it the URL that clients call: "{url}"')
        return
    if normalized(resource) == normalized(url):
        step.ok(f"resource is the URL that was called: {quoted(resource)}")
        return
    text = f"resource is {quoted(resource)}, and the URL that was called is {url}"
    fix = f'set ResourceServer("{url}", …) to the URL that clients call, or call the server by its resource'
    if _is_above(resource, url):
        step.warning(f"{text}; clients that compare the whole URL refuse it", fix)
    else:
        step.problem(text, fix)
    try:
        check_url(resource, "resource")
    except ValueError as error:
        step.problem(quoted(str(error)), "give the public URL of the endpoint, by https")


def _is_above(resource: str, url: str) -> bool:
    """Whether a URL is on the same origin as another, and above it."""
    return f"{normalized(url)}/".startswith(f"{normalized(resource)}/")


def _texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def authorization_servers(document: Document | None) -> list[str]:
    """Return the issuers that a document lists, each once."""
    servers = [] if document is None else document.get("authorization_servers")
    return list(dict.fromkeys(servers)) if isinstance(servers, list) and _texts(servers) else []
