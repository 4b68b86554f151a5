"""uvicorn without its command line: less is loaded, and whoever asks for the rest gets it.

Each case is a process, as a package can be loaded but once.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ENTERED = """
import sys
from enfilade.transports import lean_uvicorn
lean_uvicorn.enter()
import uvicorn
"""


def runs(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(sys.prefix), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_server_needs_no_command_line() -> None:
    runs(f"""{ENTERED}
from uvicorn import Config, Server
assert uvicorn.Config is Config is sys.modules["uvicorn.config"].Config
assert uvicorn.Server is Server is sys.modules["uvicorn.server"].Server
import uvicorn.lifespan.on, uvicorn.protocols.http.httptools_impl
assert not {{"click", "multiprocessing", "uvicorn.main"}} & sys.modules.keys()
assert uvicorn.__spec__.name == "uvicorn" and uvicorn.__file__ and uvicorn.__path__
""")


@pytest.mark.parametrize(
    "asked",
    [
        "uvicorn.run",
        "uvicorn.main.name",  # the command
        "uvicorn.__version__",
        "[uvicorn.run for uvicorn.run in [uvicorn.run]]",
    ],
)
def test_the_rest_is_there_for_who_asks(asked: str) -> None:
    runs(f"""{ENTERED}
config = uvicorn.Config
{asked}
assert "click" in sys.modules and uvicorn.Config is config
from uvicorn import main, run
assert run is sys.modules["uvicorn.main"].run and main is sys.modules["uvicorn.main"].main
""")


def test_what_is_not_there_is_an_error() -> None:
    runs(f"""{ENTERED}
for _ in range(2):
    try:
        uvicorn.nowhere
    except AttributeError as error:
        assert "nowhere" in str(error)
    else:
        raise SystemExit(1)
""")


def test_threads_that_ask_at_once_all_get_it() -> None:
    runs(f"""{ENTERED}
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as threads:
    found = set(threads.map(lambda _: uvicorn.run, range(64)))
assert len(found) == 1
""")


def test_one_that_is_loaded_is_left_alone() -> None:
    runs("""
import uvicorn, sys
from enfilade.transports import lean_uvicorn
before = sys.modules["uvicorn"]
lean_uvicorn.enter()
assert sys.modules["uvicorn"] is before and type(before).__name__ == "module"
""")


def test_one_that_is_made_otherwise_is_loaded_as_ever(tmp_path: Path) -> None:
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text("Config = Server = run = 1\n")
    runs(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from enfilade.transports import lean_uvicorn
lean_uvicorn.enter()
assert "uvicorn" not in sys.modules
import uvicorn
assert uvicorn.run == 1
""")
