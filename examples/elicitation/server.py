"""A server that asks the user in the middle of its work: for a word, for a form, for consent."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from enfilade import Context, MCPApp

app = MCPApp(name="elicitation", version="1.0.0")

bookings: list[str] = []


@app.tool
async def choose_nickname(ctx: Context) -> str:
    """Ask the user for a nickname. There are three answers to every question, and each is handled."""
    answer = await ctx.elicit("What shall I call you?", str)
    match answer.action:
        case "accept":
            return f"Hello, {answer.data}!"
        case "decline":
            return "Then I shall not call you anything."
        case "cancel":
            return "We can talk about your name another time."


@dataclass
class Wishes:
    guests: Annotated[int, Field(ge=1, le=12, description="How many of you will come?")]
    where: Annotated[Literal["inside", "terrace"], Field(description="Where would you like to sit?")] = "inside"


@app.tool
async def book_table(restaurant: str, ctx: Context) -> str:
    """Book a table: ask by a form first, and for consent if there are many guests."""
    answer = await ctx.elicit(f"A table at {restaurant}: for whom, and where?", Wishes)
    if not answer.accepted:  # declined, or closed without an answer
        return "Nothing was booked."
    wishes = answer.data
    if wishes.guests > 6 and not (await ctx.elicit("A large table costs a deposit of 50 EUR. Go on?")).accepted:
        return "Nothing was booked."

    def book() -> int:
        bookings.append(f"{restaurant}: {wishes.guests}, {wishes.where}")
        return len(bookings)

    # Since 2026-07-28 the function runs again from the top after each answer, so what must happen once goes here.
    number = await ctx.once("book", book)
    return f"Booking {number}: {wishes.guests} guests, {wishes.where}."


if __name__ == "__main__":
    app.run()
