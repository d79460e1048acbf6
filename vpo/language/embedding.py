"""Sentence embeddings: how near two texts are in meaning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vpo.errors import UserError
from vpo.language.checkpoints.intake import fetch
from vpo.language.markup import without_marks


class SentenceEncoder:
    """Cosines of sentence embeddings.

    The embedding is the mean of the last hidden states over a text's tokens, scaled to length 1 (Reimers and Gurevych,
    Sentence-BERT, arXiv:1908.10084). Flags, links and markup of a text are left out first.

    Args:
        model: `asset:<name>`, folder or hub id of an encoder.
        revision: of the hub.
        max_tokens: what is longer is cut.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        batch_size: texts at once.
        key: who names the model, for messages.

    Raises:
        UserError: The model is not there, or is no such encoder.
    """

    def __init__(
        self, model: str, revision: str | None, max_tokens: int, device: str, batch_size: int, key: str
    ) -> None:
        place, _ = fetch(model, revision, key)
        self.device, self.max_tokens, self.batch_size = "cuda" if device == "gpu" else device, max_tokens, batch_size
        self.model, self.tokenizer = _load(place, f"{key}={model}", self.device)

    def cosines(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The cosine of the two texts of each pair, in -1..1; a text and itself have 1."""
        texts = {text: _plain(text) for pair in pairs for text in pair}
        vectors = dict(zip(texts, self.embed(list(texts.values())), strict=True)) if texts else {}
        return [float(vectors[one] @ vectors[other]) for one, other in pairs]

    def embed_plain(self, texts: Sequence[str]) -> Any:
        """As `embed`, of the texts without flags, links and markup."""
        return self.embed([_plain(text) for text in texts])

    def embed(self, texts: Sequence[str]) -> Any:
        """Embeddings of length 1: a float32 tensor (len(texts), size of the encoder's states) on the CPU."""
        import torch

        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # a batch is as wide as its longest text
        found: dict[int, Any] = {}
        for start in range(0, len(texts), self.batch_size):
            places = order[start : start + self.batch_size]
            batch = self.tokenizer(
                [texts[place] for place in places], padding=True, truncation=True, max_length=self.max_tokens,
                return_tensors="pt",
            ).to(self.device)  # fmt: skip
            with torch.inference_mode():
                states = self.model(**batch).last_hidden_state
            mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
            means = (states * mask).sum(1) / mask.sum(1)
            found |= dict(zip(places, torch.nn.functional.normalize(means, dim=1).cpu(), strict=True))
        return torch.stack([found[place] for place in range(len(texts))])

    def close(self) -> None:
        """Free the model's memory."""
        self.model = None


def _plain(text: str) -> str:
    """The text's plain words; the text as it is where it has none."""
    return without_marks(text) or text


def _load(folder: Path, where: str, device: str) -> tuple[Any, Any]:
    """Encoder and tokenizer. Raises UserError where weights are missing, which transformers would fill with random numbers."""
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # ours are per stage
    try:
        model, report = AutoModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: cannot be loaded ({reason}); give a sentence encoder as safetensors") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))  # which is not used
    if missing:
        raise UserError(
            f"{where}: {len(missing)} weights are missing, such as {missing[0]}; give a whole sentence encoder"
        )
    if tokenizer.pad_token is None:
        raise UserError(f"{where}: its tokenizer has no padding token; give a sentence encoder")
    return model.to(device).eval(), tokenizer
