"""Defaults that look like secrets.

Easy to get wrong: to print what was found. A finding names the argument and never its value: it ends up in logs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

#: How well-known kinds of credentials begin or look.
_SHAPES: Final = re.compile(
    r"(sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"  # keys of model and payment services
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}"
    r"|(AKIA|ASIA)[A-Z0-9]{16}"
    r"|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # a JSON Web Token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\w+://[^/\s:@]+:[^/\s:@]+@"  # a password in a URL
)
_NAMES: Final = re.compile(r"(?i)(^|[_-])(pass(word|wd|phrase)?|secret|token|api[_-]?key|credentials?)$")
_HARMLESS: Final = re.compile(r"(?i)|none|null|default|changeme|example.*|your.*|<.*>|\*+|\.+")


def secret_defaults(schema: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """Yield the arguments whose defaults look like secrets, nested ones with dots."""
    for name, part in (schema.get("properties") or {}).items():
        if not isinstance(part, Mapping):
            continue
        default = part.get("default")
        if isinstance(default, str) and _is_secret(name, default):
            yield within + name
        yield from secret_defaults(part, f"{within}{name}.")


def _is_secret(name: str, default: str) -> bool:
    if _SHAPES.search(default):
        return True
    return bool(_NAMES.search(name)) and not _HARMLESS.fullmatch(default) and len(default) >= 4
