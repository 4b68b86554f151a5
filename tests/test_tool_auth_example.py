"""A21: the example of tool authorization does what its README says, and its provider is no kinder than others."""

import asyncio
import importlib.util
import re
import sqlite3
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from enfilade.testing import connect
from support.docs.readme_commands import ReadmeReader
from support.servers.processes import ROOT

EXAMPLE = ROOT / "examples" / "tool_auth"
README = (EXAMPLE / "README.md").read_text("utf-8")
CALLBACK = "http://127.0.0.1:8000/auth/callback"
VERIFIER = "a-verifier-of-the-tests-that-is-long-enough-for-rfc-7636"
CHALLENGE = "i5I6XccOe8s820S0DzL37XPBKcJfnptA3J9k4aEYVpI"
AUTH = ("notes-server", "for-this-machine-alone")


def module_of(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a file of the example as a new module."""
    spec = importlib.util.spec_from_file_location(f"tool_auth_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


# -- the README --------------------------------------------------------------------------------------------------


def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    """A21, A3, A8, A16, A17: from the question through consent to the result, a restart, and revocation."""
    database = tmp_path / "state.db"
    variables = {"NOTEBOX": "http://127.0.0.1:9000", "ENFILADE_STORE": f"sqlite:///{database}"}
    reader = ReadmeReader(EXAMPLE, variables)
    assert reader.follow(README.partition("## With Reddit")[0]) >= 12
    with sqlite3.connect(database) as connection:  # it was this store, and not one beside the example
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    assert not (EXAMPLE / "state.db").exists()


def test_the_readme_names_every_tool_and_file() -> None:
    for name in ("list_notes", "write_note", "whoami", "disconnect"):
        assert f"| `{name}` |" in README
    for name in ("greet", "key_in_use", "newest_posts"):
        assert f"`{name}`" in README
    links = {link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")}
    assert {path.name for path in EXAMPLE.glob("*.py")} == links


def test_is_a_project_of_its_own() -> None:
    settings = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))
    assert settings["project"]["dependencies"] == ["enfilade[auth]"]
    files = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert sorted(files) == sorted(path.name for path in EXAMPLE.glob("*.py"))


# -- its provider ------------------------------------------------------------------------------------------------


class Notebox:
    """The provider of the example, in this process."""

    def __init__(self, app: Any) -> None:
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:9000", follow_redirects=False
        )

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self.client.request(method, path, **options))

    def ask(self, **parameters: str) -> httpx.Response:
        query = {
            "response_type": "code",
            "client_id": AUTH[0],
            "redirect_uri": CALLBACK,
            "state": "a state",
            "scope": "notes:read",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return self("GET", "/authorize", params={**query, **parameters})

    def code(self, answer: str = "allow") -> dict[str, str]:
        """Return the parameters of the redirect behind a decision."""
        question = re.search(r'name="question" value="([^"]+)"', self.ask().text)
        assert question is not None
        response = self("POST", "/authorize", data={"question": question[1], "answer": answer})
        assert response.status_code == 303
        url = urlsplit(response.headers["location"])
        assert f"{url.scheme}://{url.netloc}{url.path}" == CALLBACK
        return dict(parse_qsl(url.query))

    def redeem(self, code: str, auth: tuple[str, str] = AUTH, **fields: str) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        return self("POST", "/token", data={**form, "code_verifier": VERIFIER, **fields}, auth=auth)

    def refresh(self, token: str) -> httpx.Response:
        return self("POST", "/token", data={"grant_type": "refresh_token", "refresh_token": token}, auth=AUTH)

    def notes(self, token: str) -> httpx.Response:
        return self("GET", "/notes", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
def notebox(monkeypatch: pytest.MonkeyPatch) -> Notebox:
    return Notebox(module_of("provider", monkeypatch).app)


def test_the_provider_checks_pkce_and_a_code_is_good_once(notebox: Notebox) -> None:
    """A21."""
    answer = notebox.code()
    assert (answer["state"], answer["iss"]) == ("a state", "http://127.0.0.1:9000")
    wrong = notebox.redeem(answer["code"], code_verifier="another")
    assert (wrong.status_code, wrong.json()) == (400, {"error": "invalid_grant"})
    assert notebox.redeem(answer["code"]).json() == {"error": "invalid_grant"}  # it has ended by that
    code = notebox.code()["code"]
    assert notebox.redeem(code, auth=("notes-server", "guessed")).status_code == 401
    tokens = notebox.redeem(code).json()
    assert notebox.notes(tokens["access_token"]).json() == ["ideas", "shopping"]
    assert notebox.redeem(code).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_challenge": ""},
        {"code_challenge_method": "plain"},
        {"client_id": "another"},
        {"response_type": "token"},
        {"redirect_uri": "https://attacker.example/auth/callback"},
        {"redirect_uri": "http://127.0.0.1:8000/elsewhere"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_provider_asks_for_nobody_else(notebox: Notebox, wrong: dict[str, str]) -> None:
    assert notebox.ask(**wrong).status_code == 400


def test_a_user_may_refuse(notebox: Notebox) -> None:
    assert notebox.code("refuse")["error"] == "access_denied"


def test_refresh_tokens_rotate_and_a_stolen_one_ends_all(notebox: Notebox) -> None:
    """A21, A14."""
    first = notebox.redeem(notebox.code()["code"]).json()
    second = notebox.refresh(first["refresh_token"]).json()
    assert notebox.notes(second["access_token"]).status_code == 200
    assert notebox.refresh(first["refresh_token"]).json() == {"error": "invalid_grant"}
    assert notebox.refresh(second["refresh_token"]).json() == {"error": "invalid_grant"}
    assert notebox.notes(second["access_token"]).status_code == 401


def test_revocation_ends_one_consent_and_no_other(notebox: Notebox) -> None:
    """A21, A17."""
    tokens, others = (notebox.redeem(notebox.code()["code"]).json() for _ in range(2))
    form = {"token": tokens["refresh_token"]}
    assert notebox("POST", "/revoke", data=form).status_code == 401
    assert notebox("POST", "/revoke", data=form, auth=AUTH).status_code == 200
    assert notebox.notes(tokens["access_token"]).status_code == 401
    assert notebox.notes(others["access_token"]).status_code == 200


# -- Reddit ------------------------------------------------------------------------------------------------------

LISTING = {
    "data": {
        "children": [
            {
                "data": {
                    "title": "Tea & biscuits",
                    "author": "ada",
                    "num_comments": 3,
                    "permalink": "/r/tea/comments/1/tea/",
                    "score": 9,
                }
            }
        ]
    }
}


@contextmanager
def reddit(answer: httpx.Response, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, list[httpx.Request]]]:
    """Yield the second server, and the requests that it makes to Reddit, all of which get one answer."""
    requests: list[httpx.Request] = []

    def answered(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return answer

    monkeypatch.setenv("SIGNING_KEY", "a key of this test")
    module = module_of("reddit", monkeypatch)
    client = module.http_client

    def mocked() -> httpx.AsyncClient:
        made: httpx.AsyncClient = client()
        made._transport = httpx.MockTransport(answered)
        return made

    monkeypatch.setattr(module, "http_client", mocked)
    yield module.app, requests


def call(app: Any, tool: str, **arguments: Any) -> Any:
    async def made() -> Any:
        async with connect(app, auth={"reddit": "a token of this test"}) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(made())


def test_reddit_is_asked_with_the_token_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A20, A21."""
    with reddit(httpx.Response(200, json=LISTING), monkeypatch) as (app, requests):
        result = call(app, "newest_posts", subreddit="tea", limit=1)
    post = {"title": "Tea & biscuits", "author": "ada", "comments": 3}
    url = "https://www.reddit.com/r/tea/comments/1/tea/"
    assert result.structured_content == {"result": [{**post, "url": url}]}
    (request,) = requests
    assert str(request.url) == "https://oauth.reddit.com/r/tea/new?limit=1&raw_json=1"
    assert request.headers["authorization"] == "Bearer a token of this test"
    assert request.headers["user-agent"].startswith("enfilade-example/")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_what_reddit_refuses_is_told(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with reddit(httpx.Response(status), monkeypatch) as (app, _):
        result = call(app, "newest_posts", subreddit="tea")
    assert result.is_error
    text = result.content[0].text
    assert "internal error" not in text, text
    assert "a token of this test" not in text


@pytest.mark.parametrize("subreddit", ["../../api/v1/me", "r/tea", "a", "tea?x=1", ""])
def test_a_subreddit_is_no_path(subreddit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with reddit(httpx.Response(200, json=LISTING), monkeypatch) as (app, requests):
        assert call(app, "newest_posts", subreddit=subreddit).is_error
    assert requests == []


def test_the_other_tools_need_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    with reddit(httpx.Response(500), monkeypatch) as (app, requests):
        assert call(app, "greet", name="Ada").content[0].text == "Good day, Ada."
        shown = call(app, "key_in_use").content[0].text
    assert re.fullmatch(r"[0-9a-f]{12}", shown)
    assert requests == []
