"""What users say, and the call that a model is to make of it.

    python evals/eval_tools.py

makes each of these calls, which shows that the server can do what is asked. With a model it shows more: whether
the model finds the tool and its arguments. It is reached where EVAL_URL says, which is the base of an API like
OpenAI's, such as http://127.0.0.1:11434/v1; EVAL_MODEL is its name, and EVAL_KEY the key, if one is needed.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import httpx

from enfilade.testing import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from server import app, convert, remind

Judge = Callable[[Any, Any], bool]
Asked = tuple[str, dict[str, Any]]


def same(expected: Any, actual: Any) -> bool:
    """Whether it is just what was expected."""
    return bool(expected == actual) and isinstance(expected, bool) == isinstance(actual, bool)


def near(expected: Any, actual: Any) -> bool:
    """Whether a number is no more than a hundredth away."""
    return isinstance(actual, int | float) and abs(actual - expected) <= abs(expected) / 100


def alike(expected: Any, actual: Any) -> bool:
    """Whether a text says about the same, in about the same words."""
    return SequenceMatcher(None, str(expected).lower(), str(actual).lower()).ratio() >= 0.6


@dataclass(frozen=True)
class Case:
    """What a user says, and what should come of it.

    Attributes:
        said: the user's words.
        tool: the function that is to be called.
        arguments: what with.
        judges: how an argument is compared, by its name; `same` unless it is said.
    """

    said: str
    tool: Callable[..., Any]
    arguments: dict[str, Any]
    judges: dict[str, Judge] = field(default_factory=dict)


CASES = [
    Case(
        "How far is a marathon of 42195 metres in miles?",
        convert,
        {"amount": 42195, "unit": "metre", "into": "mile"},
        {"amount": near},
    ),
    Case(
        "Tell me in an hour to water the plants.",
        remind,
        {"text": "water the plants", "minutes": 60},
        {"text": alike},
    ),
]


def faults(case: Case, calls: list[Asked]) -> list[str]:
    """Return what is wrong with the calls that a model has asked for."""
    if len(calls) != 1:
        return [f"asked for {len(calls)} calls, and not for one"]
    name, arguments = calls[0]
    if name != case.tool.__name__:
        return [f"asked for {name}, and not for {case.tool.__name__}"]
    names = sorted(case.arguments.keys() | arguments.keys())
    return [
        f"{each} is {arguments.get(each)!r}, and not {case.arguments.get(each)!r}"
        for each in names
        if each not in case.arguments
        or each not in arguments
        or not case.judges.get(each, same)(case.arguments[each], arguments[each])
    ]


async def ask(model: httpx.AsyncClient, tools: list[Any], said: str) -> list[Asked]:
    """Return the calls that a model asks for."""
    described = [
        {"name": tool.name, "description": tool.description, "parameters": tool.input_schema} for tool in tools
    ]
    request = {
        "model": os.environ.get("EVAL_MODEL", "default"),
        "messages": [{"role": "user", "content": said}],
        "tools": [{"type": "function", "function": each} for each in described],
        "temperature": 0,
    }
    answer = (await model.post("chat/completions", json=request)).raise_for_status().json()
    calls = answer["choices"][0]["message"].get("tool_calls") or []
    return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]


def is_url(text: str) -> bool:
    """Whether something can be asked over HTTP there."""
    try:
        return httpx.URL(text).scheme in {"http", "https"} and bool(httpx.URL(text).host)
    except httpx.InvalidURL:
        return False


def unasked(url: str, error: Exception) -> str:
    """Return the line that says why a model could not be asked, and what to set."""
    if isinstance(error, httpx.HTTPStatusError):
        why = f"answers with status {error.response.status_code}"
    elif isinstance(error, httpx.HTTPError):
        why = f"cannot be reached ({error or type(error).__name__})"
    else:
        why = "does not answer as an API like OpenAI's does"
    return f"{url} {why}; set EVAL_URL to the base of such an API, and EVAL_MODEL and EVAL_KEY to what it needs"


async def evaluate() -> int:
    """Print how each case went, and return the exit status: 1 if one went wrong, 2 if EVAL_URL is no URL."""
    url, key = os.environ.get("EVAL_URL"), os.environ.get("EVAL_KEY", "")
    if url and not is_url(url):
        print(f"EVAL_URL is {url!r}, and no URL such as http://127.0.0.1:11434/v1", file=sys.stderr)
        return 2
    wrong = 0
    async with (
        connect(app) as client,
        httpx.AsyncClient(
            base_url=url or "http://localhost",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=120,
        ) as model,
    ):
        tools = (await client.list_tools()).tools
        for case in CASES:
            result = await client.call_tool(case.tool.__name__, case.arguments)
            found = ["the server cannot do it"] if result.is_error else []
            if url and not found:
                try:
                    found = faults(case, await ask(model, tools, case.said))
                except (httpx.HTTPError, LookupError, TypeError, ValueError) as error:
                    print(unasked(url, error), file=sys.stderr)
                    return 1
            wrong += bool(found)
            print("wrong" if found else "ok   ", case.said, *(f"\n      {each}" for each in found))
    print(f"{len(CASES) - wrong} of {len(CASES)} went well" + ("" if url else "; no model was asked (EVAL_URL)"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(evaluate()))
