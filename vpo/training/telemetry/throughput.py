"""How fast a training goes: tokens, completions and rows per second, and the share of the device's peak that it uses.

These metrics depend on the machine and on its load, so two equal trainings differ in them, and in nothing else: a comparison of
trainings leaves `WALL_CLOCK` out.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.throughput import get_available_flops
from torch import Tensor, nn

from vpo.errors import UserError
from vpo.training.data import Batch, Padded
from vpo.training.logprobs import unwrap
from vpo.training.packing.attention import PADDING

WALL_CLOCK = (
    "train/tokens_per_second",
    "train/completion_tokens_per_second",
    "train/rows_per_second",
    "train/pairs_per_second",
    "train/mfu",
)

# Dense tensor-core TFLOP/s with 16-bit inputs and fp32 accumulation, by words of the name that CUDA reports. Data sheets print
# the double for 2:4 sparse matrices. Only devices that Lightning 2.6 lacks or has wrong (a test lists its values): B200, H200 and
# A10 are unknown to it, L40 and L40S get the peak of an L4, an H100 NVL that of two cards, and RTX cards the peak of their CUDA
# cores, which is a half or a quarter of the tensor cores' peak. Sources: NVIDIA's data sheets of B200, H200, H100, L40S, L40 and
# A10; for the RTX cards the white papers of Ada (v2.1) and GA102.
PEAK_TFLOPS = {
    "B200": 2250.0,
    "H200": 989.5,
    "H200 NVL": 835.5,
    "H100 NVL": 835.5,
    "L40S": 362.0,
    "L40": 181.0,
    "A10": 125.0,
    "RTX A6000": 154.8,
    "RTX 4090": 165.2,
    "RTX 4080": 97.5,
    "RTX 3090": 71.0,
}
IN_LIGHTNING = {"h100", "a100", "l4", "t4", "v100", "v100s"}  # it finds them by parts of names, a T4 in a T400, too
OTHER_CHIP = {"laptop", "mig", "ti", "super", "d"}  # words that make a known name another, smaller or larger device


def peak_of(device: torch.device, dtype: torch.dtype) -> float | None:
    """Dense peak in TFLOP/s of a CUDA device for a 16-bit dtype, by the name that CUDA reports; None if it is unknown."""
    words = set(torch.cuda.get_device_name(device).lower().replace("-", " ").split())
    if words & OTHER_CHIP:
        return None
    known = [name for name in PEAK_TFLOPS if set(name.lower().split()) <= words]
    if known:
        return PEAK_TFLOPS[max(known, key=lambda name: len(name.split()))]
    flops = get_available_flops(device, dtype) if words & IN_LIGHTNING else None
    return None if flops is None else flops / 1e12


@dataclass(frozen=True)
class ModelShape:
    """What of a model decides the arithmetic of a training step.

    Attributes:
        body: weights of all matrices that every token passes (adapters included, embedding table and head not: a look-up
            is no product, and only completion tokens pass the head).
        trained: those of `body` that are trained.
        head: weights of the output head.
        trained_head: those of the head that are trained.
        layers: L.
        width: H x Q, attention heads times their size.
    """

    body: int
    trained: int
    head: int
    trained_head: int
    layers: int
    width: int

    @classmethod
    def of(cls, model: nn.Module) -> "ModelShape | None":
        """The shape of a causal LM, PEFT-wrapped or not; None where its arithmetic is another than a dense Transformer's.

        So it is for a mixture of experts, where a token skips most weights, and for a model with state-space, recurrent or linear
        attention layers (Mamba, RWKV, Qwen3-Next), whose scans are not in the count.
        """
        inner = unwrap(model)
        config = inner.config.get_text_config()
        experts = any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))
        if experts or inner.get_output_embeddings() is None or not _attends_everywhere(config):
            return None
        head = inner.get_output_embeddings().weight
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        matrices = [one for one in model.parameters() if one.ndim > 1 and one is not head and id(one) not in tables]
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(
            body=sum(map(_weights, matrices)),
            trained=sum(_weights(one) for one in matrices if one.requires_grad),
            head=_weights(head),
            trained_head=_weights(head) * head.requires_grad,
            layers=config.num_hidden_layers,
            width=config.num_attention_heads * size,
        )


def _attends_everywhere(config: Any) -> bool:
    """Whether every layer of a model has attention heads and a product of all queries and keys."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ()
    heads = getattr(config, "num_attention_heads", None)
    return (
        isinstance(heads, int)
        and heads > 0
        and all("attention" in str(one) and "linear" not in str(one) for one in kinds)
    )


def _weights(parameter: Tensor) -> int:
    """Weights of a matrix; bitsandbytes keeps two of 4 bits in a byte and the true shape aside."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)


def training_flops(shape: ModelShape, *, tokens: float, completions: float, keys: float) -> float:
    """Floating-point operations that forward and backward need, by the count of PaLM (arXiv 2204.02311, appendix B).

    Chowdhery et al. 2022: 6 N + 12 L H Q T a token, with N weights, L layers, H heads of size Q and T tokens of a sequence; 6 is 2 (a
    multiplication and an addition) x 3 (forward, gradient of the input, gradient of the weight). What is computed twice to
    save memory counts once. We count what PaLM rounds up: a frozen weight has no gradient (4 instead of 6), the head is
    passed by completion tokens alone, and a token has as many keys as it sees, its depth + 1, where PaLM takes T for all. A
    packed tree has no single T; in a plain sequence the attention term is about half of PaLM's.

    Args:
        shape: of the model.
        tokens: that pass the layers.
        completions: tokens that pass the head.
        keys: sum over the tokens of the keys that each sees.

    Returns:
        FLOPs.
    """
    body = (4 * shape.body + 2 * shape.trained) * tokens
    head = (4 * shape.head + 2 * shape.trained_head) * completions
    return body + head + 12 * shape.layers * shape.width * keys


def work_of(batch: Batch) -> Tensor:
    """The work of a batch: (4,), tokens, completion tokens, keys seen and rows.

    Padding is no work. A token that a packed row shares counts once, in a padded batch as often as it is there: so
    packing lowers the tokens of a pair, and only rows (pairs) and completion tokens per second compare the two.
    """
    sequences = batch.sequences
    if isinstance(sequences, Padded):
        lengths = sequences.attention_mask.sum(-1)
        tokens, keys, completions = lengths.sum(), (lengths * (lengths + 1)).sum() / 2, sequences.completion_mask.sum()
    else:
        real = sequences.layout.item != PADDING
        tokens, keys = real.sum(), ((sequences.position_ids[0] + 1) * real).sum()
        completions = tokens.new_tensor(sequences.targets.numel())
    return torch.stack([one.double() for one in (tokens, completions, keys, batch.weight.sum())])


class Stopwatch:
    """Seconds since the last restart, without pauses."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._since, self._elapsed = now, now(), 0.0

    def pause(self) -> None:
        self._elapsed += self._now() - self._since

    def resume(self) -> None:
        self._since = self._now()

    def restart(self) -> float:
        """Return the seconds and count from 0 again. Not while paused."""
        now = self._now()
        seconds, self._since, self._elapsed = self._elapsed + now - self._since, now, 0.0
        return seconds


class Throughput(pl.Callback):
    """Logs the metrics of `WALL_CLOCK` with the others of a step, over the steps since they were last logged.

    Loading and checkpoints count; validation and greedy prompts, which pause the stopwatch, do not, nor does the first step
    of a process, which compiles and warms up. All ranks together; `mfu` is the share of all devices' peak.

    Args:
        clock: shared with the other callbacks, which pause it.
        rows: what a row is called: "rows" or "pairs".
        shape: of the model, None for no `mfu`.
        peak: `trainer.peak_tflops`, one device's peak in TFLOP/s; None: `peak_of` for training in 16 bits on a device that
            it knows, else no `mfu`.
    """

    def __init__(self, clock: Stopwatch, rows: str, shape: ModelShape | None, peak: float | None) -> None:
        if peak is not None and not peak > 0:
            raise UserError(f"trainer.peak_tflops={peak} must be above 0; leave it out if the peak is unknown")
        self.clock, self.rows, self.shape, self.peak = clock, rows, shape, peak
        self._work: Tensor | None = None  # since the clock was restarted; None before the first step is over

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        precision = str(trainer.precision)
        if self.peak is None and module.device.type == "cuda" and "16" in precision:
            self.peak = peak_of(module.device, torch.bfloat16 if precision.startswith("bf16") else torch.float16)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, batch_index: int
    ) -> None:
        stepped = (batch_index + 1) % trainer.accumulate_grad_batches == 0
        if self._work is None:
            if stepped:
                self._work = torch.zeros(4, dtype=torch.float64, device=module.device)
                self.clock.restart()
            return
        self._work += work_of(batch)
        if stepped and trainer.global_step % trainer.log_every_n_steps == 0:
            work = trainer.strategy.reduce(self._work, reduce_op="sum").tolist()  # waits for the device
            module.log_dict(self.metrics(*work, seconds=self.clock.restart(), devices=trainer.world_size))
            self._work = torch.zeros_like(self._work)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.clock.pause()

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.clock.resume()

    def metrics(
        self, tokens: float, completions: float, keys: float, rows: float, *, seconds: float, devices: int
    ) -> dict[str, float]:
        """Named metrics of some work that took these seconds on so many devices."""
        named = {"tokens": tokens, "completion_tokens": completions, self.rows: rows}
        rates = {f"train/{name}_per_second": amount / seconds for name, amount in named.items()}
        if self.shape is not None and self.peak is not None:
            flops = training_flops(self.shape, tokens=tokens, completions=completions, keys=keys)
            rates["train/mfu"] = flops / (seconds * self.peak * 1e12 * devices)
        return rates
