"""Arithmetic, as a package of tools that knows no server: each function is only marked."""

from arithmetic.basic import divide, multiply
from arithmetic.statistics import mean

__all__ = ["divide", "mean", "multiply"]
