"""Make, list and remove API keys.

    python keys.py add NAME SCOPE...
    python keys.py list
    python keys.py remove NAME

A key is printed once, and kept nowhere: keys.json has its digest. The server reads that file when it starts.
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from enfilade.auth import hash_key

KEYS = Path(os.environ.get("KEYS", Path(__file__).with_name("keys.json")))


def load() -> dict[str, Any]:
    """Return the entries by digest."""
    entries: dict[str, Any] = json.loads(KEYS.read_text("utf-8")) if KEYS.exists() else {}
    return entries


def save(entries: dict[str, Any]) -> None:
    """Replace the file at once, so that a server never reads half of it."""
    new = KEYS.with_suffix(".new")
    new.write_text(json.dumps(entries, indent=2) + "\n", "utf-8")
    new.replace(KEYS)


def add(name: str, *scopes: str) -> None:
    """Make a key beside those that the name has already, and print it."""
    key = f"notes_{secrets.token_urlsafe(32)}"
    save(load() | {hash_key(key): {"name": name, "scopes": scopes}})
    print(key)


def remove(name: str) -> None:
    """Remove all keys of a name."""
    save({digest: entry for digest, entry in load().items() if entry["name"] != name})


def show() -> None:
    """Print who has keys, with the beginning of each digest."""
    for digest, entry in load().items():
        print(digest[:15], entry["name"], *entry["scopes"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["add", name, *scopes]:
            add(name, *scopes)
        case ["remove", name]:
            remove(name)
        case ["list"]:
            show()
        case _:
            sys.exit(__doc__)
