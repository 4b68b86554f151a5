"""Why nothing was made."""


class ScaffoldError(Exception):
    """Nothing was made; the text says why, and what to do."""
