"""The frame of all verbs: errors of one line, exit statuses, help pages, completion, colours."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest

from enfilade.cli.command import Argument, CliCommand, command_line, run_command
from support.cli.runner import CommandLine, spawned
from support.cli.terminal import needs_terminal
from support.servers.processes import enfilade_command, environment

#: What is typed after `enfilade`, and the one line that says what is wrong.
MISTAKES = {
    "run --colour red": "No such option: --colour; see enfilade run --help",
    "run --prot 80": "No such option: --prot; did you mean --port or --path or --otel? see enfilade run",
    "run --no-port a.py": "No such option: --no-port",
    "run server.py other.py": "Got unexpected extra argument (other.py); see enfilade run --help",
    "run server.py --port eighty": "Invalid value for '--port' / '-p': 'eighty' is not a valid integer; see",
    "run server.py --session-ttl x": "Invalid value for '--session-ttl': 'x' is not a valid float; see",
    "run server.py --por 80": "No such option: --por",
    "run server.py --port": "Option '--port' requires an argument; see enfilade run --help",
    "run --reload=yes": "Option '--reload' does not take a value; see enfilade run --help",
    "serve server.py": "No such command 'serve'; see enfilade --help",
    "rum": "No such command 'rum'; did you mean run? see enfilade --help",
    "server.py": "No such command 'server.py'; did you mean run server.py? see enfilade --help",
    "--colour": "No such option: --colour; see enfilade --help",
    "--show-completion": "Option '--show-completion' requires an argument; see enfilade --help",
    "call server.py": "Missing argument 'TOOL'; see enfilade call --help",
    "new tea -t carrier": "Invalid value for '--transport' / '-t': 'carrier' is not one of 'http', 'stdio'; see",
    "dev --port x": "Invalid value for '--port' / '-p'",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_in_the_words_is_one_line(line: str, run_cli: CommandLine) -> None:
    result = run_cli(*line.split())
    assert (result.status, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"enfilade: {MISTAKES[line]}")
    assert result.err.endswith("--help\n")


def test_no_verb_shows_the_verbs(run_cli: CommandLine) -> None:
    result = run_cli()
    assert (result.status, result.err) == (2, "")
    assert result.out == run_cli("--help").out


def test_a_long_value_is_a_mistake_too(run_cli: CommandLine) -> None:
    result = run_cli("run", "server.py", "-p", "9" * 5000)
    assert (result.status, result.out) == (2, "")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (KeyboardInterrupt, 130, ""),
        (click.Abort, 1, "enfilade: ended without an answer to its question"),
        (EOFError, 1, "enfilade: ended without an answer to its question"),
    ],
)
def test_an_end_before_the_end_has_a_status(
    error: type[BaseException],
    status: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["enfilade"])
    with pytest.raises(SystemExit) as end:
        run_command(CliCommand("work", fail, help="Work."), "enfilade")
    assert end.value.code == status
    assert capsys.readouterr().err.strip() == text


def complete(*arguments: str) -> list[str]:
    """Return what bash would offer in place of the last word."""
    completed = subprocess.run(
        enfilade_command(),
        env=environment(
            _ENFILADE_COMPLETE="bash_complete",
            COMP_WORDS=" ".join(["enfilade", *arguments]),
            COMP_CWORD=str(len(arguments)),
        ),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return [line.partition(",")[2] for line in completed.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "offered"),
    [
        (["in"], ["inspect"]),
        (["run", "--max-re"], ["--max-requests", "--max-result"]),
        (["run", "--transport", "s"], ["stdio"]),
        (["new", "-t", "h"], ["http"]),
        (["inspect", "--era", "s"], ["stateless", "session"]),
        (["run", "serv"], ["serv"]),  # the shell completes the name of a file
    ],
    ids=" ".join,
)
def test_shells_complete(arguments: list[str], offered: list[str]) -> None:
    assert complete(*arguments) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_completion_is_printed(shell: str) -> None:
    completed = spawned("--show-completion", shell)
    assert (completed.status, completed.err) == (0, "")
    assert f"_ENFILADE_COMPLETE={shell}_complete" in completed.out


@needs_terminal
@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["run", "--colour"]], ids=" ".join)
def test_colours_are_for_terminals_without_no_color(arguments: list[str], tmp_path: Path) -> None:
    def coloured(piped: bool, **variables: str) -> bool:
        command = enfilade_command(*arguments)
        env = {**environment(TERM="xterm-256color", **variables)}
        if piped:
            completed = subprocess.run(command, env=env, capture_output=True, check=False)
            return b"\x1b[" in completed.stdout + completed.stderr
        import pty

        master, slave = pty.openpty()
        process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        output = b""
        try:
            while data := os.read(master, 65_536):
                output += data
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(master)
        process.wait()
        return b"\x1b[" in output

    assert coloured(piped=False)
    assert not coloured(piped=False, NO_COLOR="1")
    assert not coloured(piped=True)


def test_help_pages_list_every_parameter() -> None:
    ctx = click.Context(command_line, info_name="enfilade")
    for verb in command_line.list_commands(ctx):
        command = command_line.get_command(ctx, verb)
        assert command is not None
        page = click.unstyle(command.get_help(click.Context(command, info_name=verb, parent=ctx)))
        for parameter in command.params:
            assert isinstance(parameter, Argument | click.Option)
            assert parameter.help, (verb, parameter.name)
            is_option = isinstance(parameter, click.Option)
            names = [*parameter.opts, *parameter.secondary_opts] if is_option else [parameter.human_readable_name]
            for name in names:
                assert re.search(rf"(?m)^  .*{re.escape(name)}(?![\w-])", page), (verb, name)
