"""A provider for this machine: users say who they are, and nobody asks for a password.

It stands for GitHub, Google or the one of your organisation, and like these it knows the one client that was
registered by hand. It is for trying things out, and no more.
"""

import base64
import hashlib
import json
import os
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

ISSUER = os.environ.get("ISSUER", "http://127.0.0.1:9000")
CALLBACK = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000") + "/oauth/callback"
CLIENT = "notes:the-secret-of-notes"
USERS = {
    "ada": {"id": 1815, "name": "Ada", "team": "notes"},
    "grace": {"id": 1906, "name": "Grace", "team": "notes"},
    "eve": {"id": 666, "name": "Eve", "team": "others"},
}
CODES: dict[str, tuple[str, str]] = {}
"""The user and the PKCE challenge of each code."""
TOKENS: dict[str, str] = {}
"""The user of each access token."""

PAGE = """<!doctype html><title>Example Accounts</title><h1>Who are you?</h1>
<form method="post"><input name="name" autofocus> <button>Log in</button></form>"""


class Provider(BaseHTTPRequestHandler):
    """Answers the requests of browsers and of the server."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/authorize":
            self.answer(200, PAGE, "text/html; charset=utf-8")
        elif path == "/user" and (user := TOKENS.get(self.credentials("Bearer"))):
            self.answer(200, json.dumps(USERS[user]))
        else:
            self.answer(404, "{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = dict(parse_qsl(body.decode()))
        if urlsplit(self.path).path == "/token":
            self.give_token(form)
        else:
            self.log_in(dict(parse_qsl(urlsplit(self.path).query)), form.get("name", ""))

    def log_in(self, query: dict[str, str], name: str) -> None:
        """Send a user back to the server that has asked, with a code."""
        if query.get("redirect_uri") != CALLBACK or query.get("client_id") != CLIENT.partition(":")[0]:
            self.answer(400, "There is no such client.", "text/plain")
            return
        answer = {"error": "access_denied"}
        if name in USERS:
            code = secrets.token_urlsafe()
            CODES[code] = name, query.get("code_challenge", "")
            answer = {"code": code}
        self.send_response(303)
        self.send_header("Location", f"{CALLBACK}?{urlencode({**answer, 'state': query.get('state', '')})}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def give_token(self, form: dict[str, str]) -> None:
        """Give a token for a code, once."""
        user, challenge = CODES.pop(form.get("code", ""), ("", ""))
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        is_client = unquote_plus(base64.b64decode(self.credentials("Basic")).decode()) == CLIENT
        if not is_client or challenge != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            self.answer(400, json.dumps({"error": "invalid_grant"}))
            return
        token = secrets.token_urlsafe()
        TOKENS[token] = user
        self.answer(200, json.dumps({"access_token": token, "token_type": "Bearer"}))

    def credentials(self, scheme: str) -> str:
        """Return what is in the header `Authorization`; empty if it has another scheme."""
        name, _, credentials = self.headers.get("Authorization", "").partition(" ")
        return credentials if name == scheme else ""

    def answer(self, status: int, text: str, kind: str = "application/json") -> None:
        """Send a response."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", urlsplit(ISSUER).port or 80), Provider).serve_forever()
