"""The reader of the documentation notices what is wrong: a check that cannot fail proves nothing."""

from pathlib import Path

import pytest

from docs import test_docs
from support.docs.pages import blocks
from support.docs.reader import Reader

SERVER = """
<!-- test: file=tiny_server.py -->
```python
from enfilade import MCPApp
app = MCPApp(name="Tiny")
@app.tool
def one() -> int:
    return 1
```
"""

WRONG = {
    "wrong output": "```python\nprint(1 + 1)  # → 3\n```",
    "output that is not promised": "```python\nprint(1)\n```",
    "output that never comes": "```python\n1 + 1  # → 2\n```",
    "an exception": "```python\nraise ValueError\n```",
    "a file that fails": "<!-- test: file=wrong.py -->\n```python\nraise ValueError\n```",
    "a test that fails": "<!-- test: pytest -->\n```python\n\ndef test_it(): assert False\n```",
    "no JSON": "```json\n{a: 1}\n```",
    "no YAML": "```yaml\n{a: 1\n```",
    "YAML that says nothing": "```yaml\nwhat is this?\n```",
    "no TOML": "```toml\n[tool\n```",
    "no unit": "```ini\nExecStart=tea\n```",
    "what a file does not say": "<!-- test: same=Makefile -->\n```nginx\nworker_processes 7;\n```",
    "half a line of a file": "<!-- test: same=Makefile -->\n```nginx\nPYTHON\n```",
    "a variable nobody reads": "```dotenv\nENFILADE_COLOUR=red\n```",
    "a value that cannot be": "```dotenv\nENFILADE_PORT=red\n```",
    "a file of the project that is not there": "<!-- test: theirs -->\n```sh\ncp benchmarks/tea.py .\n```",
    "a line of a shell that does not end": "<!-- test: theirs -->\n```sh\necho 'tea\n```",
    "a target that is not there": "<!-- test: make -->\n```sh\nmake tea\n```",
    "an extra that is not there": '<!-- test: install -->\n```sh\npip install ".[tea]"\n```',
    "a command that fails": "<!-- test: run -->\n```sh\nenfilade tea\n```",
    "one extra of two that is not there": '<!-- test: install -->\n```sh\npip install ".[auth,tea]"\n```',
    "a command that does not fail": "<!-- test: fails -->\n```sh\nenfilade --version\n# → enfilade\n```",
    "a command that fails with other words": "<!-- test: fails -->\n```sh\nenfilade tea\n# → milk\n```",
    "a block of nginx without an end": "```nginx\nlocation / {\n```",
    "a directive of nginx without an end": "```nginx\nlisten 80\n```",
    "a command that says something else": "<!-- test: run -->\n```sh\nenfilade --version\n# → tea\n```",
    "a server that does not start": "<!-- test: serve -->\n```sh\nenfilade run nowhere.py -t http\n```",
    "a greeting without a server": "<!-- test: greeting -->\n```text\nhello\n```",
    "another greeting": f"{SERVER}\n<!-- test: serve -->\n```sh\nenfilade run tiny_server.py -t http\n```\n"
    "<!-- test: greeting -->\n```text\nhello\n```",
    "a language nobody knows": "```cobol\nSTOP RUN.\n```",
    "a block without a language": "```\nwhat is this?\n```",
    "a word nobody knows": "<!-- test: skip -->\n```python\n1\n```",
    "a comment before no block": "<!-- test: run -->\n\n```sh\nenfilade\n```",
    "a comment that is misspelt": "<!-- test:run -->\n```sh\nenfilade\n```",
    "a block without an end": "```python\n1",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_noticed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(text + "\n", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()
    with Reader(folder, monkeypatch) as reader, pytest.raises(Exception):  # of any kind
        for block in blocks(page):
            reader.follow(block)


@pytest.mark.parametrize("link", ["nowhere.md", "#nothing", "page.md#nothing"])
def test_a_link_that_leads_nowhere_is_noticed(link: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n[text]({link})\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        test_docs.test_links_lead_somewhere(page)
