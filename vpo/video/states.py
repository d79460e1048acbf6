"""State dicts that people give as files: read without running code, and linear layers in a row as one."""

from collections.abc import Mapping
from pathlib import Path

import torch

from vpo.errors import UserError
from vpo.language.checkpoints.wording import in_short


def read_state(path: Path, where: str, cure: str) -> dict[str, torch.Tensor]:
    """A state dict. Raises UserError, which begins with `where` and ends with the cure, where the file is none."""
    if not path.is_file():
        raise UserError(f"{where}: no such file; {cure}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return dict(found.get("state_dict", found))
    except Exception as error:  # what pickle and safetensors raise varies
        raise UserError(
            f"{where}: cannot be read safely ({in_short(error)}); a pickled module runs code when it is loaded, a state dict does "
            f"not; {cure}"
        ) from error


def one_linear(state: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) and bias (out,), float64, of the linear layers of a Sequential without activations.

    They are multiplied: W = W_n .. W_1, b = W_n .. W_2 b_1 + .. + b_n. What is none raises KeyError, IndexError or RuntimeError.
    """
    names = sorted((name for name in state if name.endswith("weight")), key=_number)
    layers = [(state[one].double(), state[one.removesuffix("weight") + "bias"].double()) for one in names]
    weight, bias = layers[0]
    for matrix, offset in layers[1:]:
        weight, bias = matrix @ weight, matrix @ bias + offset
    return weight, bias


def _number(name: str) -> int:
    """The number of a layer in a Sequential: 4 of `layers.4.weight`."""
    digits = [part for part in name.split(".") if part.isdigit()]
    return int(digits[-1]) if digits else 0
