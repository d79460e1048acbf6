"""What a sharded strategy needs beyond its name: how the model is cut, averaged, clipped and gathered.

On one device, and under DDP, every process holds the whole model and Lightning needs no help. FSDP and DeepSpeed split
weights, gradients and optimizer states over the ranks: a gradient's norm is a sum over ranks, and a policy can be saved only
when all ranks bring their parts.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.plugins.precision import DeepSpeedPrecision, FSDPPrecision
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecision
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from vpo.training.logprobs import unwrap

# What FSDP computes with, by the trainer's precision. Lightning would round the rotary frequencies (a buffer) to 16 bits and
# reduce gradients in 16 bits as well.
MIXED = {
    "bf16-mixed": MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, buffer_dtype=torch.float32)
}


SHARDED = (FSDPStrategy, DeepSpeedStrategy)


class UncastFSDPPrecision(FSDPPrecision):
    """FSDP's precision, with batches as they are: reference log-probabilities stay in 32 bits whatever the layers compute in."""

    def convert_input(self, data: Any) -> Any:
        return data


class UncastDeepSpeedPrecision(DeepSpeedPrecision):
    """DeepSpeed's precision, with batches as they are."""

    def convert_input(self, data: Any) -> Any:
        return data


def placement(hardware: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """The arguments of Lightning's Trainer that place this model as a trainer node requests.

    FSDP shards by decoder layer; embeddings, final norm and head form the outermost unit, so tied weights stay together. Its
    checkpoint is one file, as everywhere else. DeepSpeed's is a folder.
    """
    options, precision, ranks = dict(hardware.get("strategy_options") or {}), hardware["precision"], rank_environment()
    where = {"accelerator": hardware["accelerator"], "devices": hardware["devices"]}
    if hardware["strategy"] == "fsdp":
        policy = ModuleWrapPolicy(decoder_layers(model))
        mixed = MIXED.get(precision)
        strategy = FSDPStrategy(auto_wrap_policy=policy, mixed_precision=mixed, state_dict_type="full", **options)
        return where | {"strategy": strategy, "plugins": [UncastFSDPPrecision(precision), ranks]}
    if hardware["strategy"] == "deepspeed":
        plugins = [UncastDeepSpeedPrecision(precision), ranks]
        return where | {"strategy": DeepSpeedStrategy(**options), "plugins": plugins}
    return where | {"strategy": hardware["strategy"], "precision": precision, "plugins": [ranks]}


def rank_environment() -> ClusterEnvironment:
    """Where Lightning reads this process's rank: in what torchrun, or `vpo.processes`, has set, else it is the only process.

    Named and not detected: to detect MPI, Lightning starts it wherever mpi4py is installed, and an MPI that cannot start
    (no ssh, say) ends the process.
    """
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()


def decoder_layers(model: nn.Module) -> set[type[nn.Module]]:
    """The classes of a Hugging Face model's repeated layers, which no strategy may split."""
    names = set(model._no_split_modules or ())
    return {type(module) for module in model.modules() if type(module).__name__ in names}


def checkpoint_activations(model: nn.Module, hardware: Mapping[str, Any]) -> None:
    """Let the layers drop their activations and compute them again in backward, if the trainer node requests it."""
    if hardware.get("activation_checkpointing"):
        model.gradient_checkpointing_enable({"use_reentrant": False})  # the reentrant kind loses LoRA's gradients
        for (
            module
        ) in model.modules():  # transformers checkpoints in training mode only; dropout inside the layers stays off
            if getattr(module, "gradient_checkpointing", False):
                module.training = True


def averaging_divisor(trainer: pl.Trainer) -> int:
    """By what number a micro-batch's loss is divided until it is part of the global gradient.

    Lightning divides by the accumulation and ranks average. DeepSpeed's engine divides by the accumulation once more
    (`DeepSpeedEngine.backward`, scale_wrt_gas).
    """
    times = 2 if trainer.strategy.handles_gradient_accumulation else 1
    return trainer.accumulate_grad_batches**times * trainer.world_size


def gradient_norm(trainer: pl.Trainer, parameters: Iterable[nn.Parameter]) -> Tensor | None:
    """The 2-norm of the whole gradient, (); None under DeepSpeed, which does not show its gradients."""
    own = local_norm(parameters)
    if not isinstance(trainer.strategy, FSDPStrategy):
        return own
    own = torch.zeros((), device=trainer.strategy.root_device) if own is None else own
    return trainer.strategy.reduce(own.square(), reduce_op="sum").sqrt()  # each rank holds a part of every gradient


def local_norm(parameters: Iterable[nn.Parameter]) -> Tensor | None:
    """The 2-norm, (), of the gradients that this process holds; None where it holds none."""
    norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
    return torch.stack(norms).norm() if norms else None


def clip_gradients(trainer: pl.Trainer, module: pl.LightningModule, limit: float | None) -> None:
    """Scale the gradient down to a norm of at most `limit`; DeepSpeed's engine has done so already."""
    if isinstance(trainer.strategy, FSDPStrategy):
        if limit:
            trainer.strategy.model.clip_grad_norm_(limit)  # Lightning refuses the norm under FSDP
    elif not isinstance(trainer.strategy, DeepSpeedStrategy):
        module.clip_gradients(trainer.optimizers[0], limit, "norm")


class PolicyGatherer(pl.Callback):
    """Collects a sharded policy's weights on rank 0 at the end of training.

    Attributes:
        state: name to tensor on CPU, as the Hugging Face model names them; None where the model itself is whole.
    """

    def __init__(self) -> None:
        self.state: dict[str, Tensor] | None = None

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """All ranks take part, while the strategy is still set up."""
        self.state = gather_state(trainer, module)


def gather_state(trainer: pl.Trainer, module: Any) -> dict[str, Tensor] | None:
    """The weights of `module.model`, whole; a collective call. None where nothing is sharded, and on ranks other than 0."""
    if isinstance(trainer.strategy, FSDPStrategy):
        state = trainer.strategy.lightning_module_state_dict()
        tied = tuple(unwrap(module.model).all_tied_weights_keys)  # collected, a tied head has become a copy
        named = {name.removeprefix("model."): value for name, value in state.items() if not name.endswith(tied)}
        return named if trainer.is_global_zero else None
    if not isinstance(trainer.strategy, DeepSpeedStrategy):
        return None
    from deepspeed.zero import GatheredParameters

    state = {}
    for name, parameter in module.model.named_parameters():
        with GatheredParameters([parameter]):  # one at a time: the whole model may not fit a GPU
            if trainer.is_global_zero:
                state[name] = parameter.detach().cpu().clone()
    return state if trainer.is_global_zero else None
