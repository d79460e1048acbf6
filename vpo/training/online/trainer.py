"""TRL's GRPOTrainer for prompts that are token ids.

By itself it renders and tokenises prompts, and would read control tokens in a query. A module of its own, because importing TRL's
trainer takes seconds.
"""

from typing import Any

from trl import GRPOTrainer


class TrainerOfIds(GRPOTrainer):
    """GRPO on prompts that are token ids already."""

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The prompts as they are, no images and no fields of other kinds: the one place where TRL 1.x tokenises."""
        return [list(ids) for ids in prompts], None, {}
