"""The reference of the command line says what the command says, and each verb's help shows how to begin."""

import subprocess

import pytest

from docs.cli_reference import PAGE, VERBS, reference
from support.servers.processes import enfilade_command

EXAMPLES = {verb: command.examples for verb, command in VERBS.items()}


def test_the_reference_is_what_the_commands_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `python tests/docs/cli_reference.py`"


def test_every_verb_has_examples() -> None:
    assert all(EXAMPLES.values())
    assert all(each.startswith(verb) for verb, examples in EXAMPLES.items() for each in examples)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_them_and_fits(verb: str, columns: int) -> None:
    done = subprocess.run(
        enfilade_command(*verb.split(), "--help"),
        env={"COLUMNS": str(columns), "PYTHONUTF8": "1", "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for each in EXAMPLES[verb]:
        assert f"$ enfilade {each}\n" in "\n".join(line.strip() for line in done.stdout.splitlines()) + "\n"
    assert "[[" not in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= columns
