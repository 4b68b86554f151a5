"""Outcomes of calls that other calls get as well: one of them runs, the store has what it came to."""
