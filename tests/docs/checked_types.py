"""The Python of the pages as files for type checkers: a package for each page.

What runs in a page's own namespace becomes one module. Every line stands where it stands in the page, so that a
checker's complaint names the page's own line. Easy to get wrong: pages import the files that they have written by
their bare names, of which every page has its own `server`. Such imports are made relative.
"""

import re
from pathlib import Path

from support.docs.pages import Block, blocks

#: What is Python of ours, and not of another library.
OURS = {("", "python"), ("client", "python"), ("file", "python"), ("pytest", "python")}
#: The module of what runs in a page's namespace.
PAGE = "the_page.py"


def write_python(page: Path, package: Path) -> list[str]:
    """Write the Python of a page into a folder, and return the names of the files.

    Raises:
        ValueError: the page writes a file twice, of which one version would go unchecked.
    """
    files: dict[str, list[Block]] = {}
    for number, block in enumerate(blocks(page)):
        if block.kind in OURS:
            name = {"file": block.argument, "pytest": f"test_{number}.py"}.get(block.directive, PAGE)
            if name != PAGE and name in files:
                raise ValueError(f"{block.place}: {name} is written twice")
            files.setdefault(name, []).append(block)
    package.mkdir(parents=True)
    modules = "|".join(re.escape(name.removesuffix(".py")) for name in files)
    for name, parts in files.items():
        lines: list[str] = []
        for part in parts:
            lines += [""] * (part.line - 1 - len(lines)) + part.code.splitlines()
        code = re.sub(rf"^from ({modules}) import", r"from .\1 import", "\n".join(lines), flags=re.MULTILINE)
        code = re.sub(rf"^import ({modules})$", r"from . import \1", code, flags=re.MULTILINE)
        (package / name).write_text(code + "\n", encoding="utf-8")
    return list(files)
