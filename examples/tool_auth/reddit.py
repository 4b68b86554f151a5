"""Three tools, from one that needs nothing to one that reads Reddit for the user who calls it.

Reddit gives you a client at https://www.reddit.com/prefs/apps: a *web app* whose redirect URI is
http://127.0.0.1:8000/auth/callback.
"""

import hashlib
from dataclasses import dataclass
from typing import Annotated

import httpx
from pydantic import Field

from enfilade import Context, MCPApp
from enfilade.auth import Reddit

app = MCPApp(
    name="reddit",
    version="1.0.0",
    # ENFILADE_AUTH_REDDIT_CLIENT_ID and ENFILADE_AUTH_REDDIT_CLIENT_SECRET have the id and the secret.
    tool_auth=[Reddit.client()],
    store="sqlite:///reddit.db",
)


@dataclass
class Post:
    """A post of a subreddit."""

    title: str
    author: str
    comments: int
    url: str


def http_client() -> httpx.AsyncClient:
    """Return a client for Reddit's API, which wants to know who asks."""
    return httpx.AsyncClient(
        base_url="https://oauth.reddit.com", timeout=10, headers={"User-Agent": "enfilade-example/1.0"}
    )


@app.tool
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Good day, {name}."


@app.tool(requires_secrets=["SIGNING_KEY"])
def key_in_use(ctx: Context) -> str:
    """Say which signing key is in use: by its fingerprint, and not by the key."""
    return hashlib.sha256(ctx.secret("SIGNING_KEY").encode()).hexdigest()[:12]


@app.tool(requires_auth=Reddit(scopes=["read"]))
async def newest_posts(
    subreddit: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{2,21}$", description="without r/")],
    ctx: Context,
    limit: Annotated[int, Field(ge=1, le=100)] = 10,
) -> list[Post]:
    """List the newest posts of a subreddit, the newest first."""
    async with http_client() as client:
        response = await client.get(
            f"/r/{subreddit}/new",
            params={"limit": limit, "raw_json": 1},
            headers={"Authorization": f"Bearer {ctx.auth.token}"},
        )
    posts = [child["data"] for child in response.raise_for_status().json()["data"]["children"]]
    return [
        Post(
            title=post["title"],
            author=post["author"],
            comments=post["num_comments"],
            url=f"https://www.reddit.com{post['permalink']}",
        )
        for post in posts
    ]


if __name__ == "__main__":
    app.run()
