"""The commands that connect to a URL log in at a terminal; without one they say what to do (exit status 2)."""

import os
import sys
from pathlib import Path

import pytest

from support.authorization.person import Person, call as login
from support.authorization.protected_server import CLIENT, SECRET, ProtectedServer
from support.cli.runner import SHOP, CommandLine, at_terminal
from support.cli.terminal import needs_terminal
from support.waiting import eventually

#: Opens a page as a browser does, and stores what it shows.
BROWSER = """
import sys, urllib.request
page = urllib.request.urlopen(sys.argv[2], timeout=10).read()
open(sys.argv[1], "wb").write(page)
"""


@pytest.fixture
def server(protected_server: ProtectedServer) -> ProtectedServer:
    return protected_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a user without logins, for this process as well."""
    (tmp_path / "browser.py").write_text(BROWSER, encoding="utf-8")
    variables = {name: str(tmp_path) for name in ("HOME", "XDG_DATA_HOME", "LOCALAPPDATA")}
    variables["BROWSER"] = f"{sys.executable} {tmp_path / 'browser.py'} {tmp_path / 'page.html'} %s"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


VERBS = {
    "call": (["note", "text=a"], "noted: a"),
    "inspect": ([], "Notes 1.0.0"),
    "check": (["--fail-on", "error"], "stateless and session"),
}


@needs_terminal
def test_a_login_at_a_terminal_is_for_all_verbs(
    server: ProtectedServer, home: dict[str, str], run_cli: CommandLine, tmp_path: Path
) -> None:
    result = at_terminal(["call", server.url, "note", "text=a"], [], home)
    assert (result.status, result.out) == (0, "noted: a\n")
    assert "wants a login. It opens in your browser" in result.err
    assert f"\n{server.issuer}/authorization?response_type=code&" in result.err  # in one piece
    page = tmp_path / "page.html"
    eventually(lambda: page.exists() and "You may close this window." in page.read_text(encoding="utf-8"))
    for verb, (arguments, expected) in VERBS.items():
        result = run_cli(verb, server.url, *arguments)
        assert result.status == 0, result
        assert expected in result.out
    assert server.asked("POST", "/issuer/token") == 1


@needs_terminal
def test_the_user_refuses(server: ProtectedServer, home: dict[str, str]) -> None:
    server.denies = True
    result = at_terminal(["inspect", server.url], [], home)
    assert (result.status, result.out) == (2, "")
    assert "refused the login: access_denied" in " ".join(result.err.split())


@needs_terminal
def test_a_code_for_another_device(server: ProtectedServer, home: dict[str, str]) -> None:
    server.pending = 1
    result = at_terminal(["inspect", server.url, "--device"], [], home)
    assert result.status == 0
    assert f"enter the code WDJB-MJHT:\n{server.issuer}/device" in result.err


@needs_terminal
def test_more_scopes_that_are_refused(
    server: ProtectedServer, home: dict[str, str], run_cli: CommandLine
) -> None:
    """R-605: in the middle of a connection, too, one line says why."""
    assert login(server, Person().options()) == "noted: a"
    server.scopes, server.denies = ["notes:admin"], True
    result = at_terminal(["call", server.url, "note", "text=a"], [], home)
    assert (result.status, result.out) == (2, "")
    assert "refused the login: access_denied" in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.parametrize("verb", VERBS)
def test_without_a_terminal(
    verb: str, server: ProtectedServer, home: dict[str, str], run_cli: CommandLine
) -> None:
    result = run_cli(verb, server.url, *VERBS[verb][0])
    assert (result.status, result.out) == (2, "")
    assert "wants a login (401): run this at a terminal, or give a token by --token-env NAME" in result.err
    assert server.asked("POST", "/issuer/registration") == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_ready_token(
    verb: str,
    server: ProtectedServer,
    home: dict[str, str],
    run_cli: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_TOKEN", server.token())
    result = run_cli(verb, server.url, *VERBS[verb][0], "--token-env", "THE_TOKEN")
    assert result.status == 0, result
    assert VERBS[verb][1] in result.out


def test_client_credentials_and_logout(
    server: ProtectedServer, home: dict[str, str], run_cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_SECRET", SECRET)
    client = ["--client-id", CLIENT, "--client-secret-env", "THE_SECRET", "--issuer", server.issuer]
    result = run_cli("call", server.url, "note", "text=a", "--client-credentials", *client)
    assert (result.status, result.out, result.err) == (0, "noted: a\n", "")
    assert run_cli("call", server.url, "note", "text=b").status == 2
    assert run_cli("auth", "logout", server.url).err == f"There was no login at {server.url}.\n"


def test_a_stored_login_and_logout(server: ProtectedServer, home: dict[str, str], run_cli: CommandLine) -> None:
    assert login(server, Person().options()) == "noted: a"
    result = run_cli("call", server.url, "note", "text=a")
    line = f"with the stored login of {server.issuer}; `enfilade auth logout {server.url}` ends it\n"
    assert (result.status, result.out, result.err) == (0, "noted: a\n", line)
    result = run_cli("call", server.url, "note", "text=b", "--no-login")
    assert (result.status, result.out) == (2, "")
    assert "run this at a terminal without --no-login" in result.err
    assert run_cli("auth", "logout", server.url).err == f"Logged out of {server.url}.\n"
    assert run_cli("call", server.url, "note", "text=c").status == 2


def test_a_stored_login_that_lacks_scopes(
    server: ProtectedServer, home: dict[str, str], run_cli: CommandLine
) -> None:
    """R-605: nobody is there to log in for them."""
    assert login(server, Person().options()) == "noted: a"
    server.scopes = ["notes:read", "notes:write"]
    result = run_cli("call", server.url, "note", "text=a")
    assert (result.status, result.out) == (2, "")
    assert (
        "and the token lacks notes:write. Run this at a terminal, and log in with --scope notes:write"
        in result.err
    )
    result = run_cli("call", server.url, "note", "text=a", "--scope", "notes:write")
    assert (result.status, result.out) == (2, "")
    assert "the stored login at" in result.err
    assert "lacks notes:write: run this at a terminal" in result.err


def test_a_key_that_is_refused(server: ProtectedServer, home: dict[str, str], run_cli: CommandLine) -> None:
    """What the challenge says of the key is shown, in place of how to log in."""
    server.challenge = {"error": "invalid_token", "error_description": "the API key is not known"}
    result = run_cli("call", server.url, "note", "text=a", "--header", "X-API-Key: wrong")
    assert (result.status, result.out) == (2, "")
    assert result.err == f"enfilade: {server.url} refused the request (401): the API key is not known\n"


URL = "http://127.0.0.1:9/mcp"
AWAY = "http://mcp.invalid:9/mcp"
MISTAKES: dict[str, tuple[list[str], str]] = {
    "a file": ([SHOP, "--device"], "options of a login are for a URL"),
    "no token": ([URL, "--token-env", "NO_SUCH"], "there is no token in the variable NO_SUCH"),
    "two tokens": ([URL, "--token-env", "HOME", "-H", "authorization: Bearer x"], "there are two tokens"),
    "a token and scopes": ([URL, "--token-env", "HOME", "--scope", "a"], "--scope is for a login; the token of"),
    "a scope that is none": ([URL, "--scope", 'a"b'], "is no scope: one word of visible ASCII"),
    "a token by http": ([AWAY, "--token-env", "HOME"], "--token-env HOME would go by http to another machine"),
    "a header by http": ([AWAY, "-H", "authorization: Bearer x"], "--header would go by http to another machine"),
    "a token by http, allowed": ([AWAY, "-H", "authorization: Bearer x", "--allow-http"], "cannot be reached"),
    "another header by http": ([AWAY, "-H", "Accept-Language: en"], "cannot be reached"),
    "two ways": ([URL, "--device", "--client-credentials"], "choose one"),
    "no client": ([URL, "--client-credentials"], "give both"),
    "no issuer": ([URL, "--client-id", "a", "--client-secret-env", "HOME"], "give its issuer"),
    "nobody there": ([URL], "http://127.0.0.1:9/mcp cannot be reached"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_line(mistake: str, home: dict[str, str], run_cli: CommandLine) -> None:
    arguments, expected = MISTAKES[mistake]
    for verb in ("inspect", "check"):
        result = run_cli(verb, *arguments)
        assert (result.status, result.out) == (2, "")
        assert expected in " ".join(result.err.split())
        assert os.environ["HOME"] not in result.err
