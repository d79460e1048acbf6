"""Quantised weights: linear layers in 8 or 4 bits, by bitsandbytes, on a GPU or a CPU."""

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from vpo.errors import UserError

if TYPE_CHECKING:
    import torch

BITS = (4, 8)

# Its notes on a missing CPU kernel and on casts come with every layer of every pass, and PEFT loads it where it is installed.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def quantisation(bits: int, dtype: "torch.dtype") -> Any:
    """How transformers quantises linear layers (not the head) on loading.

    8 bits are LLM.int8 (Dettmers et al. 2022, arXiv 2208.07339), 4 bits NF4 with double quantisation, as in QLoRA
    (Dettmers et al. 2023, arXiv 2305.14314, section 3).

    Args:
        bits: 4 or 8.
        dtype: in which the products with 4-bit weights are taken.

    Raises:
        UserError: Without bitsandbytes.
    """
    from transformers import BitsAndBytesConfig

    check_bits(bits)
    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def check_bits(bits: int | None, key: str = "adapter.bits") -> None:
    """Raise UserError where weights cannot be quantised to so many bits; None (not at all) always can."""
    if bits is None:
        return
    if bits not in BITS:
        raise UserError(f"{key}={bits} is not possible; choose 4, 8 or null")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{key}={bits} needs bitsandbytes: pip install bitsandbytes, or set it to null")


def quantise(model: Any, bits: int, device: str) -> Any:
    """A plain model with its linear layers quantised; the given one is not to be used afterwards."""
    return type(model).from_pretrained(
        None,
        config=model.config,
        state_dict=model.state_dict(),
        dtype=model.dtype,
        quantization_config=quantisation(bits, model.dtype),
        device_map={"": device},
    )


def keep_layout(model: Any) -> Any:
    """The model, with bitsandbytes' repacking of 4-bit weights for AVX512 turned off.

    Its CPU kernel for bf16 takes over at the first pass without gradients (a validation, the reference), repacks the weights
    in place and has no backward: from then on gradients below such a layer would be missing, without a word.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model
