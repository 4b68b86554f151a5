"""The official client as tests, the command line and the checks use it."""
