"""uvicorn without its command line: less is loaded, and whoever asks for the rest gets it.

Each case is a process, as a package can be loaded but once.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ENTERED = """
import sys
from enfilade.startup import uvicorn_import
uvicorn_import.import_uvicorn()
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


SHOWN = """
import json
import sys
kinds = {name: str(type(getattr(uvicorn, name))) for name in dir(uvicorn)}
print(json.dumps([kinds, sorted(vars(uvicorn)), str(uvicorn.__class__), str(type(uvicorn)), repr(uvicorn.main),
                  uvicorn.__spec__.name, str(type(uvicorn.__spec__.loader)), str(type(uvicorn.__loader__)),
                  uvicorn.__version__, uvicorn.__all__, [type(each).__name__ for each in sys.meta_path]]))
"""


@pytest.mark.parametrize(
    "first",
    [
        "import uvicorn",
        "import uvicorn, uvicorn.main",
        "import uvicorn.main",
        "from uvicorn.main import run\nimport uvicorn",
        "import uvicorn\nuvicorn.run",
        "import uvicorn\nvars(uvicorn)",
        "import uvicorn.supervisors\nimport uvicorn",
        "import uvicorn\nimport importlib\nimportlib.reload(uvicorn)",
        "from uvicorn import *\nimport uvicorn",
    ],
)
def test_whoever_looks_finds_the_package_as_it_is_without_us(first: str) -> None:
    """The same names, of the same types, whatever was imported or looked at first."""
    entered = "from enfilade.startup import uvicorn_import\nuvicorn_import.import_uvicorn()\n"
    plain, ours = (
        says(f"from enfilade.startup import uvicorn_import\n{first}{SHOWN}"),
        says(entered + first + SHOWN),
    )
    assert ours == plain
    assert "click" in plain


@pytest.mark.parametrize("imported", ["import uvicorn, uvicorn.main", "import uvicorn.main"])
@pytest.mark.parametrize(
    "looked",
    ["uvicorn.main", "uvicorn.run", "'run' in dir(uvicorn)", "'run' in vars(uvicorn)", "uvicorn.__version__"],
)
def test_the_very_first_look_finds_it(imported: str, looked: str) -> None:
    """Nothing was asked before, so nothing but the import can have put it there."""
    entered = "from enfilade.startup import uvicorn_import\nuvicorn_import.import_uvicorn()\n"
    assert says(f"{entered}{imported}\nprint(type({looked}), {looked} is False)") == says(
        f"{imported}\nprint(type({looked}), {looked} is False)"
    )


def says(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(sys.prefix), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["run", "main", "Config", "anything"])
def test_what_others_put_there_stays(name: str) -> None:
    runs(f"""{ENTERED}
uvicorn.{name} = 5
assert uvicorn.{name} == 5 and uvicorn.__version__ and vars(uvicorn)["{name}"] == 5
del uvicorn.{name}
assert not hasattr(uvicorn, "{name}")
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


@pytest.mark.parametrize("round", range(3))
def test_threads_that_import_and_ask_at_once_wait_for_nothing_but_each_other(round: int) -> None:
    """Each in its own way: the locks of the import system and ours are always taken in the same order."""
    runs("""
import faulthandler, sys, threading
faulthandler.dump_traceback_later(50, exit=True)  # a deadlock, which has no other end
import importlib
from enfilade.startup import uvicorn_import
WAYS = [
    lambda: importlib.import_module("uvicorn.main").run,
    lambda: importlib.import_module("uvicorn").run,
    lambda: vars(importlib.import_module("uvicorn"))["run"],
    lambda: (dir(importlib.import_module("uvicorn")), importlib.import_module("uvicorn").run)[1],
    lambda: (importlib.import_module("uvicorn.supervisors"), importlib.import_module("uvicorn").run)[1],
]
found, failed = [], []
barrier = threading.Barrier(2 * len(WAYS))
def ask(way):
    barrier.wait()
    try:
        uvicorn_import.import_uvicorn()
        found.append(way())
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=ask, args=(way,)) for way in WAYS * 2]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
import uvicorn
assert set(found) == {uvicorn.run} and type(uvicorn) is type(sys) and type(uvicorn.main).__name__ == "Command"
assert all("enfilade" not in type(each).__module__ for each in sys.meta_path)
""")


def test_an_import_in_another_thread_still_asks_every_finder() -> None:
    """It goes through the finders while uvicorn is found, and goes on after that: none is passed over."""
    runs("""
import sys
from itertools import islice
from enfilade.startup import uvicorn_import
class Looker:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "uvicorn" and not others:
            others.append(iter(sys.meta_path))  # as the import system does
            found.extend(islice(others[0], len(sys.meta_path) - 1))
others, found = [], []
sys.meta_path.insert(0, Looker)
uvicorn_import.import_uvicorn()
found.extend(others[0])
assert found[-1] is sys.meta_path[-1] and set(sys.meta_path) <= set(found), found
""")


def test_one_that_is_loaded_is_left_alone() -> None:
    runs("""
import uvicorn, sys
from enfilade.startup import uvicorn_import
before = sys.modules["uvicorn"]
uvicorn_import.import_uvicorn()
assert sys.modules["uvicorn"] is before and type(before).__name__ == "module"
""")


def test_one_that_is_made_otherwise_is_loaded_as_ever(tmp_path: Path) -> None:
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").write_text("Config = Server = run = 1\n")
    runs(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from enfilade.startup import uvicorn_import
uvicorn_import.import_uvicorn()
import uvicorn
assert uvicorn.run == 1 and type(uvicorn) is type(sys)
""")


@pytest.mark.parametrize(
    "looked",
    [
        "logging.config.dictConfig({'version': 1})",
        "__import__('logging.config', fromlist=['x']).fileConfig",
        "vars(logging.config)['dictConfig']",
        "[name for name in dir(logging.config) if name == 'dictConfig'][0]",
        "sys.modules['logging.config'].dictConfigClass",
        "uvicorn.Config(None, log_config=uvicorn.config.LOGGING_CONFIG)",
    ],
)
def test_a_configuration_of_the_log_is_imported_when_it_is_used(looked: str) -> None:
    runs(f"""{ENTERED}
import configparser, logging.config, types
assert not {{"logging.handlers", "pickle"}} & sys.modules.keys()
{looked}
assert "logging.handlers" in sys.modules
assert type(logging.config) is logging.config.__class__ is types.ModuleType
assert configparser.ConfigParser().sections() == [] and type(configparser) is types.ModuleType
assert logging.config.__spec__.name == "logging.config" and logging.config.__file__
""")


def test_what_was_imported_before_stays_as_it_is() -> None:
    runs("""
import configparser, logging.config, types
parser, configure = configparser.ConfigParser, logging.config.dictConfig
from enfilade.startup import uvicorn_import
uvicorn_import.import_uvicorn()
assert type(configparser) is type(logging.config) is types.ModuleType
assert configparser.ConfigParser is parser and logging.config.dictConfig is configure
""")


def test_threads_that_configure_the_log_at_once_all_can() -> None:
    runs(f"""{ENTERED}
import logging.config
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as threads:
    found = set(threads.map(lambda _: logging.config.dictConfig, range(64)))
assert len(found) == 1
""")
