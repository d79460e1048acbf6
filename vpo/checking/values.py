"""The kinds of values that a config holds: pydantic's strict types with a bound, and in words what each must be."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

SEEDS = 2**32  # Lightning and numpy take 32 bits


def _fits(value: Any, *, requirement: str, fits: Callable[[Any], bool]) -> Any:
    if value is not None and not fits(value):
        raise PydanticCustomError("bound", "{requirement}", {"requirement": requirement})
    return value


def bound(requirement: str, fits: Callable[[Any], bool]) -> AfterValidator:
    """A bound of a number, and in words what it requires ("above 0")."""
    return AfterValidator(partial(_fits, requirement=requirement, fits=fits))


AT_LEAST_1 = bound("a whole number of at least 1", lambda value: value >= 1)
ABOVE_0 = bound("above 0", lambda value: value > 0)
SHARE = bound("a share between 0 and 1", lambda value: 0 <= value <= 1)
NUCLEUS = bound("above 0 and at most 1", lambda value: 0 < value <= 1)
AT_LEAST_0 = bound("a number of at least 0", lambda value: value >= 0)

Count = Annotated[int, AT_LEAST_1]
WholeFrom0 = Annotated[int, bound("a whole number of at least 0", lambda value: value >= 0)]
Seed = Annotated[int, bound(f"a whole number from 0 to {SEEDS - 1}", lambda value: 0 <= value < SEEDS)]
Above0 = Annotated[float, ABOVE_0]
AtLeast0 = Annotated[float, AT_LEAST_0]
Share = Annotated[float, SHARE]
Nucleus = Annotated[float, NUCLEUS]
Permutations = Annotated[int, bound("a whole number of at least 16", lambda value: value >= 16)]
HeldOut = Annotated[float, bound("a share of the rows from 0 to below 1", lambda value: 0 <= value < 1)]
Betas = Annotated[
    list[float], bound("two numbers from 0 to below 1", lambda two: len(two) == 2 and all(0 <= one < 1 for one in two))
]

# The arguments of our classes are bounded by their names, which mean the same in every class.
BY_NAME: dict[str, AfterValidator] = {
    **dict.fromkeys(
        (
            "batch_size", "frames", "heads", "hidden_size", "intermediate_size", "layers", "max_chars", "max_length",
            "max_new_tokens", "max_positions", "n", "reads_words", "rounds", "vocab_size", "workers", "concurrency",
            "requests_per_minute", "tokens_per_minute", "height", "width", "steps",
        ),
        AT_LEAST_1,
    ),
    **dict.fromkeys(("unsafe_rate", "drop", "change", "leak", "lead_in", "long", "bare", "missing_tolerance", "mutate"), SHARE),
    "fps": bound("a number above 0", lambda value: value > 0),
    "temperature": AT_LEAST_0,
    **dict.fromkeys(("timeout", "call_timeout", "look_every"), ABOVE_0),
    **dict.fromkeys(("max_retries", "price_in", "price_out", "price", "max_cost", "guidance"), AT_LEAST_0),
    "top_p": NUCLEUS,
}  # fmt: skip
