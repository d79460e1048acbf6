"""Whether a checkpoint's weights are those of the model that its config.json describes, and loading them.

transformers fills what a checkpoint lacks with random numbers and goes on. Here nothing is filled in: a missing weight, or one
of another shape, is a UserError. The check reads the headers of the files alone. It lets transformers itself load the model on
the meta device, where tensors have shapes and no values, so that ties, renamed weights and fused experts are its business.

Where all names carry what a wrapper has put before them (`torch.compile`, DDP, FSDP, PEFT), it is taken off on loading.
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from vpo.errors import UserError
from vpo.language.checkpoints.files import Header, headers, weight_files
from vpo.language.checkpoints.quantised import BITSANDBYTES, KNOWN, PART_OF_PACKED, check_quantisation, lone_parts
from vpo.language.checkpoints.wording import in_order, in_short, some

log = logging.getLogger(__name__)

# Modules that wrap another one, anywhere in a model, and put their name into those of its weights: torch.compile, FSDP,
# activation checkpointing, Lightning or DeepSpeed, DDP.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module")
# torch's names of the dtypes that safetensors knows; of any other the size is all that matters here.
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """How the weights in the files fit the model.

    Attributes:
        missing: names of the model's weights that no file has.
        reshaped: (name, shape in the files, shape in the model) where these differ.
        unusable: names of weights that transformers cannot put together from their parts in the files.
        unexpected: names in the files that are no part of the model.
        total: how many weights the model has.
        renaming: regular expressions of what is taken off the names in the files, as transformers' `key_mapping`.
    """

    missing: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    unusable: tuple[str, ...]
    unexpected: tuple[str, ...]
    total: int
    renaming: Mapping[str, str]

    @property
    def faults(self) -> int:
        return len(self.missing) + len(self.reshaped) + len(self.unusable)


def check_weights(folder: Path, where: str) -> tuple[Any, Fit]:
    """The model of a folder on the meta device, and how the weights in its files fit it.

    Args:
        folder: of a checkpoint, with its config.json.
        where: what messages begin with, such as `backbone.model=<folder>`.

    Raises:
        UserError: The config describes no model, a package that its quantisation needs is not installed, a file is damaged, or
            weights are missing or have another shape.
    """
    config = config_of(folder, where)
    found: dict[str, Header] = {}
    for path in weight_files(folder, where):
        found |= headers(path, where)
    method = check_quantisation(config, where)
    if method is None:
        _refuse_integers(found, where)
    model, fit = _best_fit(config, found, method, where)
    _refuse(fit, where)
    return model, fit


def config_of(folder: Path, where: str) -> Any:
    """The transformers config of a folder. Raises UserError where its values describe no model."""
    try:
        return AutoConfig.from_pretrained(folder)
    except Exception as error:  # each model's config checks its values in a way of its own
        raise UserError(f"{where}: config.json describes no model ({in_short(error)}); copy it again") from error


def load_weights(folder: Path, where: str, *, dtype: torch.dtype, **options: Any) -> Any:
    """The model of a checkpoint with its weights, all of which its files must have.

    Args:
        folder: of the checkpoint.
        where: what messages begin with.
        dtype: of the weights.
        options: of `from_pretrained`, such as `quantization_config`.

    Raises:
        UserError: as `check_weights`.
    """
    _, fit = check_weights(folder, where)
    with _loader_report():
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            key_mapping=dict(fit.renaming) or None,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, in one line
            **options,
        )
    _refuse(_fit_of(model, info, (), fit.renaming), where)
    _refuse_infinite(model, where)
    if fit.renaming:
        # transformers would put the wrapper's names back on saving, where nobody takes them off.
        kept = [one for one in model._weight_conversions if not set(one.source_patterns) & fit.renaming.keys()]
        model._weight_conversions = kept
    return model


def _best_fit(config: Any, found: Mapping[str, Header], method: str | None, where: str) -> tuple[Any, Fit]:
    """The fit with the fewest faults, over what may be taken off the names; as they are, if that fits."""
    best = _fit(config, found, method, {}, where)
    for renaming in _renamings(found) if best[1].missing else ():
        other = _fit(config, found, method, renaming, where)
        best = min(best, other, key=lambda one: one[1].faults)
        if not best[1].faults:
            break
    return best


def _renamings(names: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What may be taken off the names in the files: wrappers' names anywhere, then also what all names begin with."""
    wrappers = {}
    for word in WRAPPERS:
        most = max((name.split(".").count(word) for name in names), default=0)
        # A renaming acts once on a name, so there are as many; an empty group at the end tells one from another.
        wrappers |= {rf"(?<![^.]){word}\.{'(?:)' * number}": "" for number in range(most)}
    if wrappers:
        yield wrappers
    leading = ""
    for part in next(iter(names), "").split(".")[:-1]:
        leading += f"{part}."
        if not all(name.startswith(leading) for name in names):
            break
        yield {rf"^{re.escape(leading)}": ""}


def _class_of(config: Any) -> tuple[Any, Any]:
    """The class that `AutoModelForCausalLM` takes for a config, and the part of the config that describes it."""
    kinds = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    kinds = kinds if isinstance(kinds, list | tuple) else [kinds]
    named = [one for one in kinds if one.__name__ in (config.architectures or ())]
    kind = (named or kinds)[0]
    text = config.sub_configs.get("text_config")
    return kind, config.get_text_config() if text is not None and kind.config_class is text else config


def _fit(
    config: Any, found: Mapping[str, Header], method: str | None, renaming: dict[str, str], where: str
) -> tuple[Any, Fit]:
    """Load on the meta device what the headers say."""
    kind, config = _class_of(config)
    packed = method == BITSANDBYTES
    if packed:  # its parts are put together by their values; the weights that they belong to are counted as whole ones
        config = _whole(config)
    state = empty_tensors({name: one for name, one in found.items() if not (packed and PART_OF_PACKED.search(name))})
    try:
        with _loader_report() as report:
            model, info = kind.from_pretrained(
                None,
                config=config,
                state_dict=state,
                device_map={"": "meta"},
                dtype=torch.float32,
                key_mapping=renaming or None,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # of the config's values, or of weights that do not go together
        broken = _unusable(report)
        if method is not None and method not in KNOWN:  # only its own package can tell, on loading
            with _loader_report():
                model = kind.from_pretrained(None, config=_whole(config), state_dict={}, device_map={"": "meta"})
            return model, Fit((), (), (), (), len(found), renaming)
        if not broken:
            raise UserError(f"{where}: config.json describes no model that can be built ({in_short(error)})") from error
        return None, Fit((), (), broken, (), len(found), renaming)
    return model, _fit_of(model, info, lone_parts(found, method), renaming, packed=packed)


def _whole(config: Any) -> Any:
    """The config of the same model with whole weights."""
    config = deepcopy(config)
    del config.quantization_config
    return config


def _fit_of(
    model: Any, info: Mapping[str, Any], lone: Sequence[str], renaming: Mapping[str, str], packed: bool = False
) -> Fit:
    """transformers' account of a loading as a `Fit`; `lone` are the missing parts of quantised weights."""
    reshaped = [
        (name, tuple(found), tuple(due))
        for name, found, due in sorted(info["mismatched_keys"])
        if not (packed and math.prod(found) == math.ceil(math.prod(due) / 2))  # two weights of 4 bits in a byte
    ]
    return Fit(
        missing=(*sorted(info["missing_keys"], key=in_order), *lone),
        reshaped=tuple(reshaped),
        unusable=(),
        unexpected=tuple(sorted(info["unexpected_keys"], key=in_order)),
        total=len(model.state_dict()),
        renaming=renaming,
    )


def _refuse(fit: Fit, where: str) -> None:
    """Raise UserError where weights would have to be made up."""
    if fit.missing:
        cure = "copy all of its files, or save the model again with save_pretrained"
        if any(".base_layer." in name or ".lora_" in name for name in fit.unexpected):
            cure = "they were saved with an adapter inside: call merge_and_unload() and save the model again"
        elif len(fit.missing) == 1 and fit.missing[0].endswith(("lm_head.weight", "embed_out.weight", "output.weight")):
            cure = f"{cure}; where the head is the embedding, config.json must say tie_word_embeddings: true"
        count = f"{len(fit.missing)} of {fit.total}"
        raise UserError(f"{where}: weights are missing from its files, {count}: {some(fit.missing)}; {cure}")
    if fit.reshaped:
        name, found, due = fit.reshaped[0]
        raise UserError(
            f"{where}: weights have another shape than config.json says, {len(fit.reshaped)} of {fit.total}, such as {name}: {found} "
            f"in the files, {due} in the model; give the config.json that was saved with these weights, and all of its files"
        )
    if fit.unusable:
        raise UserError(
            f"{where}: parts of weights are missing from its files, or do not go together: {some(fit.unusable)}; "
            "copy all of its files, or save the model again with save_pretrained"
        )


def _refuse_integers(found: Mapping[str, Header], where: str) -> None:
    """Raise UserError where matrices are stored as integers, which without their scales are other numbers."""
    names = [
        name for name, one in found.items() if name.endswith("weight") and len(one.shape) == 2 and one.dtype[0] in "IU"
    ]
    if names:
        raise UserError(
            f"{where}: weights are stored as integers ({found[names[0]].dtype}), {len(names)} of {len(found)}: {some(names)}, and "
            "config.json names no quantisation; give its own config.json with quantization_config, or the model's whole weights"
        )


def _refuse_infinite(model: Any, where: str) -> None:
    """Raise UserError where weights are no numbers: a file that was damaged, or a training that diverged."""
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    names = [
        name
        for name, one in model.named_parameters()
        if one.dtype in kinds and not bool(torch.isfinite(one.detach()).all())
    ]
    if names:
        raise UserError(
            f"{where}: weights hold NaN or infinity, {len(names)} of {len(dict(model.named_parameters()))}: {some(names)}; copy "
            "the model again, or train it again with a lower learning rate"
        )


def tell_unexpected(fit: Fit, where: str) -> None:
    """Say in one line which weights in the files are no part of the model, and so are not read."""
    if fit.unexpected:
        log.warning(
            "%s: %d weights in its files are no part of the model and are not read: %s",
            where, len(fit.unexpected), some(fit.unexpected),
        )  # fmt: skip


def empty_tensors(found: Mapping[str, Header]) -> dict[str, torch.Tensor]:
    """The tensors of a file on the meta device: with shape and dtype, without values."""
    return {
        name: torch.empty(one.shape, dtype=DTYPES.get(one.dtype, torch.uint8), device="meta")
        for name, one in found.items()
    }


@contextmanager
def _loader_report() -> Iterator[list[str]]:
    """Keep transformers' table of what did not fit off the screen, and give its text."""
    reports: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "LOAD REPORT" not in text:
            return True
        reports.append(text)
        return False

    loader = logging.getLogger("transformers.modeling_utils")
    loader.addFilter(keep)
    try:
        yield reports
    finally:
        loader.removeFilter(keep)


def _unusable(reports: Sequence[str]) -> tuple[str, ...]:
    """The names that a report lists as not converted."""
    lines = [line for report in reports for line in report.splitlines()]
    return tuple(line.split("|")[0].strip() for line in lines if re.match(r"\S+\s*\|\s*\S*CONVERSION", line))
