"""Find the app that a command is about; the finding itself is `enfilade.discovery`, for everybody.

Easy to get wrong: its errors, `LoadError` and `SettingsError`, are texts for whoever typed the command.
"""

from enfilade.discovery import load_app
from enfilade.loading import LoadError, described
from enfilade.setting_sources import load
from enfilade.settings import SettingsError

__all__ = ["LoadError", "load_app", "text_of"]


def text_of(error: Exception, log_level: str | None = None) -> str:
    """Return what an error says about a file; with `debug` as the log level, all frames of its traceback.

    Args:
        error: what loading has raised.
        log_level: as it was typed; None for what the environment says.
    """
    try:
        level = load({}, None, {"log_level": log_level}).log_level
    except SettingsError:  # which is said once the file can be loaded
        level = "info"
    return described(error, level)
