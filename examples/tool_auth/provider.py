"""Notebox, a service with OAuth 2.0 for this machine: it keeps notes, and gives tokens to who asks its user.

It stands for GitHub, Slack or a service of your own, and makes the same steps. It is for trying things out, and
no more: it has one user, who need not log in, the secret of its client is in this file, and nothing is kept.
"""

import base64
import hashlib
import hmac
import html
import json
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus, urlencode, urlsplit

import uvicorn

URL = os.environ.get("NOTEBOX", "http://127.0.0.1:9000")
CLIENTS = {"notes-server": "for-this-machine-alone"}
SCOPES = {"notes:read": "read your notes", "notes:write": "write and replace notes"}
#: Seconds for which an access token is good.
LIFETIME = float(os.environ.get("NOTEBOX_LIFETIME", "600"))
_MOST_BODY = 64 * 1024

Send = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, eq=False)
class Grant:
    """What the user has allowed a client; all tokens of one consent share it, and end with it."""

    client: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """An authorization request: at first a question to the user, and then what a code stands for."""

    client: str
    scopes: tuple[str, ...]
    redirect_uri: str
    state: str
    challenge: str
    ends_at: float


class RefusedError(Exception):
    """The answer is an error: its text is the code of RFC 6749."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.status = status


NOTES = {"shopping": "Tea, milk", "ideas": "A garden on the roof"}
QUESTIONS: dict[str, Asked] = {}
CODES: dict[str, Asked] = {}
REFRESH_TOKENS: dict[str, Grant] = {}
USED: dict[str, Grant] = {}
"""Refresh tokens that were used. Whoever brings one has stolen it, or was stolen from: its grant ends."""
ACCESS_TOKENS: dict[str, tuple[Grant, float]] = {}


# -- pages -------------------------------------------------------------------------------------------------------


def ask_user(query: Mapping[str, str]) -> str:
    """Return the page on which the user decides.

    Raises:
        RefusedError: the request is none of a known client, or has no PKCE.
    """
    redirect = urlsplit(query.get("redirect_uri", ""))
    # On a loopback address a client may have any port (RFC 8252 §7.3); elsewhere the whole URL would be compared.
    if redirect.hostname not in ("127.0.0.1", "::1", "localhost") or redirect.path != "/auth/callback":
        raise RefusedError("invalid_request")
    if query.get("client_id") not in CLIENTS or query.get("response_type") != "code":
        raise RefusedError("unauthorized_client")
    if query.get("code_challenge_method") != "S256" or not query.get("code_challenge"):
        raise RefusedError("invalid_request")
    scopes = tuple(scope for scope in query.get("scope", "").split() if scope in SCOPES)
    asked = Asked(
        query["client_id"],
        scopes,
        query["redirect_uri"],
        query.get("state", ""),
        query["code_challenge"],
        time.time() + 300,
    )
    id = secrets.token_urlsafe(32)
    QUESTIONS[id] = asked
    wishes = "".join(f"<li>{html.escape(SCOPES[scope])}</li>" for scope in scopes)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Notebox</title>
<h1>May {html.escape(asked.client)} use your Notebox?</h1>
<p>You are Ada. It would know your name{", and:" if wishes else "."}</p><ul>{wishes}</ul>
<form method="post"><input type="hidden" name="question" value="{id}">
<button name="answer" value="allow">Allow</button> <button name="answer" value="refuse">Refuse</button></form>"""


def decided(form: Mapping[str, str]) -> str:
    """Return where the browser goes back to, with a code or a refusal.

    Raises:
        RefusedError: nothing was asked.
    """
    asked = QUESTIONS.pop(form.get("question", ""), None)
    if asked is None or asked.ends_at < time.time():
        raise RefusedError("invalid_request")
    answer = {"error": "access_denied"}
    if form.get("answer") == "allow":
        code = secrets.token_urlsafe(32)
        CODES[code] = asked
        answer = {"code": code}
    return f"{asked.redirect_uri}?{urlencode({**answer, 'state': asked.state, 'iss': URL})}"


# -- tokens ------------------------------------------------------------------------------------------------------


def client_of(headers: Mapping[str, str]) -> str:
    """Return which client makes a request.

    Raises:
        RefusedError: none that is known.
    """
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(credentials, validate=True).decode()
    except ValueError:
        raise RefusedError("invalid_client", 401) from None
    client, _, secret = map(unquote_plus, decoded.partition(":"))
    known = CLIENTS.get(client, "")
    if scheme.lower() != "basic" or not known or not hmac.compare_digest(known.encode(), secret.encode()):
        raise RefusedError("invalid_client", 401)
    return client


def tokens_for(form: Mapping[str, str], client: str) -> dict[str, Any]:
    """Return tokens for a code, or for a refresh token; each is good for one request.

    Raises:
        RefusedError: it is not good, or no longer.
    """
    if form.get("grant_type") == "authorization_code":
        asked = CODES.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=")
        if (
            asked is None
            or asked.ends_at < time.time()
            or (asked.client, asked.redirect_uri) != (client, form.get("redirect_uri"))
            or not hmac.compare_digest(asked.challenge.encode(), challenge)
        ):
            raise RefusedError("invalid_grant")
        return new_tokens(Grant(client, asked.scopes))
    if form.get("grant_type") == "refresh_token":
        token = form.get("refresh_token", "")
        if token in USED:
            end(USED[token])
        grant = REFRESH_TOKENS.pop(token, None)
        if grant is None or grant.client != client:
            raise RefusedError("invalid_grant")
        USED[token] = grant
        return new_tokens(grant)
    raise RefusedError("unsupported_grant_type")


def new_tokens(grant: Grant) -> dict[str, Any]:
    """Return a token response."""
    access_token, refresh_token = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    ACCESS_TOKENS[access_token] = (grant, time.time() + LIFETIME)
    REFRESH_TOKENS[refresh_token] = grant
    return {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "refresh_token": refresh_token,
        "scope": " ".join(grant.scopes),
    }


def grant_of(token: str) -> Grant | None:
    """Return what an access token allows; None if it is not good."""
    grant, ends_at = ACCESS_TOKENS.get(token, (None, 0.0))
    return grant if ends_at > time.time() else None


def end(grant: Grant | None) -> None:
    """End all tokens of a consent."""
    for token in [token for token, of in REFRESH_TOKENS.items() if of is grant]:
        del REFRESH_TOKENS[token]
    for token in [token for token, (of, _) in ACCESS_TOKENS.items() if of is grant]:
        del ACCESS_TOKENS[token]


# -- the API -----------------------------------------------------------------------------------------------------


def called(method: str, path: str, body: str, headers: Mapping[str, str]) -> Any:
    """Return what the API answers.

    Raises:
        RefusedError: there is no such thing, or the token does not allow it.
    """
    grant = grant_of(headers.get("authorization", "").removeprefix("Bearer "))
    if grant is None:
        raise RefusedError("invalid_token", 401)
    match method, path.split("/"):
        case "GET", ["", "me"]:
            return {"name": "Ada"}
        case "GET", ["", "notes"] if "notes:read" in grant.scopes:
            return sorted(NOTES)
        case "PUT", ["", "notes", title] if "notes:write" in grant.scopes:
            NOTES[unquote(title)] = body
            return {"title": unquote(title)}
        case _, ["", "me" | "notes", *_]:
            raise RefusedError("insufficient_scope", 403)
    raise RefusedError("not_found", 404)


# -- HTTP --------------------------------------------------------------------------------------------------------


def answered(method: str, path: str, query: str, body: str, headers: Mapping[str, str]) -> Any:
    """Return the answer to a request: a page as text, where to go as a URL, or JSON.

    Raises:
        RefusedError: it is refused.
    """
    form = dict(parse_qsl(body))
    match method, path:
        case "GET", "/authorize":
            return ask_user(dict(parse_qsl(query)))
        case "POST", "/authorize":
            return decided(form)
        case "POST", "/token":
            return tokens_for(form, client_of(headers))
        case "POST", "/revoke":
            client_of(headers)
            token = form.get("token", "")
            end(REFRESH_TOKENS.get(token) or grant_of(token))
            return {}
    return called(method, path, body, headers)


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
    """Answer a request (ASGI)."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more and len(body) <= _MOST_BODY:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    path = scope["raw_path"].decode("latin-1")
    status, more_headers = 200, [(b"cache-control", b"no-store")]
    try:
        answer = answered(
            scope["method"],
            path,
            scope["query_string"].decode("latin-1"),
            body.decode("utf-8", "replace"),
            headers,
        )
    except RefusedError as refused:
        status, answer = refused.status, {"error": str(refused)}
    kind, content = b"application/json", json.dumps(answer).encode()
    if isinstance(answer, str) and scope["method"] == "POST":
        status, content = 303, b""
        more_headers.append((b"location", answer.encode()))
    elif isinstance(answer, str):
        kind, content = b"text/html; charset=utf-8", answer.encode()
    length = (b"content-length", str(len(content)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", kind), length, *more_headers],
        }
    )
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    # Without a log of requests: their URLs have codes.
    uvicorn.run(app, host="127.0.0.1", port=urlsplit(URL).port or 80, access_log=False)
