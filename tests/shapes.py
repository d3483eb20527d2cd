"""The checker that runs the annotated shapes and types in tests."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception

P = ParamSpec("P")
T = TypeVar("T")

# As for mypy, an int will do where a float is asked for.
CONF = BeartypeConf(is_pep484_tower=True)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Check the arguments and the result of ``function`` at each call."""
    try:
        return beartype(conf=CONF)(function)
    except BeartypeDecorHintPep3119Exception:
        # A protocol that only mypy can check; it has no shape either.
        return function
