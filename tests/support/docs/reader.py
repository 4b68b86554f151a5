"""Somebody who follows a page word by word: writes its files, runs its code, starts its servers, calls them.

Everything happens in a folder of its own, and the ports 8000 and 9000 of the pages become free ones. The easy
thing to get wrong is output: a Python block prints exactly what its `# →` comments say, no line more, none less.
"""

import ast
import asyncio
import configparser
import contextlib
import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import click
import dotenv
import httpx
import pytest
import yaml
from mcp import Client, StdioServerParameters

from enfilade import Settings
from enfilade.cli.command import command_line
from enfilade.setting_sources import load
from enfilade.settings import PREFIX
from support.cli.terminal import Terminal
from support.docs.nginx import read_nginx
from support.docs.pages import ROOT, Block
from support.servers.processes import HOST, ServerProcess, enfilade_command, environment, free_port
from support.stores.valkey_server import Valkey

NAMESPACE = "the_page"
CURL = """
import httpx, sys
url, headers, body = "", {}, None
words = iter(sys.argv[1:])
for word in words:
    if word == "-H":
        name, _, value = next(words).partition(":")
        headers[name] = value.strip()
    elif word == "-d":
        body = next(words)
    elif word != "-s":
        url = word
print(httpx.post(url, headers=headers, content=body).text)
"""
"""Stands in for curl on a machine that has none."""
STORE = "redis://localhost:6379"
"""What stands for a Redis server of the tests."""
SAMPLES = {"integer": 1, "string": "x", "number": 1.0, "boolean": True, "array": [], "object": {}}


class Reader:
    """Follows one page.

    Args:
        folder: an empty folder, for the page's files.
        patch: restores what following the page changes in this process.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = patch
        self._namespace = ModuleType(NAMESPACE)
        self._server: ServerProcess | None = None
        self._beside: ServerProcess | None = None
        self._valkey: Valkey | None = None
        self.port, self.port_beside = free_port(), free_port()
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))  # where logins are kept
        patch.syspath_prepend(str(folder))
        patch.setitem(sys.modules, NAMESPACE, self._namespace)
        self._follow: dict[tuple[str, str], Callable[[Block], None]] = {
            ("", "python"): self._python,
            ("client", "python"): self._python,
            ("file", "python"): self._file,
            ("theirs", "python"): _only_parse,
            ("theirs", "sh"): _only_check_names,
            ("pytest", "python"): self._pytest,
            ("serve", "sh"): self._serve,
            ("stdio", "sh"): self._stdio,
            ("run", "sh"): self._run,
            ("fails", "sh"): self._fails,
            ("screen", "text"): self._screen,
            ("example", "sh"): _only_understand,
            ("install", "sh"): self._install,
            ("make", "sh"): self._make,
            ("greeting", "sh"): self._greeting,
            ("greeting", "json"): self._greeting,
            ("greeting", "text"): self._greeting,
            ("", "json"): self._json,
            ("", "dotenv"): self._dotenv,
            ("", "yaml"): lambda block: _some(list(yaml.safe_load_all(block.code))),
            ("", "toml"): lambda block: _some([tomllib.loads(block.code)]),
            ("", "ini"): lambda block: configparser.ConfigParser(strict=False).read_string(block.code),
            ("same", "yaml"): self._same,
            ("same", "nginx"): self._same,
            ("", "nginx"): lambda block: _some([each.block for each in read_nginx(block.code)]),
            ("same", "dockerfile"): self._same,
            ("figure", "text"): lambda block: None,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._beside is not None:
            self._beside.stop()
        if self._valkey is not None:
            self._valkey.stop()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(str(self._folder)):
                del sys.modules[name]

    @property
    def kinds(self) -> set[tuple[str, str]]:
        """The kinds of blocks that can be followed."""
        return set(self._follow)

    def follow(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            AssertionError: it does not do what the page promises.
            KeyError: nobody knows how to test it.
        """
        self._follow[block.kind](block)

    def _code(self, block: Block) -> str:
        return self._with_ports(block.code)

    def _with_ports(self, text: str) -> str:
        return text.replace("8000", str(self.port)).replace("9000", str(self.port_beside))

    # -- Python ------------------------------------------------------------------------------------------------

    def _python(self, block: Block) -> None:
        code = self._code(block)
        program = compile("\n" * (block.line - 1) + code, str(block.page), "exec")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(program, vars(self._namespace))
        promised = [self._with_ports(line) for line in block.expected]
        assert printed.getvalue().splitlines() == promised, block.place

    def _file(self, block: Block) -> None:
        self._stop()
        path = self._folder / block.argument
        code = block.code.replace(f"{HOST}:8000", f"{HOST}:{self.port}")
        code = code.replace(f"{HOST}:9000", f"{HOST}:{self.port_beside}")
        path.write_text(code + "\n", encoding="utf-8")
        importlib.invalidate_caches()
        self._patch.delitem(sys.modules, path.stem, raising=False)  # whatever else was of that name
        importlib.import_module(path.stem)

    def _pytest(self, block: Block) -> None:
        path = self._folder / "test_page.py"
        path.write_text(block.code + "\n", encoding="utf-8")
        done = self._finished([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)], {})
        promised = block.expected or [f"{block.code.count(chr(10) + 'def test_')} passed"]
        for promise in promised:
            assert re.search(rf"\b{promise} in ", done), block.place

    # -- servers and commands ----------------------------------------------------------------------------------

    def _serve(self, block: Block) -> None:
        if block.argument == "beside":
            words, env = self._command(self._code(block))
            self._beside = ServerProcess(words, port=self.port_beside, env=env, cwd=self._folder)
            self._beside.__enter__()
            return
        self._stop()
        line = self._code(block)
        if STORE in line:
            line = line.replace(STORE, f"redis://{HOST}:{self._redis().port}")
        words, env = self._command(line)
        self._server = ServerProcess(words, port=self.port, env=env, cwd=self._folder)
        self._server.__enter__()
        if block.argument == "protected":
            assert httpx.post(self._server.url, json={}).status_code == 401, block.place
            return
        for mode in ("legacy", "auto"):
            asyncio.run(_visit(Client(self._server.url, mode=mode), block))

    def _stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _redis(self) -> Valkey:
        """Return the server that the pages' Redis stands for."""
        if self._valkey is None:
            self._valkey = Valkey(self._folder)
            self._valkey.start()
        return self._valkey

    def _stdio(self, block: Block) -> None:
        words, env = self._command(self._code(block))
        parameters = StdioServerParameters(command=words[0], args=words[1:], env=env)
        for mode in ("legacy", "auto"):
            asyncio.run(_visit(Client(parameters, mode=mode), block))

    def _run(self, block: Block) -> None:
        words, env = self._command(self._code(block).partition("\n# →")[0])
        printed = self._finished(words, env)
        for promise in block.expected:
            # Of a server that runs the port is a free one; what a file says has the usual port.
            assert promise in printed or self._with_ports(promise) in printed, block.place

    def _fails(self, block: Block) -> None:
        words, env = self._command(self._code(block).partition("\n# →")[0])
        status, _, errors = self._outcome(words, env)
        assert (status, bool(block.expected)) == (2, True), block.place
        for promise in block.expected:
            assert self._with_ports(promise) in errors, block.place

    def _screen(self, block: Block) -> None:
        if os.name == "nt":
            return  # there is no pseudo-terminal
        with Terminal(self._folder, environment(), columns=int(block.argument)) as terminal:
            for line in self._code(block).splitlines():
                if line.startswith("$ "):
                    terminal.type(line.removeprefix("$ "))
            assert f"{self._code(block)}\n$" == terminal.screen, block.place

    def _finished(self, words: list[str], env: dict[str, str]) -> str:
        status, output, errors = self._outcome(words, env)
        assert status == 0, output + errors
        return output

    def _outcome(self, words: list[str], env: dict[str, str]) -> tuple[int, str, str]:
        done = subprocess.run(
            words,
            cwd=self._folder,
            env={**os.environ, **env},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def _command(self, line: str) -> tuple[list[str], dict[str, str]]:
        """Return one line of shell as a command of this environment, and the variables it sets."""
        words = shlex.split(line.replace("\\\n", " "))
        env = {"PYTHONPATH": os.pathsep.join([str(self._folder), str(ROOT / "src")])}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            env[name] = value
        program, *rest = words
        rest = [str(self._folder / word) if (self._folder / word).is_file() else word for word in rest]
        if program == "enfilade":
            if "--port" not in rest:
                env[f"{PREFIX}PORT"] = str(self.port)
            return enfilade_command(*rest), env
        if program == "uvicorn":
            return [sys.executable, "-m", "uvicorn", *rest], env
        if program == "python":
            return [sys.executable, *rest], env
        assert program == "curl", line
        found = shutil.which(program)
        return [found, *rest] if found else [sys.executable, "-c", CURL, *rest], env

    def _greeting(self, block: Block) -> None:
        assert self._server is not None, f"{block.place}: no server runs here"
        for line in self._code(block).splitlines():
            assert line.strip() in self._server.output, block.place

    # -- what is compared with the project's own files -----------------------------------------------------------

    def _install(self, block: Block) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for line in block.code.splitlines():
            found = re.fullmatch(r"pip install \.|pip install \"\.\[(\w+(?:,\w+)*)\]\"", line)
            assert found, f"{block.place}: {line}"
            named = set((found[1] or "").split(",")) - {""}
            assert named <= set(extras["optional-dependencies"]), block.place

    def _make(self, block: Block) -> None:
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        for line in block.code.splitlines():
            program, *wanted = line.split()
            assert (program, *wanted) == ("make", *wanted), block.place
            assert set(wanted) <= set(targets), block.place

    def _same(self, block: Block) -> None:
        whole = (ROOT / block.argument).read_text(encoding="utf-8")
        assert f"\n{block.code}\n" in f"\n{whole}", f"{block.place}: {block.argument} says something else"

    def _json(self, block: Block) -> None:
        json.loads(block.code)

    def _dotenv(self, block: Block) -> None:
        values = dotenv.dotenv_values(stream=io.StringIO(block.code))
        assert {name.removeprefix(PREFIX).lower() for name in values} <= set(Settings.__struct_fields__), (
            block.place
        )
        with self._patch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, str(value))
            load({})


def _only_check_names(block: Block) -> None:
    subprocess.run(["sh", "-n"], input=block.code, text=True, check=True)
    missing = [
        name for name in re.findall(r"(?<![\w./])benchmarks/[\w./]+", block.code) if not (ROOT / name).exists()
    ]
    assert not missing, f"the project has no {', '.join(missing)}"


def _only_understand(block: Block) -> None:
    """Let the command line read what is typed, as far as its verbs and their options go."""
    ctx = click.Context(command_line)
    for line in block.code.strip().splitlines():
        program, verb, *words = shlex.split(line)
        assert program == "enfilade", block.place
        command = command_line.get_command(ctx, verb)
        assert command is not None, block.place
        command.make_context(verb, words)  # a mistake is an error


def _only_parse(block: Block) -> None:
    assert ast.parse(block.code).body, block.place


def _some(found: list[Any]) -> None:
    """Refuse a text that parses but says nothing."""
    assert all(isinstance(each, dict | list) for each in found)


async def _visit(client: Client, block: Block) -> None:
    """List a server's tools, and call each with some arguments."""
    async with client:
        tools = (await client.list_tools()).tools
        assert tools, block.place
        for tool in tools:
            result = await client.call_tool(tool.name, _some_arguments(tool.input_schema))
            assert result.content, block.place


def _some_arguments(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: SAMPLES[schema["properties"][name]["type"]] for name in schema.get("required", ())}
