"""Losses on preference pairs: pure functions on log-probabilities, nothing reduced over the batch.

Every function takes sums of completion-token log-probabilities (`vpo.training.logprobs`) and returns one value a pair.
The mean over the *global* batch (all ranks, all accumulation steps) is the caller's, because only the caller has the number of
 pairs the whole batch holds.

Notation: pi is the policy, ref the frozen reference, x the prompt, y+ the chosen and y- the rejected completion;
`log_ratio(y) = log pi(y|x) - log ref(y|x)` and `margin = log_ratio(y+) - log_ratio(y-)`.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vpo.errors import UserError

DpoKind = Literal["sigmoid", "hinge", "ipo", "robust"]


@dataclass(frozen=True)
class PairObjective:
    """What a preference training minimises.

    Attributes:
        beta: strength of the pull towards the reference, > 0.
        kind: which of the losses below; each has a function of its own.
        label_smoothing: assumed share of flipped labels, in [0, 0.5); for "sigmoid" and "robust" only.
        sft_weight: weight of the chosen sides' negative log-likelihood (0: none). It is the mean over all chosen tokens of the
            global batch, as for SFT; TRL 1.16 (loss_type "sft") takes the mean over those of a micro-batch.

    Raises:
        UserError: If a value is out of its range or `kind` is unknown.
    """

    beta: float
    kind: DpoKind = "sigmoid"
    label_smoothing: float = 0.0
    sft_weight: float = 0.0

    def __post_init__(self) -> None:
        kinds, smoothing = get_args(DpoKind), self.label_smoothing
        if self.kind not in kinds:
            raise UserError(f"objective.loss is {self.kind!r}; choose one of {', '.join(kinds)}")
        if not self.beta > 0:
            raise UserError(f"objective.beta is {self.beta}; it must be greater than 0")
        if not 0.0 <= smoothing < 0.5:
            raise UserError(f"objective.label_smoothing is {smoothing}; it must lie in [0, 0.5)")
        if smoothing and self.kind not in ("sigmoid", "robust"):
            raise UserError(f"objective.label_smoothing has no meaning for objective.loss={self.kind}; set it to 0")


class PairLoss(NamedTuple):
    """What `dpo_loss` returns; all of shape (B,), the rewards detached (they are for logging)."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def sigmoid_loss(margin: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """DPO's logistic loss, conservative (cDPO) where labels are smoothed.

    `-(1 - e) log sigmoid(beta margin) - e log sigmoid(-beta margin)`. With e = 0: Rafailov et al. 2023 (arXiv
    2305.18290), equation 7; otherwise Mitchell's note on cDPO (ericmitchell.ai/cdpo.pdf). TRL 1.16's "sigmoid" ignores
    label smoothing; its "aot_unpaired" on a single pair is this formula.

    Args:
        margin: (B,), difference of the two log-ratios in nats.
        beta: Strength of the pull towards the reference.
        label_smoothing: e, the assumed share of flipped labels, in [0, 0.5).

    Returns:
        (B,), unreduced.
    """
    logits = beta * margin
    return -(1.0 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)


def hinge_loss(margin: Tensor, beta: float) -> Tensor:
    """The hinge loss `max(0, 1 - beta margin)` of SLiC-HF and RSO (arXiv 2309.06657, section 3.2).

    Args:
        margin: (B,), in nats.
        beta: One over the margin at which a pair stops to matter.

    Returns:
        (B,), unreduced.
    """
    return torch.relu(1.0 - beta * margin)


def ipo_loss(
    chosen_ratio: Tensor, rejected_ratio: Tensor, chosen_lengths: Tensor, rejected_lengths: Tensor, beta: float
) -> Tensor:
    """The length-normalised IPO loss, `(h - 1 / (2 beta))^2` with h the difference of *mean* log-ratios per token.

    Azar et al. 2023 (arXiv 2310.12036), equation 17, has sums; the mean is what its authors ran (TRL 1.16,
    trainer/dpo_trainer.py, "ipo"). `beta` is the paper's tau.

    Args:
        chosen_ratio: (B,), log-ratio of the chosen completion, summed over tokens.
        rejected_ratio: (B,), the same for the rejected one.
        chosen_lengths: (B,), completion tokens; taken as 1 where 0.
        rejected_lengths: (B,).
        beta: tau.

    Returns:
        (B,), unreduced.
    """
    h = chosen_ratio / chosen_lengths.clamp(min=1) - rejected_ratio / rejected_lengths.clamp(min=1)
    return (h - 1.0 / (2.0 * beta)) ** 2


def robust_loss(margin: Tensor, beta: float, label_smoothing: float) -> Tensor:
    """The noise-corrected DPO loss: unbiased when a share e of the labels is flipped.

    `(-(1 - e) log sigmoid(beta margin) + e log sigmoid(-beta margin)) / (1 - 2 e)`: Chowdhury et al. 2024
    (arXiv 2403.00409), equation 12; TRL 1.16 "robust". The second term's sign is the opposite of `sigmoid_loss`'s.

    Args:
        margin: (B,), in nats.
        beta: As for DPO.
        label_smoothing: e, in [0, 0.5).

    Returns:
        (B,), unreduced; may be negative.
    """
    logits = beta * margin
    clean = -(1.0 - label_smoothing) * F.logsigmoid(logits)
    flipped = -label_smoothing * F.logsigmoid(-logits)
    return (clean - flipped) / (1.0 - 2.0 * label_smoothing)


def dpo_loss(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    objective: PairObjective,
    lengths: tuple[Tensor, Tensor] | None = None,
) -> PairLoss:
    """The preference loss of each pair, and the implicit rewards `beta * log_ratio` of both sides.

    Computed in fp32 whatever the dtype of the log-probabilities. With policy == reference the sigmoid and the robust
    loss are ln 2, hinge is 1 and ipo is 1 / (4 beta^2). The objective's `sft_weight` is not applied here, because its mean is
    over tokens.

    Args:
        chosen: (B,), sum of the policy's log-probabilities over the chosen completion's tokens, nats.
        rejected: (B,), the same for the rejected completion.
        ref_chosen: (B,), the reference's; no gradient flows into it.
        ref_rejected: (B,).
        objective: Which loss, and its parameters.
        lengths: Completion tokens of the chosen and of the rejected sides, (B,) each; needed by "ipo".

    Returns:
        Losses and rewards, each (B,).

    Raises:
        ValueError: If "ipo" is given no lengths.
    """
    beta = objective.beta
    chosen_ratio = chosen.float() - ref_chosen.detach().float()
    rejected_ratio = rejected.float() - ref_rejected.detach().float()
    margin = chosen_ratio - rejected_ratio
    match objective.kind:
        case "sigmoid":
            losses = sigmoid_loss(margin, beta, objective.label_smoothing)
        case "hinge":
            losses = hinge_loss(margin, beta)
        case "robust":
            losses = robust_loss(margin, beta, objective.label_smoothing)
        case "ipo":
            if lengths is None:
                raise ValueError("ipo is normalised by length: pass lengths")
            losses = ipo_loss(chosen_ratio, rejected_ratio, *lengths, beta)
    return PairLoss(losses, beta * chosen_ratio.detach(), beta * rejected_ratio.detach())
