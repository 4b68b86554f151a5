"""Well-known providers, as data: where they are, how they take scopes, what scopes mean in words.

A preset has no code of its own. What a provider does otherwise than RFC 6749 is an argument of `OAuth2`.
"""

from typing import Final

from enfilade.auth.oauth_providers.provider import OAuth2

Asana: Final = OAuth2(
    "asana",
    "https://app.asana.com/-/oauth_authorize",
    "https://app.asana.com/-/oauth_token",
    "https://app.asana.com/-/oauth_revoke",
    title="Asana",
    token_auth="post",
    user_info_url="https://app.asana.com/api/1.0/openid_connect/userinfo",
)

Atlassian: Final = OAuth2(
    "atlassian",
    "https://auth.atlassian.com/authorize",
    "https://auth.atlassian.com/oauth/token",
    scopes=["offline_access"],
    title="Atlassian",
    token_auth="post",
    user_info_url="https://api.atlassian.com/me",
    authorize_parameters={"audience": "api.atlassian.com", "prompt": "consent"},
    scope_texts={
        "read:jira-work": "read issues and projects in Jira",
        "write:jira-work": "create and change issues in Jira",
        "read:jira-user": "see the users of Jira",
        "read:me": "see your profile",
        "offline_access": "keep access while you are away",
    },
)

Discord: Final = OAuth2(
    "discord",
    "https://discord.com/oauth2/authorize",
    "https://discord.com/api/oauth2/token",
    "https://discord.com/api/oauth2/token/revoke",
    title="Discord",
    user_info_url="https://discord.com/api/users/@me",
    scope_texts={
        "identify": "see your name and picture",
        "email": "see your email address",
        "guilds": "see the servers that you are in",
    },
)

Dropbox: Final = OAuth2(
    "dropbox",
    "https://www.dropbox.com/oauth2/authorize",
    "https://api.dropboxapi.com/oauth2/token",
    title="Dropbox",
    token_auth="post",
    authorize_parameters={"token_access_type": "offline"},
    scope_texts={
        "files.metadata.read": "see the names of your files and folders",
        "files.content.read": "read your files",
        "files.content.write": "change your files",
    },
)

Figma: Final = OAuth2(
    "figma",
    "https://www.figma.com/oauth",
    "https://api.figma.com/v1/oauth/token",
    title="Figma",
    user_info_url="https://api.figma.com/v1/me",
    scope_separator=" ",
)

GitHub: Final = OAuth2(
    "github",
    "https://github.com/login/oauth/authorize",
    "https://github.com/login/oauth/access_token",
    title="GitHub",
    token_auth="post",
    user_info_url="https://api.github.com/user",
    granted_separator=",",
    scope_includes={
        "repo": ["repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"],
        "admin:org": ["write:org", "read:org"],
        "write:org": ["read:org"],
        "user": ["read:user", "user:email", "user:follow"],
        "project": ["read:project"],
        "admin:repo_hook": ["write:repo_hook", "read:repo_hook"],
        "write:packages": ["read:packages"],
    },
    scope_texts={
        "repo": "read and change your repositories, private ones too",
        "public_repo": "read and change your public repositories",
        "read:user": "see your profile",
        "user:email": "see your email addresses",
        "read:org": "see which organizations and teams you are in",
        "gist": "create gists",
        "notifications": "read your notifications",
        "workflow": "change workflows of GitHub Actions",
    },
)

GitLab: Final = OAuth2(
    "gitlab",
    "https://gitlab.com/oauth/authorize",
    "https://gitlab.com/oauth/token",
    "https://gitlab.com/oauth/revoke",
    title="GitLab",
    token_auth="post",
    user_info_url="https://gitlab.com/oauth/userinfo",
    scope_includes={"api": ["read_api"]},
    scope_texts={
        "api": "read and change everything that you can reach by the API",
        "read_api": "read everything that you can reach by the API",
        "read_user": "see your profile",
        "read_repository": "read your repositories",
        "write_repository": "change your repositories",
    },
)

Google: Final = OAuth2(
    "google",
    "https://accounts.google.com/o/oauth2/v2/auth",
    "https://oauth2.googleapis.com/token",
    "https://oauth2.googleapis.com/revoke",
    title="Google",
    token_auth="post",
    issuer="https://accounts.google.com",
    user_info_url="https://openidconnect.googleapis.com/v1/userinfo",
    authorize_parameters={"access_type": "offline", "prompt": "consent"},
    scope_includes={  # it answers with the long names
        "https://www.googleapis.com/auth/userinfo.email": ["email"],
        "https://www.googleapis.com/auth/userinfo.profile": ["profile"],
    },
    scope_texts={
        "openid": "see who you are",
        "email": "see your email address",
        "profile": "see your name and picture",
        "https://www.googleapis.com/auth/calendar": "read and change your calendars",
        "https://www.googleapis.com/auth/calendar.readonly": "read your calendars",
        "https://www.googleapis.com/auth/drive": "read and change your files in Drive",
        "https://www.googleapis.com/auth/drive.file": "read and change files in Drive that it has made or opened",
        "https://www.googleapis.com/auth/drive.readonly": "read your files in Drive",
        "https://www.googleapis.com/auth/gmail.readonly": "read your mail",
        "https://www.googleapis.com/auth/gmail.send": "send mail in your name",
        "https://www.googleapis.com/auth/spreadsheets": "read and change your spreadsheets",
    },
)

HubSpot: Final = OAuth2(
    "hubspot",
    "https://app.hubspot.com/oauth/authorize",
    "https://api.hubapi.com/oauth/v1/token",
    title="HubSpot",
    token_auth="post",
)

Linear: Final = OAuth2(
    "linear",
    "https://linear.app/oauth/authorize",
    "https://api.linear.app/oauth/token",
    "https://api.linear.app/oauth/revoke",
    title="Linear",
    token_auth="post",
    scope_separator=",",
    granted_separator=",",
    authorize_parameters={"prompt": "consent"},
    scope_texts={
        "read": "read what you can read in Linear",
        "write": "change what you can change in Linear",
        "issues:create": "create issues",
        "comments:create": "comment on issues",
    },
)

LinkedIn: Final = OAuth2(
    "linkedin",
    "https://www.linkedin.com/oauth/v2/authorization",
    "https://www.linkedin.com/oauth/v2/accessToken",
    title="LinkedIn",
    token_auth="post",
    granted_separator=",",
    user_info_url="https://api.linkedin.com/v2/userinfo",
    scope_texts={"w_member_social": "post in your name", "profile": "see your name and picture"},
)

Microsoft: Final = OAuth2(
    "microsoft",
    "https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
    "https://login.microsoftonline.com/common/oauth2/v2.0/token",
    scopes=["offline_access"],
    title="Microsoft",
    token_auth="post",
    user_info_url="https://graph.microsoft.com/oidc/userinfo",
    scope_texts={
        "offline_access": "keep access while you are away",
        "User.Read": "see your profile",
        "Mail.Read": "read your mail",
        "Mail.Send": "send mail in your name",
        "Calendars.Read": "read your calendars",
        "Calendars.ReadWrite": "read and change your calendars",
        "Files.Read": "read your files",
        "Files.ReadWrite": "read and change your files",
    },
)

Notion: Final = OAuth2(
    "notion",
    "https://api.notion.com/v1/oauth/authorize",
    "https://api.notion.com/v1/oauth/token",
    title="Notion",
    token_body="json",
    authorize_parameters={"owner": "user"},
)

Reddit: Final = OAuth2(
    "reddit",
    "https://www.reddit.com/api/v1/authorize",
    "https://www.reddit.com/api/v1/access_token",
    "https://www.reddit.com/api/v1/revoke_token",
    title="Reddit",
    user_info_url="https://oauth.reddit.com/api/v1/me",
    authorize_parameters={"duration": "permanent"},
    scope_texts={
        "identity": "see your name",
        "read": "read posts and comments",
        "submit": "post and comment in your name",
        "vote": "vote in your name",
    },
)

Slack: Final = OAuth2(
    "slack",
    "https://slack.com/oauth/v2/authorize",
    "https://slack.com/api/oauth.v2.access",
    title="Slack",
    token_auth="post",
    scope_separator=",",
    granted_separator=",",
    scope_parameter="user_scope",  # `scope` would ask for a token of a bot
    token_path=("authed_user",),
    scope_texts={
        "channels:read": "see the public channels",
        "channels:history": "read public channels",
        "chat:write": "write messages in your name",
        "search:read": "search what you can read",
        "users:read": "see the members of the workspace",
    },
)

Spotify: Final = OAuth2(
    "spotify",
    "https://accounts.spotify.com/authorize",
    "https://accounts.spotify.com/api/token",
    title="Spotify",
    user_info_url="https://api.spotify.com/v1/me",
    scope_texts={
        "playlist-read-private": "see your private playlists",
        "playlist-modify-private": "change your private playlists",
        "user-library-read": "see your saved music",
        "user-read-playback-state": "see what you listen to",
        "user-modify-playback-state": "control what you listen to",
    },
)

Twitch: Final = OAuth2(
    "twitch",
    "https://id.twitch.tv/oauth2/authorize",
    "https://id.twitch.tv/oauth2/token",
    "https://id.twitch.tv/oauth2/revoke",
    title="Twitch",
    token_auth="post",
    user_info_url="https://id.twitch.tv/oauth2/userinfo",
)

X: Final = OAuth2(
    "x",
    "https://x.com/i/oauth2/authorize",
    "https://api.x.com/2/oauth2/token",
    "https://api.x.com/2/oauth2/revoke",
    scopes=["offline.access"],
    title="X",
    user_info_url="https://api.x.com/2/users/me",
    scope_texts={
        "offline.access": "keep access while you are away",
        "tweet.read": "read posts",
        "tweet.write": "post in your name",
        "users.read": "see profiles",
    },
)

Zoom: Final = OAuth2(
    "zoom",
    "https://zoom.us/oauth/authorize",
    "https://zoom.us/oauth/token",
    "https://zoom.us/oauth/revoke",
    title="Zoom",
    user_info_url="https://api.zoom.us/v2/users/me",
)

#: All of them by their ids.
PRESETS: Final = {
    provider.id: provider
    for provider in (
        *(Asana, Atlassian, Discord, Dropbox, Figma, GitHub, GitLab, Google, HubSpot, Linear, LinkedIn),
        *(Microsoft, Notion, Reddit, Slack, Spotify, Twitch, X, Zoom),
    )
}
