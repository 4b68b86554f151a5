"""The `enfilade` command: one file per verb, and no logic that a library user cannot reach.

Easy to get wrong: whoever starts a server waits for all that is loaded before its first answer. So the command
line's library is loaded only for words that need it (see `words.py`).
"""

import sys

from enfilade import collector


def main() -> None:
    """Run the command line."""
    collector.wait()
    from enfilade.cli.run import RUN_WORDS, run
    from enfilade.cli.words import understood

    if (given := understood(sys.argv[1:], "run", RUN_WORDS)) is not None:
        try:
            run(**given)
        except KeyboardInterrupt:
            raise SystemExit(130) from None  # as a shell has it for what was interrupted
        return
    from enfilade.cli.command import cli
    from enfilade.cli.errors import CommandError, complain
    from enfilade.settings import SettingsError
    from enfilade.source import LoadError

    try:
        cli()
    except (CommandError, LoadError, SettingsError) as error:
        complain(f"enfilade: {error}")
        raise SystemExit(getattr(error, "status", 2)) from None
