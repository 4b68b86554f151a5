"""B6, B14: the example of scoped tools does what its README says."""

import re
import shlex
import subprocess
from contextlib import ExitStack

from support.servers.processes import ROOT, ServerProcess, enfilade_command, environment, free_port

EXAMPLE = ROOT / "examples" / "scoped_tools"
README = (EXAMPLE / "README.md").read_text("utf-8")
BLOCK = re.compile(r"(<!-- serve -->\n)?```sh\n(.*?)```\n(?:\n<!-- output -->\n```text\n(.*?)```)?", re.DOTALL)


def typed(line: str, port: str) -> tuple[list[str], dict[str, str]]:
    """Return the words of a line with the port of this test, and the variables that it sets."""
    words = shlex.split(line.replace(":8000/", f":{port}/"))
    variables = dict(word.split("=", 1) for word in words[: words.index("enfilade")])
    return enfilade_command(*words[words.index("enfilade") + 1 :]), variables


def test_the_readme_does_what_it_says() -> None:
    """B6, B14: each line in turn prints what stands below its block."""
    port, count = str(free_port()), 0
    variables = environment(ENFILADE_PORT=port)
    with ExitStack() as servers:
        for serves, commands, output in BLOCK.findall(README):
            if serves:
                command, _ = typed(commands, port)
                servers.enter_context(ServerProcess(command, port=int(port), env=variables, cwd=EXAMPLE))
                continue
            for line, expected in zip(commands.splitlines(), output.splitlines(), strict=True):
                command, more = typed(line, port)
                done = subprocess.run(
                    command,
                    cwd=EXAMPLE,
                    env={**variables, **more},
                    capture_output=True,
                    encoding="utf-8",
                    timeout=60,
                    check=False,
                )
                assert expected in done.stdout + done.stderr, line
                count += 1
    assert count == 7


def test_the_readme_names_every_tool() -> None:
    for name in ("read_note", "write_note", "audit"):
        assert f"| `{name}` |" in README
    assert {path.name for path in EXAMPLE.iterdir() if path.suffix} == {
        "README.md",
        "pyproject.toml",
        "server.py",
    }
