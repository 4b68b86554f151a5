"""Tokens, codes and client secrets come out nowhere: in no log, result, error, page, report or traceback (A18).

Easy to get wrong: a canary that never came near the place. So each failure has to be in the log, and what
handlers of the log find in the frames of a traceback counts as well.
"""

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.authorization.desk import Desk, check_nothing_leaks, desk, secrets_of
from support.authorization.faulty_server import failing, not_json
from support.authorization.oauth_service import REVOKE, TOKEN, USERINFO, WHOAMI, OAuthService
from support.authorization.visitor import Visitor
from support.http_client.connection import Http
from support.servers.processes import ServerProcess, enfilade_command
from support.servers.scripted_http_server import Answer
from support.waiting import eventually

FILE = "tests/support/authorization/desk_server.py"
KINDS = ("text", "told", "log", "progress", "repr", "group", "cause")


class EveryFrame(logging.Handler):
    """What a handler of the log can see: texts, arguments, and the variables of each frame of a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep all that is in a record."""
        self.texts += [record.getMessage(), repr(record.args)]
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        self.texts += traceback.format_exception(error)
        seen = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.texts.append("".join(seen.format()))


@pytest.fixture
def frames() -> Iterator[EveryFrame]:
    handler, root = EveryFrame(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in ("httpcore", "httpx", "hpack", "asyncio"):  # of the test's own side, which knows its tokens
        logging.getLogger(name).setLevel(logging.WARNING)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def it(frames: EveryFrame) -> Iterator[Desk]:
    with desk() as it:
        yield it
        check_nothing_leaks(it, *frames.texts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_that_lets_its_token_out(it: Desk, frames: EveryFrame, kind: str) -> None:
    """A18: it is masked in whatever a tool says of it, and in the tracebacks of its failures."""
    it.consent("whoami_corp")
    result = it.call("fail_corp", kind=kind).result
    if kind in ("text", "group", "cause"):
        assert "internal error (id " in result["content"][0]["text"]
        assert any("tool 'fail_corp' failed" in text for text in frames.texts)
    if kind == "told":
        assert "[secret]" in result["content"][0]["text"]
        assert "[secret]" in result["_meta"]["token"]


def test_a_refused_token(it: Desk, frames: EveryFrame) -> None:
    """A15, A18."""
    it.consent("whoami_corp")
    it.service.faults[WHOAMI] = Answer({}, 401)
    assert "Corp refuses the token" in it.refusal("whoami_corp")
    it.service.faults[WHOAMI] = Answer({}, 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'})
    assert "Corp refused the request" in it.refusal("whoami_corp")
    assert len(it.service.token_requests("refresh_token")) == 1


FAULTS = {
    "503": failing(503),
    "HTML": not_json(),
    "400": Answer({"error": "invalid_grant", "error_description": "x"}, 400),
    "another kind": Answer({"access_token": "odd", "token_type": "mac"}),
    "hangs up": Answer(hangs_up=True),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_code_that_is_not_redeemed(it: Desk, frames: EveryFrame, case: str) -> None:
    """A10, A18: neither the code, nor the verifier, nor the secret of the client is in the traceback."""
    it.service.faults["authorization_code"] = FAULTS[case]
    page = it.consent("whoami_corp")
    assert page.status == 502
    (request,) = it.service.token_requests("authorization_code")
    check_nothing_leaks(it, page.html)
    assert not [text for text in frames.texts if request["code_verifier"] in text]
    assert any("was not redeemed" in text for text in frames.texts)


@pytest.mark.parametrize("case", FAULTS)
def test_a_token_that_is_not_refreshed(it: Desk, frames: EveryFrame, case: str) -> None:
    """A14, A18."""
    it.service.expires_in = 1
    it.consent("whoami_corp")
    it.service.faults["refresh_token"] = FAULTS[case]
    it.call("whoami_corp")
    assert any("could not be refreshed" in text for text in frames.texts)


@pytest.mark.parametrize("case", FAULTS)
def test_a_token_that_is_not_revoked(it: Desk, frames: EveryFrame, case: str) -> None:
    """A17, A18: it is forgotten here, also if the provider does not answer."""
    it.consent("whoami_corp")
    it.service.faults[REVOKE] = FAULTS[case]
    assert it.text("revoke_corp") == "revoked"
    assert not it.is_allowed("whoami_corp")


def test_who_the_user_is_cannot_be_read(it: Desk) -> None:
    """A18: the consent counts all the same."""
    it.service.faults[USERINFO] = not_json()
    it.consent("whoami_corp")
    assert it.text("whoami_corp") == "ada"


def test_a_server_at_the_most_talkative_level(tmp_path: Path) -> None:
    """A18: the log of a process at DEBUG, with the lines of its HTTP client and its requests."""
    with OAuthService() as service:
        env = {
            "PROVIDERS": f'{{"corp": "{service.origin}"}}',
            "PYTHONPATH": "tests",
            "PYTHONASYNCIODEBUG": "1",
            "ENFILADE_STORE": f"sqlite:///{tmp_path / 'state.db'}",
            "NO_COLOR": "1",
        }
        command = enfilade_command("run", FILE, "--transport", "http", "--port", "{port}", "--log-level", "debug")
        with ServerProcess(command, env=env) as process:
            it = Desk(Http(process.port), {"corp": service})
            with Visitor() as visitor:
                page = it.visited(visitor.agree(it.link("whoami_corp")))
                it.visited(visitor.open(page.url))  # the callback once more, in the log of requests
            assert it.text("whoami_corp") == "ada"
            for kind in KINDS:
                it.call("fail_corp", kind=kind)
            service.grants.end_access_tokens()
            it.call("whoami_corp")
            service.faults[TOKEN] = failing(503)
            service.expires_in = 1
            it.call("reject_corp")
            it.call("revoke_corp")
            eventually(lambda: "fail_corp" in process.output)
            assert len(secrets_of(it)) > 4
            check_nothing_leaks(it, process.output)
            links = [text for text in it.seen if "/auth/start/" in text]
            assert links


def test_nothing_is_in_the_files(tmp_path: Path) -> None:
    """A12: the database of a server with a secret, its WAL, and whatever else is beside it."""
    with desk(store=f"sqlite:///{tmp_path / 'state.db'}", secret="s" * 40) as it:
        it.consent("whoami_corp")
        it.service.grants.end_access_tokens()
        assert it.text("whoami_corp") == "ada"
        it.link("write_corp")
        contents = [file.read_bytes() for file in tmp_path.iterdir()]
        secrets = {
            *secrets_of(it),
            *(form["code_verifier"] for form in it.service.token_requests("authorization_code")),
        }
        assert contents
        found = [secret for secret in secrets for content in contents if secret.encode() in content]
        assert not found
        assert not [content for content in contents if b"whoami_corp" in content]
