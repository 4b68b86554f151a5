"""Logins and the check of authorization against real parts: a `ResourceServer`, and `oidc-provider`."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn

from enfilade import Context, MCPApp
from enfilade.auth import ResourceServer
from enfilade.client.connect import connect
from enfilade.client.login import token_file
from enfilade.client.login.options import LoginOptions
from enfilade.client.login.run import logged_in
from enfilade.lint.authorization.run import check_authorization
from support.authorization.oidc_provider import OidcProvider


@dataclass
class Notes:
    """The protected app, its URL and the browser of its user."""

    url: str
    logins: int = 0

    def open(self, url: str) -> bool:
        """Log in as somebody does who agrees to everything."""
        self.logins += 1
        with httpx.Client(follow_redirects=True, timeout=30) as browser:
            return browser.get(url).status_code == 200

    def options(self) -> LoginOptions:
        return LoginOptions(interactive=True, show=lambda text: None, open_browser=self.open, timeout=30)

    def call(self, tool: str, options: LoginOptions) -> str:
        """Log in where that is needed, call a tool, and return its text."""

        async def run() -> str:
            async with (
                logged_in(self.url, options) as auth,
                connect(self.url, http_auth=auth, timeout=30) as client,
            ):
                result = await client.call_tool(tool, {})
                return str(result.content[0].text)  # type: ignore[union-attr]

        return asyncio.run(run())


@pytest.fixture
def notes(oidc_provider: OidcProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notes]:
    monkeypatch.setattr(token_file, "data_folder", lambda: tmp_path / "data")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        oidc_provider.accept_resource(url)
        app = MCPApp("Notes", auth=ResourceServer(url, [oidc_provider.issuer], scopes=["notes:read"]))

        @app.tool
        def whoami(ctx: Context) -> str:
            """Say who calls."""
            return str(ctx.user_id)

        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))

        async def serve() -> None:
            async with app.running():
                await server.serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        yield Notes(url)
        server.should_exit = True
        thread.join(10)


def test_a_login_is_kept_and_refreshed(notes: Notes) -> None:
    """B10: dynamic registration, a code with PKCE and the resource, then a refresh without anybody."""
    subject = notes.call("whoami", notes.options())
    path = token_file.file_of(notes.url)
    login = json.loads(path.read_bytes())
    assert login["tokens"]["refresh_token"]
    path.write_text(json.dumps({**login, "expires_at": 1.0}), encoding="utf-8")
    assert notes.call("whoami", LoginOptions()) == subject
    assert notes.logins == 1
    assert json.loads(path.read_bytes())["tokens"]["access_token"] != login["tokens"]["access_token"]


def test_the_check_finds_no_problem(notes: Notes, oidc_provider: OidcProvider) -> None:
    """B1, B5: what a client needs is there, and a token of the provider is accepted."""
    token = oidc_provider.user_token("ada", ["notes:read"], notes.url)
    report = asyncio.run(check_authorization(notes.url, token=token, timeout=30))
    problems = [finding for step in report.steps for finding in step.findings if finding.level == "problem"]
    assert problems == []
    texts = [finding.text for step in report.steps for finding in step.findings]
    assert "the server accepts the token" in texts
    assert f"audience: {notes.url}" in texts


def test_the_check_names_what_a_token_lacks(notes: Notes, oidc_provider: OidcProvider) -> None:
    """B6: a token without the scopes of the server."""
    token = oidc_provider.user_token("ada", ["notes:write"], notes.url)
    report = asyncio.run(check_authorization(notes.url, token=token, timeout=30))
    texts = [finding.text for step in report.steps for finding in step.findings if finding.level == "problem"]
    assert any(text.startswith("403: the request needs notes:read") for text in texts), texts
