"""TRL's GRPOTrainer, fed with token ids.

By itself it renders and tokenises prompts, and would read control tokens in a query. A module of its own, because importing TRL's
trainer takes seconds.
"""

from typing import Any

from trl import GRPOTrainer

from vpo.errors import UserError


class TrainerOfIds(GRPOTrainer):
    """GRPO on prompts that are token ids already.

    Raises:
        UserError: If TRL tokenises elsewhere than where this class knows of.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if not hasattr(GRPOTrainer, "_tokenize_prompts"):
            raise UserError("objective=grpo: this version of trl takes no token ids; install trl>=1.16,<2")
        super().__init__(*arguments, **named)

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """The prompts as they are; images and other fields there are none."""
        return [list(ids) for ids in prompts], None, {}
