"""What package indexes show: README.md, with links that lead somewhere from there.

`ENFILADE_REPOSITORY`, the URL of the repository, makes links to files absolute, at the tag of the version.
Without it such links become plain text, as an index would resolve them against itself.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: Links and pictures of Markdown whose target is neither a URL nor a heading of the page.
RELATIVE = re.compile(r"(!?)\[([^\[\]]+)\]\((?!https?://|mailto:|#)([^()\s]+)\)")
VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


class ReadmeHook(MetadataHookInterface):
    """Fills in what `pyproject.toml` calls dynamic, besides the version."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the README and the project's URLs."""
        root = Path(self.root)
        repository = os.environ.get("ENFILADE_REPOSITORY", "").strip().rstrip("/")
        found = VERSION.search((root / "src/enfilade/__init__.py").read_text(encoding="utf-8"))
        tag = f"v{found[1]}" if found else "HEAD"
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_links(text, repository, tag)}
        metadata["urls"] = {}
        if repository:
            metadata["urls"] = {
                "Repository": repository,
                "Documentation": f"{repository}/tree/{tag}/docs",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
            }


def with_links(text: str, repository: str, tag: str) -> str:
    """Return Markdown whose links to files lead into a repository, or are plain text without one."""

    def absolute(link: re.Match[str]) -> str:
        picture, label, target = link.groups()
        if not repository:
            return label
        return f"{picture}[{label}]({repository}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return RELATIVE.sub(absolute, text)
