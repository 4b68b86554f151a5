"""The skills client of the official TypeScript SDK, which refuses whatever it cannot verify."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clients.drivers import HERE
from enfilade.extensions.skills import Skill
from support import tooling
from support.harness import Serving
from support.servers import skill_server
from support.servers.skill_server import SkillServer, text_of_skill, writer

#: Members that are written for a skill in code.
CODED: dict[str, Any] = {
    "null": None,
    "yes": "yes",
    "1": 1,
    "f": 1.5e300,
    "deep": {"a": [True, "null", "~", "12", "2026-01-01", " lead", "trail ", "", "a\nb\tc\\"], "": {}},
    "k: ey": "x",
    "é": [],
}
DRIVER = HERE / "node" / "skills.mjs"
#: Members of front matters that parsers of YAML may read differently. The client's own parser knows neither
#: aliases nor tags.
TEXTS = (
    "d: 2026-07-28\nt: 2026-07-28T12:00:00Z\ny: yes\nn: off\nx: 12:30:45\nu: 1_000\n",
    "a: 012\nb: 0o14\nc: 0x1F\nd: 1.0\ne: .5\nf: 2.\ng: 6e3\nh: +7\nj: 1e2\nk: 9007199254740993\n",
    "a: ~\nb: null\nc:\nd: NULL\ne: 'null'\n",
    "a: true\nb: False\nc: TRUE\nd: tRuE\n",
    "a: |\n  one\n  two\nb: >-\n  one\n  two\n\n  three\nc: |+\n  x\n\nd: y\n",
    "a: |\n  one\n  two\n",
    "a: \"x\\u00e4\\n\\ty\\\\\"\nb: 'it''s'\nc: \"\\/\"\n",
    "a: [1, two, {b: c, d: [e]}, 'x']\nb: {}\nc: []\n",
    "# c\na: b # comment\nc: d#notcomment\n",
    'a: äöü 日本 😀\nb: "\\U0001F600"\n',
    "a: http://x.org/y?z=1\nb: a,b\nc: -x\nd: x y z\n",
    "a:   x   \nb: 'y'   \n",
    "a: 0o8\nb: 08\nc: 0b1\nd: 0x\ne: inf\nf: nan\n",
    "a: '@x'\nb: x@y\nc: 'a`b'\n",
)
REVISIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}


def walk(mode: str, *target: str) -> dict[str, Any]:
    """Return what the client has read of all skills of a server.

    Raises:
        AssertionError: it refused something; the text has what it said.
    """
    with tooling.or_skip():
        tooling.node_package("@modelcontextprotocol/client")
        command = [
            tooling.node(),
            "--import",
            (HERE / "node" / "resolve.mjs").as_uri(),
            str(DRIVER),
            mode,
            *target,
        ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("mode", REVISIONS)
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_it_verifies_every_file(mode: str, transport: str) -> None:
    """X-SKILL-1 to X-SKILL-8."""
    if transport == "stdio":
        seen = walk(mode, "stdio", sys.executable, skill_server.__file__, "stdio")
    else:
        with Serving(SkillServer()) as serving:
            seen = walk(mode, "http", f"http://127.0.0.1:{serving.port}/mcp")
    assert (seen["revision"], seen["supported"], seen["directoryRead"]) == (REVISIONS[mode], True, True)
    names = ["refunds", "data-report", "charts", "in-code", "state-of-things"]
    assert [skill["name"] for skill in seen["skills"].values()] == names
    for uri, skill in seen["skills"].items():
        verified = uri != "skill://state-of-things/SKILL.md"
        assert {file["verified"] for file in skill["files"].values()} == {verified}
    assert seen["folders"]["skill://data-report/drafts"] == []
    assert len(seen["folders"]) == 12


def test_it_reads_front_matter_as_we_do(tmp_path: Path) -> None:
    """X-SKILL-3: it compares what it parses of each file with the entry."""
    write = writer(tmp_path)
    for number, text in enumerate(TEXTS):
        write(f"s{number}/SKILL.md", text_of_skill(f"s{number}", more=text))
    app = SkillServer(tmp_path)
    app.add_skill(
        Skill(
            "coded",
            "A: b # c \"q\" 's' \u2028\x7f\x85\ufeff😀 - [x] {y} !z &a *b | > % @ `",
            "",
            front_matter=CODED,
        )
    )
    with Serving(app) as serving:
        seen = walk("auto", "http", f"http://127.0.0.1:{serving.port}/mcp")
    assert len(seen["skills"]) == len(TEXTS) + 3
