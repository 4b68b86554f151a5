"""A process of its own for an app that is tested over stdio.

It is `python -m enfilade.client.stdio_child MODULE FILE NAME TOOLS`, with the tools that the app has in the test.

Easy to get wrong: whatever the file prints while it is imported must not get into the pipe of the protocol.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

from enfilade.loading import LoadError, Source


def main() -> None:
    """Serve the app that the arguments name."""
    module, file, name, tools = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            app: Any = Source(module, file, name).load()
        except LoadError as error:
            raise SystemExit(str(error)) from None
    missing = set(filter(None, tools.split(","))) - {tool.name for tool in app.tools}
    if missing:
        said = f"{Path(file).name} makes the app without {', '.join(sorted(missing))}"
        raise SystemExit(f"{said}: over stdio, import there what adds tools to it")
    app.run("stdio", log_level="warning")


if __name__ == "__main__":
    main()
