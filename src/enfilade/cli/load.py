"""Find the app that a command is about; the finding itself is `enfilade.discovery`, for everybody.

Easy to get wrong: its errors, `LoadError` and `SettingsError`, are texts for whoever typed the command.
"""

from enfilade.discovery import load_app
from enfilade.loading import LoadError

__all__ = ["LoadError", "load_app"]
