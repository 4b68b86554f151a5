"""Tasks: calls of tools that go on after their response, in both dialects of the protocol, on every store."""

from enfilade.extensions.tasks.extension import TasksExtension

__all__ = ["TasksExtension"]
