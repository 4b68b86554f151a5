"""The greeting shows a URL that the server serves, and a public server without names says what it refuses.

Easy to get wrong: `0.0.0.0` is shown as 127.0.0.1, which is refused with 421 once loopback names are taken out.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from enfilade import Settings
from enfilade.assembly import host_origin_policy
from enfilade.launch import UNKNOWN_HOST, public_url, warn_of_missing_names
from support.cluster.worker_processes import SERVER, environment, written
from support.harness import eventually
from support.servers.processes import enfilade_command

NAMED = ("*.wild.example", "mcp.example.com")

URLS: dict[str, tuple[dict[str, Any], str]] = {
    "loopback": ({}, "http://127.0.0.1:8/mcp"),
    "loopback behind a proxy": ({"allowed_hosts": NAMED}, "http://127.0.0.1:8/mcp"),
    "loopback is taken out": ({"allowed_hosts": NAMED, "allow_localhost": False}, "http://mcp.example.com:8/mcp"),
    "loopback is taken out, and there is no name": ({"allow_localhost": False}, f"http://{UNKNOWN_HOST}:8/mcp"),
    "loopback is named": (
        {"allowed_hosts": ("127.0.0.1",), "allow_localhost": False},
        "http://127.0.0.1:8/mcp",
    ),
    "all names": ({"allowed_hosts": ("*",), "allow_localhost": False}, "http://127.0.0.1:8/mcp"),
    "every address": ({"host": "0.0.0.0"}, "http://127.0.0.1:8/mcp"),
    "every address of IPv6": ({"host": "::"}, "http://[::1]:8/mcp"),
    "every address and a name": ({"host": "0.0.0.0", "allowed_hosts": NAMED}, "http://mcp.example.com:8/mcp"),
    "every address and a name with a port": (
        {"host": "::", "allowed_hosts": ("mcp.example.com:443",), "path": "/tools"},
        "http://mcp.example.com:443/tools",
    ),
    "every address and an address of IPv6": (
        {"host": "0.0.0.0", "allowed_hosts": ("2001:db8::1",)},
        "http://[2001:db8::1]:8/mcp",
    ),
    "every address and a pattern": (
        {"host": "0.0.0.0", "allowed_hosts": NAMED[:1], "allow_localhost": False},
        f"http://{UNKNOWN_HOST}:8/mcp",
    ),
    "one address": ({"host": "192.0.2.7"}, "http://192.0.2.7:8/mcp"),
    "one address without loopback": ({"host": "192.0.2.7", "allow_localhost": False}, "http://192.0.2.7:8/mcp"),
}


@pytest.mark.parametrize("case", URLS)
def test_the_url_is_one_that_is_served(case: str) -> None:
    given, url = URLS[case]
    settings = Settings(**given)
    assert public_url(settings, 8) == url
    policy = host_origin_policy(settings)
    host = url.removeprefix("http://").partition("/")[0]
    assert UNKNOWN_HOST in host or policy.verdict(host.encode(), None) is None


WARNED: dict[str, tuple[dict[str, Any], str | None]] = {
    "loopback": ({}, None),
    "a name of loopback": ({"host": "localhost"}, None),
    "named": ({"host": "0.0.0.0", "allowed_hosts": NAMED}, None),
    "every address": ({"host": "0.0.0.0"}, "for other hosts than localhost, 127.0.0.1, [::1] are refused"),
    "one address": ({"host": "192.0.2.7"}, "other hosts than 192.0.2.7, localhost, 127.0.0.1, [::1] are"),
    "nothing is served": ({"host": "0.0.0.0", "allow_localhost": False}, "so every request is refused;"),
    "nothing is served on loopback": ({"allow_localhost": False}, "so every request is refused;"),
}


@pytest.mark.parametrize("case", WARNED)
def test_a_server_without_names_says_what_it_refuses(case: str, caplog: pytest.LogCaptureFixture) -> None:
    given, text = WARNED[case]
    with caplog.at_level(logging.WARNING, logger="enfilade"):
        warn_of_missing_names(Settings(**given))
    if text is None:
        assert caplog.messages == []
    else:
        (line,) = caplog.messages
        assert text in line
        assert "--allowed-hosts NAME or ENFILADE_ALLOWED_HOSTS=NAME" in line


@pytest.mark.parametrize("way", ["the command", "a script", "run_async"])
def test_it_is_said_at_start(way: str, tmp_path: Path) -> None:
    """Also: every line of the log is of one format, and no line of uvicorn's looks like an error."""
    bodies = {
        "the command": "",
        "a script": "if __name__ == '__main__':\n    app.run('http', host='0.0.0.0', port=0)\n",
        "run_async": "import asyncio\nasyncio.run(app.run_async('http', host='0.0.0.0', port=0))\n",
    }
    file = str(written(tmp_path, f"{SERVER}\n{bodies[way]}"))
    command = [sys.executable, file]
    if way == "the command":
        command = enfilade_command("run", file, "-t", "http", "--host", "0.0.0.0", "-p", "0")
    said = tmp_path / "said"
    with said.open("w") as output:
        variables = {"ENFILADE_ALLOW_LOCALHOST": "false", "ENFILADE_LOG_LEVEL": "info"}
        server = subprocess.Popen(
            command, env={**os.environ, **environment(0), **variables}, stdout=output, stderr=output
        )
    try:
        eventually(lambda: ": serving" in said.read_text(encoding="utf-8"), timeout=90)
    finally:
        server.terminate()
        server.wait(30)
    text = said.read_text(encoding="utf-8")
    assert f"http://{UNKNOWN_HOST}:" in text
    assert "127.0.0.1" not in text
    assert " WARNING enfilade: allowed_hosts is empty, so every request is refused" in text
    assert " INFO enfilade: serving" in text
    assert "uvicorn.error" not in text
