"""What a model of the hub or of a folder must bring, checked before any work: one line says what is wrong and the cure.

Only safetensors and JSON are read and no code of a model's folder is run. A model of the hub is fetched here, once and in one
process, so that a gate, a missing network or a full disk is met before drafts are written and judged.
"""

import json
import logging
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
from transformers import AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from vpo.backbone.rendering import QUERY, Renderer
from vpo.errors import DISK_ERRORS, UserError
from vpo.language.chat_templates import adapt

log = logging.getLogger(__name__)

WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
NOT_WANTED = ["original/*", "consolidated*"]  # the same weights once more, in another layout


def take_in(source: str, revision: str | None, template: str, *, needs_chat_template: bool) -> dict[str, Any]:
    """Fetch and check a model. Returns the pointer that a policy folder keeps: `model`, and `revision` as a commit.

    Where the model's chat template had to be changed, the pointer also holds the one to be used, `chat_template`.

    Args:
        source: hub id or folder.
        revision: of the hub; None is the newest, which the pointer then names.
        template: text that renders a query.
        needs_chat_template: whether a tokenizer without one is refused.

    Raises:
        UserError: What is missing, and the cure.
    """
    folder, commit = fetch(source, revision)
    check_files(folder, source)
    adapted = check_rendering(tokenizer_of(folder, source), template, source, needs_chat_template=needs_chat_template)
    pointer = {"model": source if commit else str(folder.resolve()), "revision": commit}
    return pointer | ({"chat_template": adapted} if adapted else {})


def fetch(source: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a model's files, and its commit where it comes from the hub."""
    if Path(source).is_dir():
        return Path(source), None
    wrong = f"backbone.model={source}: no such folder"
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UserError(f"{wrong}; give the folder of a model, or a hub id such as Qwen/Qwen2.5-0.5B-Instruct")
    try:
        found = Path(snapshot_download(source, revision=revision, allow_patterns=WANTED, ignore_patterns=NOT_WANTED))
    except GatedRepoError as error:
        raise UserError(
            f"backbone.model={source}: gated; accept its licence on https://huggingface.co/{source} and log in with `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"backbone.revision={revision}: {source} has no such revision on the hub") from error
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


def check_files(folder: Path, source: str) -> None:
    """Raise UserError unless a folder holds a causal language model's config and all its weights as safetensors."""
    where = f"backbone.model={source}"
    if (folder / "adapter_config.json").exists():
        if not (folder / "adapter_model.safetensors").exists():
            raise UserError(
                f"{where}: an adapter without adapter_model.safetensors; save it with safe_serialization=True"
            )
        return
    if not (folder / "config.json").exists():
        raise UserError(f"{where}: no config.json in {folder}; give the folder that save_pretrained wrote")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    check_architecture(config, where)
    if not list(folder.glob("*.safetensors")):
        found = sorted(path.name for path in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        have = f"only {found[0]}, a pickle, which can run code" if found else "no weights"
        raise UserError(
            f"{where}: {have}; save the model as safetensors (save_pretrained does) where you trust its source"
        )
    index = folder / "model.safetensors.index.json"
    if index.exists():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(name for name in parts if not (folder / name).exists())
        if missing:
            raise UserError(
                f"{where}: {len(missing)} of {len(parts)} weight files are missing, such as {missing[0]}; copy them"
            )


def check_architecture(config: dict[str, Any], where: str) -> None:
    """Raise UserError unless a config.json describes a causal language model that transformers knows by itself."""
    kind = config.get("model_type")
    known = {name for names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values() for name in _all(names)}
    given = config.get("architectures") or _all(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind, ()))
    if "auto_map" in config and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{where}: model_type {kind} needs code from the model's folder, which is never run; use another backbone"
        )
    if not known & set(given):
        shown = given[0] if given else f"model_type {kind}"
        raise UserError(f"{where}: {shown} is no causal language model; use one that is, such as LlamaForCausalLM")


def _all(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def tokenizer_of(folder: Path, source: str) -> Any:
    """A folder's tokenizer. Raises UserError where there is none, or where its ids exceed the model's embedding."""
    where = f"backbone.model={source}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (
        Exception
    ) as error:  # what transformers, tokenizers and sentencepiece raise for files they cannot read varies
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: its tokenizer cannot be read ({reason}); save it beside the model") from error
    config = folder / "config.json"
    size = _vocabulary(json.loads(config.read_text(encoding="utf-8"))) if config.exists() else None
    if size is not None and len(tokenizer) > size:
        raise UserError(
            f"{where}: the tokenizer has {len(tokenizer)} ids and the model embeds {size}; call resize_token_embeddings and save both"
        )
    return tokenizer


def _vocabulary(config: dict[str, Any]) -> int | None:
    return config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")


def check_rendering(tokenizer: Any, template: str, source: str, *, needs_chat_template: bool) -> str | None:
    """Make a tokenizer's chat template fit for training, and check what it makes of a query and of an answer.

    Returns:
        The chat template as it was set in the tokenizer, where it had to be changed; the user is told.

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
