"""Calls that get the outcome of another call: a cache, or idempotency."""
