"""Lint rules for a server (`enfilade check`): mistakes that cause trouble in hosts, models and clients."""
