"""The everything server's tools that ask: the user, the client's model, the client.

Those that begin with `test_input_required_result` return their questions, and so have their keys on the wire; the
others ask in the middle. Either way the same function serves clients of every revision.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from enfilade import (
    Choices,
    Context,
    InputRequired,
    elicitation,
    roots,
    sampling,
    text_of,
    tool,
)

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CONFIRM = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
COLOR = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}

Titled = Annotated[str, Choices({"value1": "First Option", "value2": "Second Option", "value3": "Third Option"})]
Untitled = Literal["option1", "option2", "option3"]


# -- in the middle of a tool -----------------------------------------------------------------------------------


@tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Let the client's model answer a prompt."""
    return f"LLM response: {text_of(await ctx.sample(prompt, max_tokens=100))}"


@dataclass
class Account:
    username: Annotated[str, "who you are"]
    email: Annotated[str, "where you are reached"]


@tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user for two texts."""
    answer = await ctx.elicit(message, Account)
    return f"User response: action={answer.action}, content={answer.content}"


@dataclass
class Defaults:
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


@tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user by a form with a default of each type."""
    answer = await ctx.elicit("Please review and update the form fields with defaults", Defaults)
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


class Enums(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    untitled_single: Untitled
    titled_single: Titled
    legacy_enum: Annotated[
        Literal["opt1", "opt2"], Field(json_schema_extra={"enumNames": ["Option One", "Option Two"]})
    ]
    untitled_multi: list[Untitled]
    titled_multi: list[Titled]


@tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user by a form with each of the five shapes of choices."""
    answer = await ctx.elicit("Please select options from the enum fields", Enums)
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


@tool
async def test_streaming_elicitation(ctx: Context) -> str:
    """Ask for consent in the middle."""
    return f"The user's action was {(await ctx.elicit('May I go on?', bool)).action}."


# -- questions that are returned -------------------------------------------------------------------------------


@tool
async def test_input_required_result_elicitation(ctx: Context) -> str | InputRequired:
    """Ask for a name and greet."""
    answer = ctx.input_responses.get("user_name")
    if answer is None:
        return InputRequired({"user_name": elicitation("What is your name?", NAME)})
    return f"Hello, {answer.data['name']}!" if answer.accepted else "Hello, whoever you are!"


@tool
async def test_input_required_result_sampling(ctx: Context) -> str | InputRequired:
    """Ask the client's model."""
    answer = ctx.input_responses.get("capital_question")
    if answer is None:
        question = sampling("What is the capital of France?", max_tokens=100)
        return InputRequired({"capital_question": question})
    return text_of(answer)


@tool
async def test_input_required_result_list_roots(ctx: Context) -> str | InputRequired:
    """Ask for the client's roots."""
    answer = ctx.input_responses.get("client_roots")
    if answer is None:
        return InputRequired({"client_roots": roots()})
    return f"Roots: {', '.join(root.uri for root in answer) or 'none'}"


@tool
async def test_input_required_result_request_state(ctx: Context) -> str | InputRequired:
    """Ask for a confirmation, and find what was left for the next run."""
    if "confirm" not in ctx.input_responses:
        return InputRequired({"confirm": elicitation("Please confirm", CONFIRM)}, state="left in round 1")
    return "state-ok" if ctx.input_state == "left in round 1" else "state-lost"


@tool
async def test_input_required_result_multiple_inputs(ctx: Context) -> str | InputRequired:
    """Ask three questions of three kinds at once."""
    found = ctx.input_responses
    if not found:
        questions = {
            "user_name": elicitation("What is your name?", NAME),
            "greeting": sampling("Generate a greeting", max_tokens=50),
            "client_roots": roots(),
        }
        return InputRequired(questions, state="three questions")
    return f"{text_of(found['greeting'])} ({len(found['client_roots'])} roots, {found['user_name'].content})"


@tool
async def test_input_required_result_multi_round(ctx: Context) -> str | InputRequired:
    """Ask one question after the other."""
    found = ctx.input_responses
    if "step2" in found:
        return f"{ctx.input_state['name']} likes {found['step2'].content}."
    if "step1" in found:
        question = elicitation("Step 2: What is your favorite color?", COLOR)
        return InputRequired({"step2": question}, state={"name": found["step1"].content})
    return InputRequired({"step1": elicitation("Step 1: What is your name?", NAME)}, state="step 1")


@tool
async def test_input_required_result_tampered_state(ctx: Context) -> str | InputRequired:
    """Ask for a confirmation, with a state that nobody may change."""
    if "confirm" not in ctx.input_responses:
        return InputRequired({"confirm": elicitation("Please confirm", CONFIRM)}, state="sealed")
    return f"The state came back as it was: {ctx.input_state}"


@tool
async def test_input_required_result_capabilities(ctx: Context) -> str | InputRequired:
    """Ask only what the client can be asked."""
    if ctx.input_responses:
        return f"Answered: {', '.join(ctx.input_responses)}"
    all_questions = {
        "elicitation": elicitation("Please confirm", CONFIRM),
        "sampling": sampling("Say something", max_tokens=50),
        "roots": roots(),
    }
    askable = {name: each for name, each in all_questions.items() if ctx.supports(name)}
    return InputRequired(askable) if askable else "There is nothing that this client can be asked."
