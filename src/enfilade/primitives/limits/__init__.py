"""Limits that authors state for tools: how many calls, and how large results."""
