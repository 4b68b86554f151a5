"""Streamable HTTP: one endpoint for both eras, as a bare ASGI application."""
