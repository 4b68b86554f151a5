"""Faster starts: lazy modules, a paused garbage collector, uvicorn without its command line."""
