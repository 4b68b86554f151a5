"""Run the parts of the tests that need no other program on other Pythons, with every warning an error.

    python tests/support/pythons.py [--jobs 2] [3.12 3.13 …]

Each Python has an environment of its own, in `.pythons/`, which is made once and again when `pyproject.toml`
changes. All parts run in one process there, so that they cannot depend on who ran before. Without versions,
whatever is on this machine is taken; one that is named and missing is skipped with a message.

Easy to get wrong: a shim of pyenv is there for every version that is installed, and fails for those that are not
chosen. So a program counts only if it runs and says its version.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".pythons"
OLDEST, NEWEST = 11, 20
#: What runs there, in this order. Servers in other processes, stores and clients run on one Python only.
PARTS = (
    *("primitives", "wire", "serving", "lint", "client_config", "client", "testing"),
    *("transports/http11/test_direct_exchange.py", "transports/http11/test_start_of_requests.py"),
    *("transports/http11/test_left_behind.py", "transports/http/test_silent_streams.py"),
    *("extensions/apps/test_front_end.py", "extensions/apps/test_metadata.py", "extensions/apps/test_views.py"),
    *("test_app.py", "test_settings.py"),
)
#: What is counted or measured on the Python of `make test` alone, and what real clients and other programs do.
NOT_HERE = (
    "tests/serving/test_cost_of_a_call.py",
    "tests/serving/client_requests/test_matrix.py",
    "tests/serving/limits/test_shared_limits.py",
    "tests/serving/limits/test_limits_over_sockets.py",
    "tests/serving/observation/test_audit.py",
    "tests/serving/observation/test_log.py",
    "tests/serving/observation/test_outcomes.py",
    "tests/serving/outcomes/test_over_transports.py",
    "tests/testing/test_pytest_plugin.py",
    "tests/client/test_login.py",
    "tests/client/test_login_at_oidc_provider.py",
    "tests/client/test_login_at_strangers.py",
)
#: Not `-X dev`: in its debug mode asyncio is several times as slow.
FLAGS = ("-X", "faulthandler", "-W", "error")


def pythons() -> dict[str, list[str]]:
    """Return how each Python of this machine is started, by its version such as `3.12`."""
    found: dict[str, list[str]] = {}
    for command in _commands():
        version = _version(command)
        if version is not None:
            found.setdefault(version, command)
    return dict(sorted(found.items(), key=lambda each: int(each[0].partition(".")[2])))


def _commands() -> Iterator[list[str]]:
    yield [getattr(sys, "_base_executable", sys.executable)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    folders = [path for path in pyenv.glob("3.*") if re.fullmatch(r"[\d.]+", path.name)]
    for folder in sorted(folders, key=lambda path: [int(part) for part in path.name.split(".")], reverse=True):
        if int(folder.name.split(".")[1]) >= OLDEST:
            yield [str(folder / "bin" / "python")]
    for minor in range(OLDEST, NEWEST):
        if program := shutil.which(f"python3.{minor}"):
            yield [program]
        if launcher := shutil.which("py"):
            yield [launcher, f"-3.{minor}"]


def _version(command: list[str]) -> str | None:
    """Return the version of a Python that Enfilade runs on; None if it is none, or does not start."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([*command, "-c", code], capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return None
    version = done.stdout.strip()
    fits = done.returncode == 0 and re.fullmatch(r"3\.\d+", version) and int(version[2:]) >= OLDEST
    return version if fits else None


def environment(version: str, command: list[str]) -> Path:
    """Make the environment of a Python if it is not there, and return its interpreter."""
    folder = FOLDER / version
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    made_from = (ROOT / "pyproject.toml").read_bytes() + " ".join(command).encode()
    digest, stamp = hashlib.sha256(made_from).hexdigest(), folder / ".stamp"
    if not (stamp.is_file() and stamp.read_text() == digest):
        subprocess.run([*command, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
        subprocess.run([*pip, "--no-compile", "--editable", ".", "--group", "units"], cwd=ROOT, check=True)
        stamp.write_text(digest)
    return python


def run(version: str, command: list[str]) -> bool:
    """Run the parts on a Python, say how it went, and return whether all passed."""
    start = time.monotonic()
    try:
        python = environment(version, command)
    except subprocess.CalledProcessError as error:
        print(f"Python {version}: no environment could be made: {error}", flush=True)
        return False
    ready = time.monotonic()
    words = [str(python), *FLAGS, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    words += [f"tests/{part}" for part in PARTS]
    words += [word for path in NOT_HERE for word in ("--ignore", path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        print(done.stdout, done.stderr, flush=True)
    last = (done.stdout.strip().splitlines() or ["nothing was run"])[-1]
    made = f", after {ready - start:.0f} s for its environment" if ready - start > 1 else ""
    print(f"Python {version}: {last}{made}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Run what the command line asks for; the status is 1 if anything failed."""
    parser = argparse.ArgumentParser(description="Run the parts that need no other program on other Pythons.")
    parser.add_argument("versions", nargs="*", help="such as 3.12; by default whatever is here")
    parser.add_argument("--jobs", type=int, default=2, help="how many Pythons run at once")
    chosen = parser.parse_args()
    here = pythons()
    wanted = chosen.versions or list(here)
    for version in wanted:
        if version not in here:
            print(f"Python {version}: skipped, as it is not on this machine", flush=True)
    with ThreadPoolExecutor(max(1, chosen.jobs)) as threads:
        passed = list(threads.map(lambda version: run(version, here[version]), [v for v in wanted if v in here]))
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
