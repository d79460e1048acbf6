"""Model folders to be spoilt, as a failed download or another tool leaves them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.chat_models import edit_json
from vpo.backbone.hf import HFBackbone
from vpo.language.checkpoints.loading import load_pretrained

Weights = dict[str, Tensor]
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 16060522496\n"


def edit_weights(folder: Path, change: Callable[[Weights], Weights], name: str = "model.safetensors") -> Path:
    """Replace the tensors of a folder by what `change` makes of them."""
    weights = change(load_file(folder / name))
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name, metadata={"format": "pt"})
    return folder


def without(*parts: str) -> Callable[[Weights], Weights]:
    """All weights but those whose names hold one of `parts`."""
    return lambda weights: {name: one for name, one in weights.items() if not any(part in name for part in parts)}


def renamed(rule: Callable[[str], str]) -> Callable[[Weights], Weights]:
    return lambda weights: {rule(name): one for name, one in weights.items()}


def prepare(model: Path, base: Path | str | None = None, **named: object) -> Path:
    """The start of a run from a model folder: a folder beside it with the pointer, or the UserError of the check."""
    options = {"template": "optimizer", "needs_chat_template": True, "dtype": "float32", "device": "cpu"} | named
    start = model.parent / f"start-of-{model.name}"
    shutil.rmtree(start, ignore_errors=True)
    start.mkdir()
    HFBackbone(str(model), None, **options, base=None if base is None else str(base)).prepare(start)
    return start


@torch.no_grad()
def logits(folder: Path) -> Tensor:
    model, _ = load_pretrained(folder, torch.float32)
    return model.eval()(input_ids=torch.arange(12)[None]).logits


def quantise_to_fp8(folder: Path) -> Path:
    """DeepSeek's layout with one block a matrix: float8 weights, and a scale each."""

    def change(weights: Weights) -> Weights:
        found = dict(weights)
        for name in [one for one in weights if one.endswith("proj.weight")]:
            scale = weights[name].abs().max() / 448  # the largest float8_e4m3
            found[name] = (weights[name] / scale).to(torch.float8_e4m3fn)
            found[f"{name}_scale_inv"] = scale.view(1, 1)
        return found

    edit_json(
        folder / "config.json",
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"},
    )
    return edit_weights(folder, change)
