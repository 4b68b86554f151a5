"""What people see: nothing is wider than the terminal, and colours are there if they are wanted.

What `dev` shows is looked at in its own tests.

Easy to get wrong: a terminal breaks a line that is too long, so the screen alone does not show that it was.
"""

import re
from pathlib import Path

import pytest

from support.cli.terminal import Terminal, needs_terminal
from support.servers.processes import environment

pytestmark = needs_terminal

SERVER = '''
import asyncio
from typing import Annotated, Literal

from enfilade import Context, MCPApp

app = MCPApp(name="Tea room", instructions="Ask for tea, and say how strong it should be, or it comes as it is.")


@app.tool
async def brew(
    kind: Annotated[Literal["green", "black", "white"], "which tea, of those that the house has today"],
    ctx: Context,
    minutes: int = 3,
) -> str:
    """Brew a cup of tea, which takes as long as it takes, and say how it went, minute by minute."""
    for minute in range(minutes):
        await ctx.progress.report(minute + 1, total=minutes, message=f"minute {minute + 1}: {'still ' * 15}on")
        await asyncio.sleep(0.15)
    await ctx.log.warning("the pot is empty, and somebody should fill it before the next guest comes in")
    return f"{kind} tea"
'''

_COLOUR = re.compile(r"\x1b\[(?:1;)?3[0-7]m")
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


TYPED = {
    "new": 'enfilade new "Tea shop" --yes',
    "inspect": "enfilade inspect server.py",
    "call": "enfilade call server.py brew kind=green",
    "check": "enfilade check server.py --fail-on error",
    "configure": "enfilade configure cursor server.py --dry-run",
}
#: Columns of the terminal, and whether colours are wanted.
SCREENS = [pytest.param(80, True, id="80 in colour"), pytest.param(120, False, id="120 without")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "server.py").write_text(SERVER, encoding="utf-8")
    return tmp_path


def widest(sent: str) -> str:
    """Return the longest line that programs have sent, but for what was typed and what stands in a file."""
    printed = re.split(r"[\r\n]+", _CODES.sub("", sent))
    return max((line for line in printed if not line.startswith(("$ ", "-", "+"))), key=len)


@pytest.mark.parametrize(("columns", "colour"), SCREENS)
def test_what_commands_show(folder: Path, columns: int, colour: bool) -> None:
    env = environment(LANG="C.UTF-8", **({} if colour else {"NO_COLOR": "1"}))
    with Terminal(folder, env, columns=columns) as terminal:
        for verb, line in TYPED.items():
            before = len(terminal.sent)
            terminal.type(line)
            sent = terminal.sent[before:]
            assert len(widest(sent)) <= columns, widest(sent)
            assert bool(_COLOUR.search(sent)) == colour, verb
            assert ("minute 3" in sent) == (verb == "call")
