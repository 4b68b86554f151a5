"""`enfilade auth hash-key`: the digest under which a server knows an API key.

Easy to get wrong: where a key comes from. Arguments are in the list of processes and in the shell's history, so a
key is typed unseen, or comes from standard input.
"""

import secrets
import sys
from typing import Final

import click

from enfilade.auth.api_keys import hash_key as api_key_digest
from enfilade.cli.command import CliCommand, CommandError, Option, print_warning
from enfilade.cli.output import print_json, stdout_console

#: Random bytes of a new key.
_RANDOM_BYTES: Final = 32
#: Beginning of a new key, by which people and scanners for leaked secrets recognise it.
_PREFIX: Final = "enfilade_"
#: Keys that are shorter may be guessed from their digest.
_SHORT: Final = 20
#: Longest input in characters that is read; a key of this length is refused.
_LONGEST: Final = 8000
#: What is said of an argument, which is not repeated.
_NOT_AN_ARGUMENT: Final = (
    "a key is never an argument, as other users of this machine can read those: "
    "type it when it is asked for, or pipe it, as in `enfilade auth hash-key < key.txt`"
)


def _hash_key(generate: bool, as_json: bool) -> None:
    """Print the digest of an API key, which `APIKeys` takes in place of the key.

    The key is read from standard input, or typed unseen at a terminal; it is never an argument.
    """
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES) if generate else _read_key()
    try:
        digest = api_key_digest(key)
    except ValueError as error:
        raise CommandError(str(error)) from None
    console = stdout_console()
    if as_json:
        print_json(console, {"key": key, "digest": digest} if generate else {"digest": digest})
    elif generate:
        console.file.write(f"key:    {key}\ndigest: {digest}\n")
    else:
        console.file.write(f"{digest}\n")


class HashKeyCommand(CliCommand):
    """The command, whose errors do not repeat what may be a key."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            UsageError: there is one that is no option.
        """
        ctx.allow_extra_args = True
        try:
            rest = super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.possibilities:
                raise
            raise click.UsageError(_NOT_AN_ARGUMENT, ctx) from None
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(_NOT_AN_ARGUMENT, ctx)
        return rest


hash_key: Final = HashKeyCommand(
    "hash-key",
    _hash_key,
    params=[
        Option(["--generate"], is_flag=True, help="Make a new random key, and print it with its digest."),
        Option(["as_json", "--json"], is_flag=True, help="Print JSON."),
    ],
    examples=["auth hash-key", "auth hash-key < key.txt", "auth hash-key --generate"],
)


def _read_key() -> str:
    """Return the key that somebody types or pipes, without the end of its line.

    Raises:
        CommandError: it is empty.
    """
    if sys.stdin.isatty():
        key: str = click.prompt("Key", hide_input=True, err=True, default="", show_default=False)
    else:
        key = _read_line()
    if not key:
        raise CommandError("there is no key: type it, pipe it to this command, or make one with --generate")
    if len(key) < _SHORT:
        print_warning("a key this short can be guessed from its digest; --generate makes a random one")
    return key


def _read_line() -> str:
    """Return standard input without one line break at its end.

    Raises:
        CommandError: it is no text.
    """
    try:
        text = sys.stdin.read(_LONGEST + 3)
    except UnicodeDecodeError:
        raise CommandError("the key is no text in UTF-8") from None
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text
