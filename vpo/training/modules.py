"""The two LightningModules: supervised fine-tuning and direct preference optimization.

Optimizer, schedule and logging are here; the mathematics is in `losses` and `logprobs`. Losses are normalised over the
whole global batch (SFT by completion tokens, preferences by rows): each micro-batch divides its sum by the global count that
the batch carries, and undoes the two averages that Lightning takes (over accumulation, over ranks).
"""

import math
from fractions import Fraction
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from vpo.errors import UserError
from vpo.seeding import seed_of
from vpo.training.data import Batch
from vpo.training.forward import Reader
from vpo.training.losses import PairObjective, dpo_loss
from vpo.training.strategy import averaging_divisor, clip_gradients, gradient_norm


class PolicyModule(pl.LightningModule):
    """What both stages share: the policy, AdamW with a schedule, and metrics summed over a global batch.

    Args:
        reader: computes log-probabilities with the model that is trained.
        optimizer: `lr`, `betas`, `weight_decay`, `schedule` ("constant", "linear", "cosine", "step"), `warmup` (fraction of the
            steps), and for "step" `gamma`, by which the rate is multiplied after every epoch.
        total_steps: optimizer steps of the whole training.
        seed: of dropout.
        epoch_steps: optimizer steps of an epoch, not always a whole number; 0 where nothing goes by epochs.
    """

    def __init__(
        self,
        reader: Reader,
        optimizer: dict[str, Any],
        total_steps: int,
        seed: int = 0,
        *,
        epoch_steps: Fraction | int = 0,
    ) -> None:
        super().__init__()
        self.epoch_steps = epoch_steps
        self.model, self.reader = reader.model, reader
        self.optimizer, self.total_steps, self.seed = optimizer, total_steps, seed
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        # A checkpoint of an adapter lacks the base. Names are taken now: FSDP gives parameters others.
        self.strict_loading = all(parameter.requires_grad for parameter in self.model.parameters())
        self._kept = None if self.strict_loading else trained
        self._sums: dict[str, Tensor] = {}
        self._last_micro = True

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Summed log-probability of every completion, (B * C,), and its number of tokens, (B * C,)."""
        return self.reader.logprobs(batch.sequences)

    def trained_state(self) -> dict[str, Tensor]:
        """The part of the state dict that training changes, which a checkpoint holds: all of it, or an adapter."""
        return {name: value for name, value in self.state_dict().items() if self._kept is None or name in self._kept}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out a frozen base, which may be a hundred times as large as its adapter."""
        if self._kept is not None:
            held = checkpoint["state_dict"]
            checkpoint["state_dict"] = {name: value for name, value in held.items() if name in self._kept}

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Draw dropout from the step, not from what was drawn before it, so that a resumed run draws the same."""
        accumulate = self.trainer.accumulate_grad_batches
        micro = batch_index % accumulate
        self._last_micro = micro == accumulate - 1
        torch.manual_seed(seed_of("dropout", self.seed, self.global_step, micro, self.global_rank))

    def configure_optimizers(self) -> dict[str, Any]:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        chosen = self.optimizer
        optimizer = torch.optim.AdamW(
            trained, lr=chosen["lr"], betas=tuple(chosen["betas"]), weight_decay=chosen["weight_decay"]
        )
        warmup = max(1, round(chosen["warmup"] * self.total_steps))
        shape = SCHEDULES.get(chosen["schedule"])
        if shape is None:
            raise UserError(f"schedule={chosen['schedule']} is unknown; choose one of {', '.join(SCHEDULES)}")

        def factor(step: int) -> float:
            done = max(0, step - warmup) / max(1, self.total_steps - warmup)
            epochs = int(step // self.epoch_steps) if self.epoch_steps else 0
            return min(1.0, (step + 1) / warmup) * shape(done, chosen.get("gamma", 1.0) ** epochs)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def scaled(self, loss_sum: Tensor, batch: Batch) -> Tensor:
        """This micro-batch's part of the global mean, before Lightning averages over accumulation and ranks."""
        return loss_sum / batch.normaliser * averaging_divisor(self.trainer)

    def add(self, **metrics: Tensor) -> None:
        """Sum metrics until the optimizer steps."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=self.device)) + value.detach().float().sum()

    def flush(self) -> dict[str, float]:
        """The sums over micro-batches and ranks; starts anew."""
        sums, self._sums = self._sums, {}
        return {name: self.trainer.strategy.reduce(value, reduce_op="sum").item() for name, value in sums.items()}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log what this update is made of: its metrics, its learning rate and the gradient's norm before clipping.

        Lightning steps the schedule before a batch ends, so the rate must be read here. DeepSpeed calls this for every
        micro-batch, the others for the last one of a step.

        Raises:
            UserError: If the loss or the gradient is not finite; the weights are still those of the step before.
        """
        if not self._last_micro:
            return
        metrics = self.metrics(self.flush())
        self._check_finite("loss", metrics["loss"])
        norm = gradient_norm(self.trainer, self.parameters())
        if norm is not None:
            self._check_finite("gradient norm", norm.item())
            self.log("train/grad_norm", norm)
        self.log("train/lr", optimizer.param_groups[0]["lr"])
        for name, value in metrics.items():
            self.log(f"train/{name}", value, prog_bar=name == "loss")

    def _check_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise UserError(
                f"training diverged at step {self.global_step} ({name} {value}); lower lr or use a wider precision; "
                "the last checkpoint is kept"
            )

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        clip_gradients(self.trainer, self, gradient_clip_val)

    def on_validation_epoch_end(self) -> None:
        if self._sums:
            for name, value in self.metrics(self.flush()).items():
                self.log(f"val/{name}", value, prog_bar=name == "loss")

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Named metrics of a global batch from its sums, "loss" among them."""
        raise UserError(f"{type(self).__name__} names no metrics; override metrics()")


# How far a completion's log-probability may be from the reference's before the first update: nats times the root of its tokens,
# because the rounding errors of tokens are independent. The reference is read in 32 bits, another policy is off by nats. A policy
# that is read in 16 bits differs from it by rounding alone. Layers of 8 bits round their inputs, too, and which features they
# spare depends on the batch (arXiv 2208.07339, section 3.2).
EXACT, ROUNDED = 0.03, 0.5

SCHEDULES = {
    "constant": lambda done, fallen: 1.0,
    "linear": lambda done, fallen: 1.0 - done,
    "cosine": lambda done, fallen: 0.5 * (1 + math.cos(math.pi * min(1.0, done))),
    "step": lambda done, fallen: fallen,
}  # from the share of the steps after warm-up that are done, and gamma to the number of whole epochs that are


class SFTModule(PolicyModule):
    """Maximum likelihood of the completion given the rendered query (VPO, section 3.2): only completion tokens count."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        return self.scaled(self._nll(batch), batch)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._nll(batch)

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"loss": sums["nll"] / sums["tokens"], "tokens": sums["tokens"]}

    def _nll(self, batch: Batch) -> Tensor:
        logps, tokens = self(batch)
        nll = -(logps * batch.weight).sum()
        self.add(nll=nll, tokens=tokens * batch.weight)
        return nll


class DPOModule(PolicyModule):
    """Direct preference optimization (Rafailov et al. 2023, eq. 7) with a reference that is computed beforehand.

    Args:
        objective: the preference loss and its weights.
    """

    def __init__(
        self,
        reader: Reader,
        optimizer: dict[str, Any],
        total_steps: int,
        seed: int = 0,
        *,
        objective: PairObjective,
        epoch_steps: Fraction | int = 0,
    ) -> None:
        super().__init__(reader, optimizer, total_steps, seed, epoch_steps=epoch_steps)
        self.objective = objective

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        logps, tokens = self(batch)
        if self.global_step == 0:  # before the first update, which a resumed training has done already
            self._check_reference(logps.detach(), batch.reference.flatten(), tokens)
        losses, chosen = self._losses(batch, logps, tokens)
        weight = self.objective.sft_weight
        if weight:  # in units of pairs, because `scaled` divides by these
            losses = losses - weight * chosen * batch.normaliser / batch.chosen_tokens
        return self.scaled(losses, batch)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._losses(batch, *self(batch))

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        pairs, tokens = sums.pop("pairs"), sums.pop("chosen_tokens")
        means = {name: value / pairs for name, value in sums.items()}
        means["loss"] -= self.objective.sft_weight * sums["logps/chosen"] / tokens
        return {**means, "rewards/margins": means["rewards/chosen"] - means["rewards/rejected"], "pairs": pairs}

    def _losses(self, batch: Batch, logps: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over the pairs of a batch: of the preference loss, and of the chosen sides' log-probabilities.

        Args:
            batch: the pairs.
            logps: (B * 2,), the policy's summed log-probabilities.
            tokens: (B * 2,), over how many tokens.
        """
        (chosen, rejected), lengths = logps.view(-1, 2).T, tokens.view(-1, 2).T
        ref_chosen, ref_rejected = batch.reference.T
        pair = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, self.objective, (lengths[0], lengths[1]))
        weight = batch.weight
        self.add(
            **{
                "loss": pair.losses * weight,
                "rewards/chosen": pair.chosen_rewards * weight,
                "rewards/rejected": pair.rejected_rewards * weight,
                "rewards/accuracy": (pair.chosen_rewards > pair.rejected_rewards) * weight,
                "logps/chosen": chosen * weight,
                "logps/rejected": rejected * weight,
                "chosen_tokens": lengths[0] * weight,
                "pairs": weight,
            }
        )
        return (pair.losses * weight).sum(), (chosen * weight).sum()

    def _check_reference(self, policy: Tensor, reference: Tensor, tokens: Tensor) -> None:
        """Before the first update policy and reference are the same, completion by completion.

        The loss does not show it: it contains differences of the two sides, and their mean.

        Args:
            policy: (B * 2,), summed log-probabilities, nats.
            reference: (B * 2,), likewise.
            tokens: (B * 2,), over how many tokens.

        Raises:
            UserError: If one differs by more than rounding does, or is not a number.
        """
        rounded = "16" in str(self.trainer.precision) or any(one.dtype == torch.int8 for one in self.parameters())
        due = (ROUNDED if rounded else EXACT) * tokens.clamp(min=1).sqrt()
        gap = (policy - reference).abs()
        wrong = ~(gap <= due)  # NaN is neither above nor below
        if not wrong.any():
            return
        worst = int(torch.where(gap.isfinite(), gap / due, torch.inf).argmax())
        one, other, limit = (each[worst].item() for each in (policy, reference, due))
        if not math.isfinite(one):
            raise UserError(
                f"the starting policy gives a completion of {tokens[worst]} tokens a log-probability of {one}; look at its weights "
                "or use a wider precision"
            )
        raise UserError(
            f"the reference log-probabilities are not those of the starting policy: a completion of {tokens[worst]} tokens has "
            f"{one:.3f} nats under the policy and {other:.3f} in the reference, and rounding explains {limit:.3f} "
            f"({int(wrong.sum())} of {len(wrong)} completions are off); redo them with recompute=reference"
        )
