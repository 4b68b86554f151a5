"""A server that offers the tools of a package beside its own."""

import arithmetic

from enfilade import MCPApp

app = MCPApp(name="prebuilt-and-custom-tools", version="1.0.0")

# Any package will do, installed or not: every function in it that is marked with `@enfilade.tool` is a tool.
app.add_tools_from_module(arithmetic)


@app.tool
def compound(capital: float, percent: float, years: int) -> float:
    """Say what a capital grows to. The package's functions stay what they are, so they can be called as well."""
    growth = 1 + arithmetic.divide(percent, 100)
    for _ in range(years):
        capital = arithmetic.multiply(capital, growth)
    return round(capital, 2)


if __name__ == "__main__":
    app.run()
