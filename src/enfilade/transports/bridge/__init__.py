"""`HTTPStreamableTransport`: Streamable HTTP for session loops that users bring along."""
