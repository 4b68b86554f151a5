"""Tests of the room `enfilade.primitives`: from Python functions to tools and back, without a server."""
