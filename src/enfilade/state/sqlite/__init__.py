"""The store behind `sqlite:///…`."""
