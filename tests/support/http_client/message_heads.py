"""Heads of HTTP messages as bytes: one header read, some taken off and put on, the rest left as it was."""


def field(head: bytes, name: str) -> str | None:
    """Return the value of a header."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def rewritten(head: bytes, without: set[str], added: dict[str, str]) -> bytes:
    """Return a head without some headers and with others; what stays is not touched."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].strip().lower().decode("latin-1") not in without]
    new = [f"{name}: {value}".encode("latin-1") for name, value in added.items()]
    return b"\r\n".join([first, *kept, *new]) + b"\r\n\r\n"
