"""What is imported later, or left out. Each case is a process, as a module can be imported but once."""

import subprocess
import sys
from pathlib import Path

MODULES = {
    "optional.py": "VALUE = 1\n",
    "user.py": "try:\n    from optional import VALUE\nexcept ImportError:\n    VALUE = 0\n",
}


def says(code: str, folder: Path) -> str:
    for name, text in MODULES.items():
        (folder / name).write_text(text, encoding="utf-8")
    imports = "import sys\nfrom enfilade.startup.lazy import import_without\n"
    command = [sys.executable, "-c", f"import sys\nsys.path.insert(0, {str(folder)!r})\n{imports}{code}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_module_is_imported_without_another_one_that_others_still_get(tmp_path: Path) -> None:
    code = """
finders = list(sys.meta_path)
import_without("user", "optional")
assert sys.meta_path == finders
import user, optional
print(user.VALUE, optional.VALUE)
"""
    assert says(code, tmp_path) == "0 1"


def test_one_that_is_there_is_used(tmp_path: Path) -> None:
    code = 'import optional\nimport_without("user", "optional")\nimport user\nprint(user.VALUE)'
    assert says(code, tmp_path) == "1"


def test_another_thread_gets_it_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "waiting.py").write_text(
        "import threading\n"
        "def import_it():\n    import optional\n"
        "thread = threading.Thread(target=import_it)\nthread.start()\nthread.join()\n"
        "import sys\nFOUND = 'optional' in sys.modules\n",
        encoding="utf-8",
    )
    assert says('import_without("waiting", "optional")\nimport waiting\nprint(waiting.FOUND)', tmp_path) == "True"


def test_a_module_that_is_not_there_is_for_the_caller_to_import(tmp_path: Path) -> None:
    assert says('import_without("nowhere_at_all", "optional")\nprint("on")', tmp_path) == "on"


def test_msgspec_is_imported_without_typing_extensions(tmp_path: Path) -> None:
    """It needs it on Pythons that are too old for us; its types mean the same afterwards."""
    code = """
from enfilade import MCPApp
assert "typing_extensions" not in sys.modules
import msgspec, typing_extensions
class Point(typing_extensions.TypedDict):
    x: int
    y: typing_extensions.NotRequired[int]
print(msgspec.json.decode(b'{"x": 1}', type=Point))
"""
    assert says(code, tmp_path) == "{'x': 1}"
