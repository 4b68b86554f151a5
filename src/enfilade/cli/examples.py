"""What can be typed for each verb: below its help, and in the reference.

Easy to get wrong: help joins lines and reads square brackets as markup. So each example is a paragraph of its
own, short enough for a terminal of 80 columns, and there are no brackets in it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

#: By the verb: what to type, after `enfilade`.
EXAMPLES: Final[Mapping[str, Sequence[str]]] = {
    "new": ['new "Tea shop" --docker', "new notes --transport stdio --full --yes"],
    "run": [
        "run",
        "run server.py --transport http --port 9000 --reload",
        "run --workers 4 --store sqlite:///state.db",
    ],
    "dev": ["dev", "dev server.py --port 9000"],
    "inspect": [
        "inspect server.py",
        "inspect http://127.0.0.1:8000/mcp --json",
        "inspect -- npx some-server --its-option",
    ],
    "call": [
        "call server.py add a=1 b=2",
        "call http://127.0.0.1:8000/mcp search query=@question.txt limit:=5",
        """call "npx some-server" echo --json '{"text": "hello"}'""",
    ],
    "check": [
        "check",
        "check server.py --snapshot surface.json --save",
        "check server.py --snapshot surface.json --fail-on breaking",
    ],
    "configure": [
        "configure --list",
        "configure claude-code",
        "configure cursor server.py --dry-run",
        "configure vscode --name sums --url https://example.com/mcp",
    ],
    "docker": ["docker", "docker tea-shop --valkey"],
}


def epilog(verb: str) -> str:
    """Return what stands below the help of a verb."""
    return "\n\n".join(["Examples:", *(f"$ enfilade {each}" for each in EXAMPLES[verb])])
