"""Processes of a server: the supervisor and its workers, watched files, the log, and the end of a process."""
