"""The official MCP client with scripted answers, for tests, the command line and the lint rules."""

import sys
from typing import NoReturn


def __getattr__(name: str) -> NoReturn:
    """Refuse a name that is not here, with what to write for one that is known from elsewhere."""
    from enfilade.primitives.other_frameworks import refuse_name

    refuse_name(__name__, name, is_imported=sys._getframe(1).f_code.co_name == "_handle_fromlist")
