"""LAION's aesthetic heads: a linear function of CLIP's image embedding of length 1 (LAION-AI/aesthetic-predictor)."""

import json
import math

import torch

from vpo.assets.folder import is_asset, local_path
from vpo.errors import UserError
from vpo.video.states import one_linear, read_state

_CURE = "give LAION's: sa_0_4_vit_l_14_linear.pth of github.com/LAION-AI/aesthetic-predictor (MIT) for version 1"


def read_head(path: str, key: str = "reward.head") -> tuple[torch.Tensor, float]:
    """Weight, float64 (d,), and bias of a head.

    Args:
        path: of JSON (weight, bias) or a state dict (.pth, .safetensors), or an asset that holds `head.json`.
        key: the config key that names it, for messages.

    Raises:
        UserError: The file is no head.
    """
    where = f"{key}={path}"
    file = local_path(path, key)
    file = file / "head.json" if is_asset(path) else file
    if not file.is_file():
        raise UserError(f"{where}: no such file; {_CURE}")
    try:
        if file.suffix == ".json":
            packed = json.loads(file.read_text(encoding="utf-8"))
            state = {"weight": torch.tensor([packed["weight"]]), "bias": torch.tensor([packed["bias"]])}
        else:
            state = read_state(file, where, _CURE)
        weight, bias = one_linear(state)
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, TypeError) as error:
        raise UserError(f"{where}: is no aesthetic head ({' '.join(str(error).split())[:160]}); {_CURE}") from error
    if weight.shape[0] != 1 or not math.isfinite(float(weight.abs().sum() + bias.abs().sum())):
        raise UserError(f"{where}: it gives {weight.shape[0]} numbers, and a head gives one that is finite; {_CURE}")
    return weight[0], float(bias[0])
