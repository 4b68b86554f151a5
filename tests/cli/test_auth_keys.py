"""`enfilade auth hash-key`: keys come from a pipe or a hidden prompt, never from arguments (B4)."""

import hashlib
import json

import pytest

from support.cli.runner import CommandLine, Outcome, at_terminal
from support.cli.terminal import needs_terminal

KEY = "a-key-of-some-length-0123456789"
DIGEST = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"], ids=["none", "lf", "crlf"])
def test_the_digest_of_a_piped_key(ending: str, run_cli: CommandLine) -> None:
    assert run_cli("auth", "hash-key", stdin=KEY + ending) == Outcome(0, f"{DIGEST}\n", "")


def test_json_has_no_key_that_was_given(run_cli: CommandLine) -> None:
    result = run_cli("auth", "hash-key", "--json", stdin=KEY)
    assert json.loads(result.out) == {"digest": DIGEST}


REFUSED = {
    "empty": ("", "there is no key"),
    "a line break": ("\n", "there is no key"),
    "beyond ASCII": ("schlüssel-mit-umlaut-0123456789", "punctuation of ASCII"),
    "two lines": (f"{KEY}\nmore\n", "without spaces"),
    "blanks": (f" {KEY}", "without spaces"),
    "control characters": (f"{KEY}\x1b[0m", "ASCII without spaces"),
    "too long": ("k" * 9000, "4096 at most"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str, run_cli: CommandLine) -> None:
    text, reason = REFUSED[case]
    result = run_cli("auth", "hash-key", stdin=text)
    assert (result.status, result.out) == (2, "")
    assert reason in " ".join(result.err.split())
    assert KEY not in result.err


def test_warns_of_a_short_key(run_cli: CommandLine) -> None:
    result = run_cli("auth", "hash-key", stdin="secret7")
    assert result.status == 0
    assert "can be guessed" in result.err
    assert "secret7" not in result.err


def test_a_new_key_is_random_and_has_its_digest(run_cli: CommandLine) -> None:
    made = [json.loads(run_cli("auth", "hash-key", "--generate", "--json").out) for _ in range(2)]
    for pair in made:
        assert pair["key"].startswith("enfilade_")
        assert len(pair["key"]) >= len("enfilade_") + 43  # 256 bits, six in a character
        assert pair["digest"] == f"sha256:{hashlib.sha256(pair['key'].encode()).hexdigest()}"
    assert made[0]["key"] != made[1]["key"]
    lines = run_cli("auth", "hash-key", "--generate").out.splitlines()
    assert [line.split()[0] for line in lines] == ["key:", "digest:"]


@pytest.mark.parametrize("begin", ["", "-", "--"], ids=["key", "short option", "long option"])
def test_a_key_is_no_argument(begin: str, run_cli: CommandLine) -> None:
    """The error says how a key is given, and does not repeat it."""
    result = run_cli("auth", "hash-key", f"{begin}{KEY}")
    assert result.status == 2
    assert "type it when it is asked for, or pipe it" in " ".join(result.err.split())
    assert DIGEST not in result.out
    assert KEY not in result.out + result.err
    assert "did you mean --generate?" in run_cli("auth", "hash-key", "--generat").err


@needs_terminal
def test_a_typed_key_is_not_shown() -> None:
    result = at_terminal(["auth", "hash-key"], [("Key: ", KEY)])
    assert (result.status, result.out) == (0, f"{DIGEST}\n")
    assert KEY not in result.err


def test_auth_alone_shows_its_commands(run_cli: CommandLine) -> None:
    result = run_cli("auth")
    assert result.status == 2
    assert "hash-key" in result.out
