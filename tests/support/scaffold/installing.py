"""Virtual environments for what is made from templates, without a network.

Each sees the libraries of the tests, but of ours and of the made project it has what was installed into it.
Wheels are built without isolation, as hatchling is among those libraries. The easy thing to get wrong is to let
the checkout's editable installation in: then nothing would have to be installed.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from support.servers.processes import ROOT

BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)
BIN = "Scripts" if os.name == "nt" else "bin"


class OfflinePackages:
    """The libraries of the tests, and a wheel of ours.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.libraries = folder / "libraries"
        self.wheels = folder / "wheels"
        self.libraries.mkdir()
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if "enfilade" not in entry.name and entry.suffix != ".pth":
                (self.libraries / entry.name).symlink_to(entry)
        run_to_end(
            [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(self.wheels), str(ROOT)], self.env
        )

    @property
    def env(self) -> dict[str, str]:
        """What pip and Python must be told to use it."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "VIRTUAL_ENV"))},
            "PYTHONPATH": str(self.libraries),
            "PIP_NO_BUILD_ISOLATION": "0",  # which turns the isolation off: pip reads such options backwards
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": self.wheels.as_uri() if self.wheels.exists() else "",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_QUIET": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def environment(self, folder: Path) -> Path:
        """Make a virtual environment, and return the folder of its programs."""
        run_to_end([BASE_PYTHON, "-m", "venv", "--without-pip", str(folder)], self.env)
        return folder / BIN

    def install(self, programs: Path, *words: str, cwd: Path) -> None:
        """Install something into an environment, as `pip install` does there."""
        pip = [sys.executable, "-m", "pip", "--python", str(programs.parent), "install", *words]
        run_to_end(pip, self.env, cwd)


def run_to_end(command: list[str], env: dict[str, str], cwd: Path | None = None) -> str:
    """Run something to its end, and return what it printed.

    Raises:
        AssertionError: it failed; with what it said.
    """
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
