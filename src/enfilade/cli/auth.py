"""`enfilade auth`: the commands of authorization."""

from typing import Final

from enfilade.cli.command import Group

auth: Final = Group(
    "auth",
    modules={
        "check": "enfilade.cli.auth_check",
        "logout": "enfilade.cli.auth_logout",
        "hash-key": "enfilade.cli.auth_keys",
        "list": "enfilade.cli.auth_tokens",
        "login": "enfilade.cli.auth_login",
        "revoke": "enfilade.cli.auth_tokens",
    },
    subcommand_metavar="COMMAND [ARGS]...",
    help="Authorization: check a protected server, end a login, make API keys, and what tools have access to.",
)
