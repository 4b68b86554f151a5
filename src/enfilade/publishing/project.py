"""What a project says of itself in its files: `pyproject.toml`, the README, the Dockerfile, a `server.json`.

Nothing is asked of a package index or of another registry.
"""

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

#: The label of an image, and the line of a README, by which a registry knows whose they are (X-REG-2).
LABEL: Final = "io.modelcontextprotocol.server.name"
MARKER: Final = "mcp-name: "

#: Labels of `project.urls`, normalized, in order of precedence (PEP 753).
_SOURCE: Final = ("source", "repository", "sourcecode", "github")
_HOMEPAGE: Final = ("homepage", "documentation", "docs")
_LABEL_LINE: Final = re.compile(
    rf"^[^#\n]*?{re.escape(LABEL)}[\"']?(?:\s*=\s*|\s+)[\"']?([^\"'\s]+)", re.MULTILINE
)
_PRIVATE: Final = "private ::"


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project.

    Attributes:
        folder: where its files are.
        name: of its distribution; empty if it has none.
        version: of its distribution; empty if nobody knows it.
        description: empty if there is none.
        repository: URL of its source; empty if there is none.
        homepage: empty if there is none.
        scripts: the commands that it installs.
        is_private: whether a package index refuses it.
        readme: the text that a package index shows; None if there is none.
        readme_name: of the file of that text.
        dockerfile: the text of its Dockerfile; None if there is none.
    """

    folder: Path
    name: str = ""
    version: str = ""
    description: str = ""
    repository: str = ""
    homepage: str = ""
    scripts: tuple[str, ...] = ()
    is_private: bool = False
    readme: str | None = None
    readme_name: str = "README.md"
    dockerfile: str | None = None

    @property
    def label(self) -> str:
        """The name in the label of its image; empty if there is none."""
        found = _LABEL_LINE.findall(self.dockerfile or "")
        return found[-1] if found else ""


def read_project(folder: Path, pyproject: Mapping[str, Any]) -> Project:
    """Return what the files of a project say.

    Args:
        folder: where its `pyproject.toml` is, or would be.
        pyproject: the content of that file; empty without one.
    """
    table = _mapping(pyproject.get("project"))
    name = str(table.get("name") or "")
    urls = {
        re.sub(r"[\W_]", "", str(label)).lower(): str(url) for label, url in _mapping(table.get("urls")).items()
    }
    readme, readme_name = _readme(folder, table)
    return Project(
        folder=folder,
        name=name,
        version=str(table.get("version") or "") or _installed_version(name, table),
        description=str(table.get("description") or ""),
        repository=next((urls[label] for label in _SOURCE if label in urls), ""),
        homepage=next((urls[label] for label in _HOMEPAGE if label in urls), ""),
        scripts=tuple(map(str, _mapping(table.get("scripts")))),
        is_private=any(str(entry).lower().startswith(_PRIVATE) for entry in _list(table.get("classifiers"))),
        readme=readme,
        readme_name=readme_name,
        dockerfile=_text(folder / "Dockerfile"),
    )


def declares(readme: str, name: str) -> bool:
    """Whether a README says that its package is a server's (X-REG-2): a longer name is another one."""
    return re.search(rf"{re.escape(MARKER + name)}(?![A-Za-z0-9._/-])", readme) is not None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _installed_version(name: str, table: Mapping[str, Any]) -> str:
    """Return the version of an installed project whose build tool makes it; empty if it is not installed."""
    if not name or "version" not in _list(table.get("dynamic")):
        return ""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _readme(folder: Path, table: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the README that a package index would show, and the name of its file."""
    entry = table.get("readme")
    if isinstance(entry, Mapping) and isinstance(entry.get("text"), str):
        return entry["text"], "pyproject.toml"
    file = entry.get("file") if isinstance(entry, Mapping) else entry
    if not isinstance(file, str):
        if "readme" not in _list(table.get("dynamic")):
            return None, "README.md"
        file = "README.md"  # a build tool makes it of this one, most likely
    return _text(folder / file), file


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
