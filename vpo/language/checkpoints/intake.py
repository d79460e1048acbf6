"""What a model of the hub or of a folder must bring, checked before any work: one line says what is wrong and the cure.

Only safetensors and JSON are read and no code of a model's folder is run. A model of the hub is fetched here, once and in one
process, so that a gate, a missing network or a full disk is met before drafts are written and judged.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers import AutoTokenizer, GenerationConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vpo.assets.folder import find_asset, is_asset
from vpo.errors import DISK_ERRORS, UserError
from vpo.language.chat.inside import without_instruction
from vpo.language.chat.rendering import QUERY, Renderer
from vpo.language.chat.templates import adapt
from vpo.language.checkpoints.adapters import check_adapter, check_kind
from vpo.language.checkpoints.files import ADAPTER_WEIGHTS, check_folder, read_json, weight_files
from vpo.language.checkpoints.limits import Limits, positions_of
from vpo.language.checkpoints.merging import read_base
from vpo.language.checkpoints.quantised import BITSANDBYTES, KNOWN, quantisation_of
from vpo.language.checkpoints.weights import check_weights, config_of, tell_unexpected
from vpo.language.checkpoints.wording import in_short

log = logging.getLogger(__name__)

WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
NOT_WANTED = ["original/*", "consolidated*"]  # the same weights once more, in another layout


def fetch_and_check(
    source: str, revision: str | None, template: str, *, needs_chat_template: bool, base: str | None = None
) -> dict[str, Any]:
    """Fetch a model and check all that can be known without reading its weights.

    Where the model's chat template had to be changed, the pointer also holds the one to be used, `chat_template`.

    Args:
        source: hub id, folder or `asset:<name>`.
        revision: of the hub; None is the newest, which the pointer then names.
        template: text that renders a query.
        needs_chat_template: whether a tokenizer without one is refused.
        base: hub id or folder of what an adapter stands on; None is what its own files name.

    Returns:
        The pointer that a policy folder keeps: `model`, `revision` as a commit, `limits`, and for an adapter `base`, its pointer.

    Raises:
        UserError: What is missing, and the cure.
    """
    folder, commit = fetch(source, revision)
    where = f"backbone.model={source}"
    model, bottom, base_pointer = check_model(folder, where, base and {"model": base, "revision": None})
    own = (folder / "tokenizer_config.json").exists() or (folder / "tokenizer.json").exists()
    tokenizer = tokenizer_of(folder if own else bottom, source, embedded=model.get_input_embeddings().weight.shape[0])
    adapted = check_rendering(tokenizer, template, source, needs_chat_template=needs_chat_template)
    limits = Limits(
        positions_of(model.config),
        len(Renderer(tokenizer, template).prompt_ids("")),
        quantised=None if base_pointer else stays_quantised(model, bottom),  # an adapter is merged into whole weights
    )
    pointer = {"model": source if commit else str(folder.resolve()), "revision": commit, "limits": asdict(limits)}
    pointer |= {"chat_template": adapted} if adapted else {}
    return pointer | ({"base": base_pointer} if base_pointer else {})


def check_model(
    folder: Path, where: str, base: Mapping[str, Any] | None = None
) -> tuple[Any, Path, dict[str, Any] | None]:
    """The model of a folder on the meta device, the folder of its whole weights, and for an adapter its base's pointer.

    Args:
        folder: of a checkpoint, of an adapter, or with a pointer to one of them.
        where: what messages begin with.
        base: pointer (`model`, `revision`) to what an adapter stands on; None is what its own files name.

    Raises:
        UserError: A file cannot be read, or weights or adapter are not those of the model.
    """
    if (folder / "start.json").exists() and not any((*folder.glob("*config.json"), *folder.glob("*.safetensors"))):
        pointer = read_json(folder / "start.json", where)
        place, _ = fetch(pointer["model"], pointer["revision"], where)
        return check_model(place, where, base or pointer.get("base"))
    check_folder(folder, where)
    if not (folder / "adapter_config.json").exists():
        if base is not None:
            raise UserError(f"{where}: is no adapter, so backbone.base={base['model']} has no meaning; leave it out")
        check_files(folder, where)
        model, fit = check_weights(folder, where)
        tell_unexpected(fit, where)
        return model, folder, None
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise UserError(f"{where}: an adapter without {ADAPTER_WEIGHTS}; save it with safe_serialization=True")
    check_kind(folder, where)
    found = read_base(str(folder), base, where)
    key = f"{where}: its base" if base is None else "backbone.base"
    place, commit = fetch(found.source, found.revision, key)
    model, bottom, _ = check_model(place, f"{key}={found.source}")
    model = check_adapter(model, folder, where, found.source)
    return model, bottom, {"model": found.source if commit else str(place.resolve()), "revision": commit}


def fetch(
    source: str,
    revision: str | None,
    key: str = "backbone.model",
    *,
    wanted: Sequence[str] = WANTED,
    not_wanted: Sequence[str] = NOT_WANTED,
) -> tuple[Path, str | None]:
    """The folder of a model's files, and its commit where it comes from the hub; `key` says in messages who names it.

    Of the hub's files those are fetched that match one of `wanted` and none of `not_wanted`. Of an asset, `asset:<name>`, the
    sha256 of the file that it was made from stands in the commit's place.
    """
    if is_asset(source):
        return find_asset(source, revision, key)
    if Path(source).is_dir():
        return Path(source), None
    wrong = f"{key}={source}: no such folder"
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(f"{wrong}; give the folder of a model, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct")
    try:
        found = Path(
            snapshot_download(
                source, revision=revision, allow_patterns=list(wanted), ignore_patterns=list(not_wanted) or None
            )
        )
    except GatedRepoError as error:
        raise UserError(
            f"{key}={source}: gated; accept its licence on https://huggingface.co/{source} and log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{key}={source}: the hub has no revision {revision} of it; leave it out for the newest"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"{wrong}, and the hub has no such model; check the name, or log in if it is private"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if error.errno in DISK_ERRORS:
            raise
        raise UserError(
            f"{wrong}, it is not in the hub's cache and the hub cannot be reached (offline?); fetch it once with "
            f"`hf download {source}`, or give a folder"
        ) from error
    return found, found.name


def check_files(folder: Path, where: str) -> None:
    """Raise UserError unless a folder holds a causal language model's config and all its weights as safetensors."""
    if not (folder / "config.json").exists():
        raise UserError(f"{where}: no config.json in {folder}; give the folder that save_pretrained wrote")
    check_architecture(read_json(folder / "config.json", where), where)
    weight_files(folder, where)
    if (folder / "generation_config.json").exists():
        try:
            GenerationConfig.from_pretrained(folder)
        except Exception as error:  # values that cannot be, or cannot go together
            raise UserError(
                f"{where}: generation_config.json says what cannot be ({in_short(error)}); fix it, or delete it: it is not used here"
            ) from error


def stays_quantised(model: Any, folder: Path) -> str | None:
    """How a checkpoint's weights stay quantised after loading; None where they are whole, or made whole on loading."""
    method = quantisation_of(config_of(folder, str(folder))).get("quant_method")
    # The check takes bitsandbytes' weights for whole ones; of float8 ones transformers says whether it dequantises them here.
    prequantised = method in KNOWN and method != BITSANDBYTES
    return method if not prequantised or getattr(model, "is_quantized", False) else None


def check_architecture(config: dict[str, Any], where: str) -> None:
    """Raise UserError unless a config.json describes a causal language model that transformers knows by itself."""
    kind = config.get("model_type")
    known = {name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _all(names)}
    given = _all(config.get("architectures") or ()) or _all(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind, ()))
    if "auto_map" in config and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{where}: model_type {kind} needs code from the model's folder, which is never run; use another backbone"
        )
    if not known & set(given):
        shown = given[0] if given else f"model_type {kind}"
        raise UserError(f"{where}: {shown} is no causal language model; use one that is, such as LlamaForCausalLM")


def _all(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def tokenizer_of(folder: Path, source: str, *, embedded: int) -> Any:
    """A folder's tokenizer. Raises UserError where there is none, or where it has more ids than the model embeds."""
    where = f"backbone.model={source}"
    try:
        tokenizer = without_instruction(AutoTokenizer.from_pretrained(folder))
    except (
        Exception
    ) as error:  # what transformers, tokenizers and sentencepiece raise for files they cannot read varies
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: its tokenizer cannot be read ({reason}); save it beside the model") from error
    if len(tokenizer) > embedded:
        raise UserError(
            f"{where}: the tokenizer has {len(tokenizer)} ids and the model embeds {embedded}; call resize_token_embeddings and "
            "save both"
        )
    return tokenizer


def check_rendering(tokenizer: Any, template: str, source: str, *, needs_chat_template: bool) -> str | None:
    """Make a tokenizer's chat template fit for training, and check what it makes of a query and of an answer.

    Returns:
        The chat template as it was set in the tokenizer, where it had to be changed; a warning is logged.

    Raises:
        UserError: A rendered query is nothing that a completion can follow, or not what the user wrote.
    """
    where = f"backbone.model={source}"
    renderer = Renderer(tokenizer, template)
    if needs_chat_template and not tokenizer.chat_template:
        raise UserError(
            f"{where}: the tokenizer has no chat template, and the query is a user's turn; take an instruct model, or set "
            "backbone.needs_chat_template=false for plain text"
        )
    adapted = _adapt(renderer, where) if tokenizer.chat_template else None
    ids = renderer.prompt_ids("a dog")
    if tokenizer.bos_token_id is not None and ids[:2] == [tokenizer.bos_token_id] * 2:
        raise UserError(f"{where}: a rendered query begins with BOS twice; take bos_token out of the chat template")
    if ids[-1] in renderer.stop_ids:
        raise UserError(
            f"{where}: a rendered query ends with {tokenizer.convert_ids_to_tokens(ids[-1])}, after which nothing is to be written; "
            "save the tokenizer with add_eos_token=false, or a chat template with a generation prompt"
        )
    if tokenizer.chat_template and renderer.behind_answer is None:
        log.info("%s: its chat template writes no answers: they end with EOS, %s", where, tokenizer.eos_token)
    return adapted


def _adapt(renderer: Renderer, where: str) -> str | None:
    """Set the chat template that is used from now on; it is returned where it is not the tokenizer's own."""
    tokenizer = renderer.tokenizer
    try:
        own = tokenizer.get_chat_template()
    except ValueError as error:  # several by name, and none of them the default
        raise UserError(
            f"{where}: it has several chat templates, none of them called default; save one of them"
        ) from error

    def render(template: str, query: str) -> str:
        turn = {"role": "user", "content": renderer.template.replace("{}", query, 1)}
        return tokenizer.apply_chat_template([turn], chat_template=template, tokenize=False, add_generation_prompt=True)

    adapted = adapt(own, render, where, QUERY)
    for note in adapted.notes:
        log.info("%s: %s", where, note)
    tokenizer.chat_template = adapted.template
    return adapted.template if adapted.notes else None
