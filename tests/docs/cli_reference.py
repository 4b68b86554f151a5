"""The page `docs/cli.md`, made from the command itself: `python tests/docs/cli_reference.py` writes it anew.

Easy to get wrong: a text in a table. A bar would end its cell, and not every renderer knows how it is escaped.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from enfilade.cli.command import Argument, CliCommand, Group, command_line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

HEAD = """# Command line

`enfilade --help` shows the verbs, and `enfilade VERB --help` what is below. `python -m enfilade` is the same
command. `inspect`, `call` and `check` need the extra `client`; `new`, `docker` and `configure goose` need `dev`,
which has the client as well; `auth check` needs `auth`; the others need nothing. An error is one line that says
what to do, and the exit status is 2. A server that cannot start, because its port is in use or its lifespan
fails, ends with 3; a command that Ctrl-C interrupts, with 130.

Shells complete the command by the script that `enfilade --show-completion SHELL` prints, for bash, zsh and fish:

<!-- test: figure -->
```text
eval "$(enfilade --show-completion bash)"  # in ~/.bashrc; zsh in ~/.zshrc
enfilade --show-completion fish > ~/.config/fish/completions/enfilade.fish
```

<!-- Written by tests/docs/cli_reference.py: change the help of the commands instead. -->
"""


_CONTEXT = click.Context(command_line, info_name="enfilade")


def _verbs(group: Group, path: str) -> Iterator[tuple[str, CliCommand]]:
    """Yield the commands of a group, and of the groups in it, by what is typed after `enfilade`."""
    for name in group.list_commands(_CONTEXT):
        command = group.get_command(_CONTEXT, name)
        if isinstance(command, Group):
            yield from _verbs(command, f"{path}{name} ")
        elif isinstance(command, CliCommand):
            yield f"{path}{name}", command


VERBS: dict[str, CliCommand] = dict(_verbs(command_line, ""))


def reference() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for verb, command in VERBS.items() for line in _section(verb, command))])


def _section(verb: str, command: CliCommand) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(_CONTEXT))
    yield f"## `enfilade {verb}`\n"
    yield f"{command.help}\n"
    yield f"<!-- test: figure -->\n```text\nenfilade {verb} {usage}\n```\n"
    yield "| argument or option | what it is |\n| --- | --- |"
    yield from (_row(parameter) for parameter in command.params)
    yield "\n<!-- test: example -->\n```sh"
    yield from (f"enfilade {example}" for example in command.examples)
    yield "```\n"


def _row(parameter: click.Parameter) -> str:
    """Return an argument or option, with its help text, as a row of the table."""
    assert isinstance(parameter, Argument | click.Option)
    if isinstance(parameter, Argument):
        names = [parameter.human_readable_name]
    else:
        names = [*sorted(parameter.opts, key=len, reverse=True), *parameter.secondary_opts]
        if not parameter.is_flag:
            names[0] += f" {parameter.make_metavar(_CONTEXT)}"
    text = re.sub(r"\s+", " ", parameter.help or "").replace("|", "\\|")
    if isinstance(parameter, click.Option) and parameter.show_default:
        text += f" Default: {parameter.default}."
    spelled = ", ".join(f"`{name}`".replace("|", "/") for name in names)
    return f"| {spelled} | {text} |"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
