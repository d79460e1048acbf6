"""Where numbers of the config must lie, by the name of the leaf: what is wrong is told before any work, and not by a worker."""

from collections.abc import Iterator, Mapping
from typing import Any

from vpo.errors import UserError

SEEDS = 2**32  # Lightning and numpy take 32 bits

# What counts something: whole numbers from 1 on.
COUNTS = (
    "batch_size", "checkpoint_every", "completion_tokens", "devices", "fps", "frames", "generations", "global_batch_size", "heads",
    "hidden_size", "intermediate_size", "layers", "log_every", "max_chars", "max_length", "max_new_tokens", "max_positions",
    "max_steps", "n", "per_device_batch_size", "prompts_every", "query_tokens", "reads_words", "rounds", "validate_every",
    "vocab_size", "workers",
)  # fmt: skip
FRACTIONS = ("fps",)  # counts that need not be whole
# Shares and probabilities: 0 to 1, both possible.
SHARES = ("unsafe_rate", "drop", "change", "leak", "lead_in", "long", "bare", "missing_tolerance", "warmup")


def check_ranges(config: Mapping[str, Any]) -> None:
    """Raise UserError for a number that lies outside of what its name allows. Nodes of a user's own class are left to it."""
    seed = config["seed"]
    if not _whole(seed) or not 0 <= seed < SEEDS:
        raise UserError(f"config: seed={seed} must be a whole number from 0 to {SEEDS - 1}")
    for path, value in _leaves(config):
        name = path.rpartition(".")[2]
        wish = _wish(name, value)
        if wish and (value is not None or (name in COUNTS and name != "max_steps")):  # no limit, by null
            raise UserError(f"config: {path}={value} must be {wish}")


def _wish(name: str, value: Any) -> str | None:
    """What the value should be and is not."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in FRACTIONS:
        return None if number and value > 0 else "a number above 0"
    if name in COUNTS:
        return None if _whole(value) and value >= 1 else "a whole number of at least 1"
    if name in SHARES:
        return None if number and 0 <= value <= 1 else "a share between 0 and 1"
    if name == "validation":
        return None if number and 0 <= value < 1 else "a share of the rows from 0 to below 1"
    if name == "top_p":
        return None if number and 0 < value <= 1 else "above 0 and at most 1"
    if name == "temperature":
        return None if number and value >= 0 else "a number of at least 0"
    return None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not str(node.get("_target_", "vpo.")).startswith("vpo."):
        return
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
