"""Checkpoints of quantised weights: whether they can be read here, and whether their parts are complete."""

import re
from collections.abc import Mapping
from typing import Any

from transformers.quantizers.auto import AutoHfQuantizer

from vpo.errors import UserError
from vpo.language.checkpoints.files import Header
from vpo.language.checkpoints.wording import in_order, in_short

BITSANDBYTES, FP8 = "bitsandbytes", "fp8"
# Layouts whose loading on the meta device was tried; code of other packages may want values there.
KNOWN = (BITSANDBYTES, FP8, "mxfp8", "mxfp4")
# What bitsandbytes stores beside a packed weight: scales, code books and what says how they go together.
PART_OF_PACKED = re.compile(r"\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+|SCB|weight_format)$")


def check_quantisation(config: Any, where: str) -> str | None:
    """The name of a checkpoint's quantisation, None for whole weights.

    Raises:
        UserError: transformers does not know it, or what it needs (a package, a GPU) is not here.
    """
    given = quantisation_of(config)
    if not given:
        return None
    method = str(given.get("quant_method"))
    refused = f"{where}: its weights are quantised with {method}"
    try:
        if not AutoHfQuantizer.supports_quant_method(given):
            raise UserError(f"{refused}, which transformers does not know; use the model's whole weights")
        AutoHfQuantizer.from_config(given, pre_quantized=True).validate_environment()
    except UserError:
        raise
    except Exception as error:  # ImportError for a package, RuntimeError or NotImplementedError for a GPU, ValueError
        raise UserError(
            f"{refused}, which cannot be read here ({in_short(error)}); install what it needs, or use the model's whole weights"
        ) from error
    return method


def quantisation_of(config: Any) -> dict[str, Any]:
    """The `quantization_config` of a transformers config as a dict; empty for whole weights."""
    given = getattr(config, "quantization_config", None) or {}
    return given if isinstance(given, dict) else given.to_dict()


def lone_parts(found: Mapping[str, Header], method: str | None) -> list[str]:
    """Names of the scales that quantised weights need and the files lack; transformers does not count them."""
    lone = []
    for name, one in found.items():
        if method == BITSANDBYTES and one.dtype == "U8" and not PART_OF_PACKED.search(name):
            needed = [(f"{name}.absmax",), tuple(f"{name}.quant_state.bitsandbytes__{kind}" for kind in ("nf4", "fp4"))]
        elif method == BITSANDBYTES and one.dtype == "I8":
            needed = [(f"{name.rpartition('.')[0]}.SCB",)]
        elif method == FP8 and one.dtype.startswith("F8_"):
            needed = [(f"{name}_scale_inv", f"{name}_scale")]
        else:
            continue
        lone += [any_of[0] for any_of in needed if not any(part in found for part in any_of)]
    return sorted(lone, key=in_order)
