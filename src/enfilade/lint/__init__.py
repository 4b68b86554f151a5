"""What can be wrong with a server, found before a host or a model finds it."""
