"""The store behind `redis://…`."""
