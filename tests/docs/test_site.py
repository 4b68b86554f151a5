"""The documentation as a site: it builds without a warning, and whoever looks for a name or a page finds it."""

import html
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import enfilade
from support.docs.pages import PAGES, ROOT

CONFIG = ROOT / "zensical.toml"


def listed(nav: Any) -> list[str]:
    """Return the pages in a navigation, in its order."""
    if isinstance(nav, str):
        return [nav]
    inner = nav.values() if isinstance(nav, dict) else nav
    return [page for each in inner for page in listed(each)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site away from the checkout, whose `build` may be somebody's."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    config = folder / CONFIG.name
    config.write_bytes(CONFIG.read_bytes())
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [str(program), "build", "--clean", "--strict", "-f", str(config)],
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "No issues found" in said, said
    assert "griffe" not in said, said  # docstrings that cannot be read as they were meant
    return folder / "build" / "site"


def test_every_page_is_in_the_navigation_once() -> None:
    pages = listed(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"])
    assert sorted(pages) == sorted(page.name for page in PAGES if page.name != "README.md")


def test_every_page_was_made(site: Path) -> None:
    for page in PAGES:
        if page.name not in ("README.md", "index.md"):
            text = (site / page.stem / "index.html").read_text(encoding="utf-8")
            (title,) = re.findall(r"^# (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)[:1]
            assert title.split("`")[0] in re.sub(r"<[^>]+>", "", text), page.name
    assert "getting-started/" in (site / "index.html").read_text(encoding="utf-8")


def test_every_exported_name_is_in_the_reference(site: Path) -> None:
    """With its text: a name alone would help nobody."""
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in set(enfilade.__all__) - {"__version__"}:
        assert f'id="enfilade.{name}"' in text, name
    plain = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", text)))
    for exported in (enfilade.MCPApp, enfilade.MCPApp.tool, enfilade.Context.elicit, enfilade.ToolError):
        (first, *_) = inspect.getdoc(exported).splitlines()
        assert first.replace("`", "") in plain


def test_the_site_asks_no_other_host_for_anything(site: Path) -> None:
    """A reader's browser tells nobody what it reads."""
    for page in site.rglob("index.html"):
        text = page.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]+)"', text) == []
