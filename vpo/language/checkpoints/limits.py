"""What a model's config says it can take: positions, and whether its weights can be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpo.language.checkpoints.files import read_json

# The names under which configs give the tokens of the longest sequence; transformers maps others (n_positions) to the first.
POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")


@dataclass(frozen=True)
class Limits:
    """What a run must respect of the model that it starts from.

    Attributes:
        positions: tokens of the longest sequence that it reads; None where there is no such bound, or none is known.
        template_tokens: tokens of a rendered empty query.
        quantised: how its weights stay quantised after loading ("bitsandbytes", "gptq"), None for whole weights.
    """

    positions: int | None
    template_tokens: int
    quantised: str | None = None

    @classmethod
    def read(cls, folder: Path) -> "Limits | None":
        """The limits that stand in the pointer of a policy folder (`start.json`); None where it has none."""
        path = folder / "start.json"
        given = read_json(path, str(folder)).get("limits") if path.exists() else None
        return None if given is None else cls(**given)


def positions_of(config: Any) -> int | None:
    """Tokens of the longest sequence that a model reads, by its transformers config; None where there is no bound.

    State-space models have none, nor have those that bias attention by distance (ALiBi: BLOOM, a choice in Falcon; MPT keeps
    a table of `max_seq_len` biases, which is a bound). Rotary positions that are stretched (YaRN and others) reach as far as
    their factor says.
    """
    text = config.get_text_config()
    names = ("max_seq_len",) if getattr(text, "max_seq_len", None) else POSITIONS
    if getattr(text, "alibi", False):
        return None
    given = [getattr(text, name, None) for name in names]
    known = [one for one in given if isinstance(one, int) and one > 0]
    if not known:
        return None
    return max(known[0], *(_stretched(one, known[0]) for one in _rotary(getattr(text, "rope_parameters", None))))


def readable_length(max_length: int, config: Any) -> int:
    """Tokens of the longest sequence that is trained on: what the recipe allows, and what the model reads."""
    positions = positions_of(config)
    return max_length if positions is None else min(max_length, positions)


def _rotary(parameters: Any) -> list[Mapping[str, Any]]:
    """The settings of rotary positions; some models have one set for each kind of layer."""
    if not isinstance(parameters, Mapping):
        return [{}]
    return [one for one in parameters.values() if isinstance(one, Mapping)] or [parameters]


def _stretched(rope: Mapping[str, Any], positions: int) -> int:
    if rope.get("rope_type", "default") == "default" or not rope.get("factor"):
        return 0
    return int((rope.get("original_max_position_embeddings") or positions) * rope["factor"])
