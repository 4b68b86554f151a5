"""A protected server, and somebody who has no login yet."""

from pathlib import Path

import pytest

from enfilade.client.login import token_file
from support.authorization.person import Person
from support.authorization.protected_server import ProtectedServer


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.setattr(token_file, "data_folder", lambda: tmp_path / "data")
    return Person()


@pytest.fixture
def server(protected_server: ProtectedServer) -> ProtectedServer:
    return protected_server
