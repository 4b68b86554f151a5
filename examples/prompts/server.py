"""A server with prompts: messages for the model that a user picks from a menu and fills in."""

from typing import Annotated, Literal

from enfilade import AssistantMessage, MCPApp, Message, UserMessage

app = MCPApp(name="prompts", version="1.0.0")

TONES = ["friendly", "formal", "funny"]


@app.prompt(title="Review code")
def review(
    code: Annotated[str, "What to review"],
    language: Annotated[Literal["python", "rust", "typescript"], "What it is written in"] = "python",
) -> str:
    """Ask for a review. A text is one message of the user; the languages complete by themselves."""
    return f"Review this {language} code. Say first what is good about it.\n\n{code}"


@app.prompt(complete={"tone": TONES})
def reply(letter: str, tone: str = "friendly", words: int = 100) -> str:
    """Ask for an answer to a letter. Arguments are text on the wire, and arrive as what they were declared."""
    return f"Answer this letter in a {tone} tone, in at most {words} words:\n\n{letter}"


@app.prompt
def interview(role: str, years: int = 3) -> list[Message]:
    """Begin an interview in which the model has spoken already."""
    return [
        UserMessage(f"You interview me for the role of {role}. I have {years} years of experience."),
        AssistantMessage("Welcome! What was the hardest fault you ever had to find?"),
        UserMessage("Let me think for a moment."),
    ]


if __name__ == "__main__":
    app.run()
