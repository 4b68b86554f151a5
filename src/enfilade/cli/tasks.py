"""`enfilade tasks`: the tasks that a server keeps in its store."""

from typing import Final

from enfilade.cli.command import Group

tasks: Final = Group(
    "tasks",
    modules={
        "list": "enfilade.cli.task_records",
        "show": "enfilade.cli.task_records",
        "cancel": "enfilade.cli.task_records",
    },
    subcommand_metavar="COMMAND [ARGS]...",
    help="Tasks: list those of a server, show one, cancel one.",
)
