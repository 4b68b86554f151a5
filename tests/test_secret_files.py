"""`ENFILADE_<NAME>_FILE`: settings with secrets, read from files."""

from pathlib import Path

import pytest

from enfilade.setting_sources import load, secret_settings, warn_of_unknown_variables
from enfilade.settings import SettingsError

LONG = "x" * 40


def test_a_secret_a_store_and_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = {
        "secret": f"{LONG},{LONG}y",
        "store": "redis://:pass@localhost/0",
        "tls_key_password": "open sesame",
    }
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
        monkeypatch.setenv(f"ENFILADE_{name.upper()}_FILE", str(tmp_path / name))
    settings = load({})
    assert [part.get_secret_value() for part in settings.secret] == [LONG, f"{LONG}y"]
    assert settings.store == values["store"]
    assert settings.tls_key_password.get_secret_value() == "open sesame"
    warn_of_unknown_variables()


def test_in_a_dotenv_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").write_text("sqlite:///state.db")
    (tmp_path / ".env").write_text(f"ENFILADE_STORE_FILE={tmp_path / 'store'}\n")
    assert load({}).store == "sqlite:///state.db"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff", "is no text in UTF-8"),
        (b"x" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_files_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv("ENFILADE_SECRET_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match=rf"ENFILADE_SECRET_FILE: .*{text}"):
        load({})


def test_a_value_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENFILADE_SECRET", LONG)
    monkeypatch.setenv("ENFILADE_SECRET_FILE", "/nowhere")
    with pytest.raises(SettingsError, match="ENFILADE_SECRET and ENFILADE_SECRET_FILE are both set"):
        load({})


def test_which_settings() -> None:
    assert secret_settings() == {"secret", "store", "auth_servers", "tls_key_password", "metrics_token"}


def test_the_mistake_in_a_value_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("short")
    monkeypatch.setenv("ENFILADE_SECRET_FILE", str(tmp_path / "secret"))
    with pytest.raises(SettingsError, match=r"secret \(ENFILADE_SECRET_FILE\)"):
        load({})
