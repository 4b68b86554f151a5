"""Processes of a server: the supervisor and its workers, files that are watched, the log, and the end."""
