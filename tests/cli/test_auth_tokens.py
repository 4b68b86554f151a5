"""`enfilade auth list|revoke|login`: what users have granted the tools of a server (A17, A11)."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.authorization.desk import Desk, desk, secrets_of
from support.authorization.faulty_server import failing
from support.authorization.oauth_service import REVOKE
from support.authorization.visitor import Visitor
from support.cli.runner import CommandLine, Outcome
from support.servers.processes import enfilade_command, environment, free_port

SERVER = """
from support.authorization.desk_server import make_app

app = make_app({origins!r}, {issuer!r}, {resource!r}, store={store!r}, secret={secret!r})
"""


PLAIN = """
from enfilade import MCPApp

app = MCPApp("Plain", store="sqlite:///{store}")


@app.tool
def nothing() -> None:
    pass
"""


@contextmanager
def server(folder: Path, *ids: str, users: bool = False) -> Iterator[tuple[Desk, str]]:
    """Serve an app, and yield it with the file of one that has the same store."""
    settings: dict[str, Any] = {"store": f"sqlite:///{folder / 'state.db'}", "secret": "s" * 40}
    with desk(*ids, users=users, **settings) as it:
        file = folder / "server.py"
        origins = {id: service.origin for id, service in it.services.items()}
        issuer = None if it.issuer is None else it.issuer.origin
        text = SERVER.format(origins=origins, issuer=issuer, resource=it.resource, **settings)
        file.write_text(text, encoding="utf-8")
        yield it, str(file)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[Desk, str]]:
    with server(tmp_path, "corp", "wiki", users=True) as (it, file):
        for user in ("ada", "bob"):
            it.consent("whoami_corp", user)
        it.consent("whoami_wiki", "bob")
        yield it, file


@pytest.fixture
def local(tmp_path: Path) -> Iterator[tuple[Desk, str]]:
    with server(tmp_path) as (it, file):
        yield it, file


def check_no_token(it: Desk, *outcomes: Outcome) -> None:
    """Check that nothing that was printed has a secret (A18)."""
    secrets = secrets_of(it)
    assert len(secrets) > 2
    for outcome in outcomes:
        assert not [secret for secret in secrets if secret in outcome.out + outcome.err]


def test_the_list(shared: tuple[Desk, str], run_cli: CommandLine) -> None:
    """A17: provider, user, scopes, and until when; never a token."""
    it, file = shared
    it.service.gives_refresh_tokens = False
    it.consent("whoami_corp", "cleo")
    table, listed = run_cli("auth", "list", file), run_cli("auth", "list", file, "--json")
    assert (table.status, listed.status) == (0, 0), table.err
    rows = [line.split() for line in table.out.splitlines()]
    assert rows[0] == ["provider", "user", "scopes", "expires", "granted"]
    assert [row[:3] for row in rows[1:]] == [
        ["corp", "ada", "read"],
        ["corp", "bob", "read"],
        ["corp", "cleo", "read"],
        ["wiki", "bob", "read"],
    ]
    assert [row[3] == "refreshed" for row in rows[1:]] == [True, True, False, True]
    entries = json.loads(listed.out)
    assert [(each["provider"], each["user"], each["scopes"]) for each in entries[:2]] == [
        ("corp", "ada", ["read"]),
        ("corp", "bob", ["read"]),
    ]
    assert it.issuer is not None
    assert json.loads(entries[0]["principal"]) == [it.issuer.origin, "ada"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\dZ", entries[0]["expires"])
    check_no_token(it, table, listed)


def test_a_revocation(shared: tuple[Desk, str], run_cli: CommandLine) -> None:
    """A17: at the provider, and here; of one user, and the running server asks for consent again."""
    it, file = shared
    done = run_cli("auth", "revoke", "corp", file, "--user", "ada")
    assert (done.status, done.out, done.err) == (0, "", "Revoked the access of ada to corp.\n")
    (request,) = it.service.visits_of(REVOKE)
    assert request.form["token_type_hint"] == "refresh_token"
    assert it.link("whoami_corp", "ada")
    assert it.text("whoami_corp", "bob") == "bob"
    again = run_cli("auth", "revoke", "corp", file, "--user", "ada")
    assert (again.status, again.err) == (1, "enfilade: 'ada' has not given access to 'corp'\n")
    check_no_token(it, done, again)


def test_a_revocation_of_several(shared: tuple[Desk, str], run_cli: CommandLine) -> None:
    """A17: not by mistake."""
    it, file = shared
    refused = run_cli("auth", "revoke", "corp", file)
    assert refused.status == 2
    assert "2 users have given access to 'corp'; give --user one, or --all" in refused.err
    assert it.service.count(REVOKE) == 0
    both = run_cli("auth", "revoke", "corp", file, "--all", "--user", "ada")
    assert both.status == 2
    done = run_cli("auth", "revoke", "corp", file, "--all")
    assert done.err == "Revoked the access of ada to corp.\nRevoked the access of bob to corp.\n"
    none = run_cli("auth", "revoke", "corp", file)
    assert (none.status, none.err) == (
        1,
        "enfilade: nobody has given access to 'corp'; there are some for wiki\n",
    )
    only = run_cli("auth", "revoke", "wiki", file)
    assert only.err == "Revoked the access of bob to wiki.\n"
    check_no_token(it, refused, done, none, only)


@pytest.mark.parametrize("fault", [failing(503), failing(400)])
def test_a_revocation_that_the_provider_does_not_take(
    local: tuple[Desk, str], run_cli: CommandLine, fault: object
) -> None:
    """A17: the tokens are deleted here all the same, with a warning."""
    it, file = local
    it.consent("whoami_corp")
    it.service.faults[REVOKE] = fault  # type: ignore[assignment]
    done = run_cli("auth", "revoke", "corp", file)
    assert done.status == 0
    assert "Deleted the tokens of the user of this machine for corp." in done.err
    assert "warning: they may be valid until they expire" in done.err
    assert not it.is_allowed("whoami_corp")
    assert run_cli("auth", "list", file).err == "Nobody has given access to anything.\n"
    check_no_token(it, done)


def test_mistakes(tmp_path: Path, local: tuple[Desk, str], run_cli: CommandLine) -> None:
    _, file = local
    plain = tmp_path / "plain.py"
    plain.write_text(PLAIN.format(store=tmp_path / "none.db"), encoding="utf-8")
    tokenless = tmp_path / "tokenless.py"
    tokenless.write_text(PLAIN.format(store=tmp_path / "state.db"), encoding="utf-8")
    for arguments, status, text in (
        (["list", str(tmp_path / "none.py")], 2, "none.py"),
        (["list", str(plain)], 2, "there is no store at"),
        (["list", str(tokenless)], 1, "need no tokens"),
        (["revoke", "corp", file, "--user"], 2, "requires an argument"),
        (["login", "github", file], 1, "no tool of this server names 'github'; there are corp"),
        (["login", "corp", file, "--timeout", "0.2"], 1, "nobody has given consent within 0.2 seconds"),
        (["login", "corp", "https://mcp.example.com/mcp"], 2, "name its Python file"),
    ):
        outcome = run_cli("auth", *arguments)
        assert (outcome.status, text in outcome.err) == (status, True), outcome.err
        assert "Traceback" not in outcome.err


def test_a_store_in_memory_has_no_tokens_of_others(tmp_path: Path, run_cli: CommandLine) -> None:
    file = tmp_path / "server.py"
    text = SERVER.format(
        origins={"corp": "http://127.0.0.1:9"}, issuer=None, resource="", store="memory://", secret=""
    )
    file.write_text(text.replace(", secret=''", ""), encoding="utf-8")
    result = run_cli("auth", "list", str(file))
    assert result.status == 2
    assert "ENFILADE_STORE" in result.err


@pytest.mark.parametrize("with_port", [False, True])
def test_a_login(local: tuple[Desk, str], run_cli: CommandLine, with_port: bool) -> None:
    """A11: consent before any call, at a listener of the command; a server with the same store then has it."""
    it, file = local
    port = free_port()
    options = ["--scope", "extra", *(["--port", str(port)] if with_port else [])]
    command = enfilade_command("auth", "login", "corp", file, "--no-browser", *options)
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment()
        ) as process,
        Visitor("eve") as visitor,
    ):
        assert process.stderr is not None
        assert process.stdout is not None
        first, link = process.stderr.readline(), process.stderr.readline().strip()
        assert first == "Open in a browser on this machine:\n"
        assert (f":{port}/" in link) is with_port
        page = visitor.agree(link)
        assert page.text.startswith("Done")
        rest = process.stderr.read()
        assert process.wait(30) == 0
        done = Outcome(0, process.stdout.read(), first + link + rest)
    assert "You have given access to corp: " in done.err
    for scope in ("read", "write", "extra"):
        assert scope in done.err
    assert done.out == ""
    assert it.text("whoami_corp") == "eve"
    check_no_token(it, done)


def test_a_login_that_is_refused(local: tuple[Desk, str]) -> None:
    """A10: the page and the command say so."""
    it, file = local
    it.service.denies = True
    command = enfilade_command("auth", "login", "corp", file, "--no-browser")
    with (
        subprocess.Popen(
            command, stderr=subprocess.PIPE, encoding="utf-8", env=environment(NO_COLOR="1")
        ) as process,
        Visitor() as visitor,
    ):
        assert process.stderr is not None
        process.stderr.readline()
        page = visitor.agree(process.stderr.readline().strip())
        assert "No access was given" in page.text
        assert process.stderr.read() == "enfilade: the user has refused\n"
        assert process.wait(30) == 1
