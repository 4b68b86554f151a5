"""The process that serves an app which is tested over stdio.

It is started as `python -m enfilade.client.stdio_child MODULE FILE NAME TOOLS`, with the names of the tools that
the app has in the test.

Easy to get wrong: output of the file while it is imported must not reach standard output, which carries messages.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

from enfilade.loading import LoadError, Source


def main() -> None:
    """Serve the app that the arguments specify."""
    module, file, name, tools = sys.argv[1:]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            app: Any = Source(module, file, name).load()
        except LoadError as error:
            raise SystemExit(str(error)) from None
    missing = set(filter(None, tools.split(","))) - {tool.name for tool in app.tools}
    if missing:
        problem = f"{Path(file).name} makes the app without {', '.join(sorted(missing))}"
        raise SystemExit(f"{problem}: over stdio, import there what adds tools to it")
    app.run("stdio", log_level="warning")


if __name__ == "__main__":
    main()
