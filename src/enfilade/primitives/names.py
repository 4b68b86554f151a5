"""Tool names: the protocol's alphabet, and the qualified form `Server_Tool`.

A tool is listed under the name its author wrote. The qualified name puts the server's name before it, both in
PascalCase: "The simple server name" and `whisper_secret` make `TheSimpleServerName_WhisperSecret`.

How the words of a name become PascalCase:

1. letters lose their accents (`Café` → `Cafe`), full-width forms become plain ones;
2. every run of ASCII letters and digits is a word; its first letter becomes upper case and the rest stays as
   written (`my-server` → `MyServer`, `a/b` → `AB`, `server.v2` → `ServerV2`, `getHTTPUrl` → `GetHTTPUrl`);
3. a letter or digit outside ASCII becomes `U` and its code point (`日本` → `U65E5U672C`), anything else only
  separates words;
4. a name that ends up empty becomes `Server` or `Tool`.

A qualified name longer than 128 characters is cut and ends in a digest of both names, so that it
stays unique.

Easy to get wrong: the mapping is stable but not one to one (`get-x` and `get_x` both become `GetX`). The
registry finds the clashes.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from enfilade.startup.lazy import lazy_pattern

MAX_NAME_LENGTH: Final = 128
#: Longest name in registries.
MAX_REGISTRY_NAME: Final = 200

#: The prefix of the environment variables of the server's own settings.
RESERVED: Final = "ENFILADE_"

_LEGAL: Final = lazy_pattern(r"[A-Za-z0-9_.\-]{1,128}")
_ILLEGAL_CHARACTER: Final = lazy_pattern(r"[^A-Za-z0-9_.\-]")
_WORD: Final = lazy_pattern(r"[A-Za-z0-9]+|[^\W_]")
#: A domain in reverse, and a name: stricter than the schemas, as registries are.
_REGISTRY_NAME: Final = lazy_pattern(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
    r"/[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]"
)
_DIGEST_LENGTH: Final = 8


def check_tool_name(name: str) -> None:
    """Refuse a name outside the protocol's alphabet or length (R-511).

    Raises:
        ValueError: says which character or length is at fault.
    """
    if _LEGAL.fullmatch(name):
        return
    if not name:
        raise ValueError("a tool needs a name, and this one is empty")
    if bad := _ILLEGAL_CHARACTER.search(name):
        excerpt = name if len(name) <= 60 else name[:60] + "…"
        raise ValueError(
            f"{excerpt!r} cannot be a tool name: it contains {bad[0]!r}, "
            f"and only letters A-Z a-z, digits, '_', '.' and '-' are allowed"
        )
    raise ValueError(
        f"{name[:60] + '…'!r} cannot be a tool name: {len(name)} characters, and {MAX_NAME_LENGTH} are allowed"
    )


def check_prompt_name(name: str) -> None:
    """Refuse a name that cannot be shown or sent; the protocol has no alphabet for the names of prompts.

    Raises:
        ValueError: says why.
    """
    if name == "<lambda>":
        raise ValueError("a lambda has no name that a prompt could have; give it one with name=")
    if not name.strip() or not name.isprintable():
        raise ValueError(f"{name[:60]!r} cannot be a prompt name: it is empty, or not all of it can be printed")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{name[:60] + '…'!r} cannot be a prompt name: {len(name)} characters, "
            f"and {MAX_NAME_LENGTH} are allowed"
        )


def check_registry_name(name: str) -> str:
    """Return a name by which registries and server cards know a server (X-CARD-1, X-REG-1).

    Raises:
        ValueError: it is none; the text says how it is written.
    """
    if len(name) <= MAX_REGISTRY_NAME and _REGISTRY_NAME.fullmatch(name):
        return name
    shown = name if len(name) <= 60 else name[:60] + "…"
    raise ValueError(
        f"{shown!r} is no name for a registry: write a domain of yours in reverse, one slash and a name, such as "
        f"'io.github.ada/notes' or 'com.example/notes'; {MAX_REGISTRY_NAME} characters of A-Z a-z 0-9 . - at "
        "most, and '_' behind the slash; each part begins and ends with a letter or digit"
    )


def secret_names(names: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of the secrets that a tool declares, each once.

    Raises:
        ValueError: a name is empty, or reserved for the server's own settings.
    """
    if isinstance(names, str):
        raise ValueError(f"requires_secrets is a list: [{names!r}]")
    by_folded_name: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not name.strip() or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a secret")
        if is_reserved_secret(name):
            raise ValueError(f"{name!r} cannot be a secret of a tool: {RESERVED}* are the server's own settings")
        by_folded_name.setdefault(name.casefold(), name)
    return tuple(by_folded_name.values())


def is_reserved_secret(name: str) -> bool:
    """Return whether a name belongs to the server's own settings, which no tool can read."""
    return name.upper().startswith(RESERVED)


def qualified_name(server_name: str, tool_name: str) -> str:
    """Return the tool's name with the server's name before it, legal for any two names (P16)."""
    name = f"{_pascal_case(server_name) or 'Server'}_{_pascal_case(tool_name) or 'Tool'}"
    if len(name) <= MAX_NAME_LENGTH:
        return name
    both_names = f"{server_name}\0{tool_name}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(both_names).hexdigest()[:_DIGEST_LENGTH]
    return f"{name[: MAX_NAME_LENGTH - _DIGEST_LENGTH - 1]}_{digest}"


def _pascal_case(name: str) -> str:
    plain = name
    if not name.isascii():
        plain = "".join(_plain(character) for character in unicodedata.normalize("NFC", name))
    return "".join(_word(match) for match in _WORD.findall(plain))


def _plain(character: str) -> str:
    """Return the ASCII form of a character (`é` → `e`), or the character if there is none."""
    return "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii()) or character


def _word(word: str) -> str:
    return word[0].upper() + word[1:] if word.isascii() else f"U{ord(word):04X}"
