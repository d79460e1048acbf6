"""A text classifier of the hub as a second opinion on harm, beside the word lists of the rule judge.

Any `*ForSequenceClassification` of transformers will do: the user says which of its labels mean "unsafe". It reads the text alone,
not the query, and sees veiled harm that no word list has; it knows nothing of accuracy or helpfulness.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from vpo.errors import UserError

_WINDOW = 512  # tokens read at once; a longer text is read in parts, and the worst part counts
_SHOWN = 200  # characters of a library's reason
_REMEMBERED = 4096  # texts: repairing a prompt asks about the same one again


@dataclass(frozen=True)
class Finding:
    """The label that a text was given, and its probability."""

    label: str
    probability: float


class HarmClassifier:
    """Calls a text unsafe where the labels that mean it are probable enough.

    The model is loaded when the first text is read. Texts are read one by one, so that none's probability depends on what is
    in its batch.

    Args:
        model: hub id, or folder, of a sequence classification model with its tokenizer.
        labels: names of the labels (the model's `id2label`) that mean unsafe.
        revision: the hub commit, 40 hex digits for anything that is to be repeated; None for a local folder.
        threshold: the probability from which on a text is unsafe. Of a model with one label a text, the labels' sum; of one that
            gives each label its own probability (`problem_type: multi_label_classification`, or a single label), the highest.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
    """

    def __init__(
        self,
        model: str,
        labels: Sequence[str],
        revision: str | None = None,
        threshold: float = 0.5,
        device: str = "cpu",
    ) -> None:
        if isinstance(labels, str) or not labels or not all(isinstance(one, str) for one in labels):
            raise UserError("judge.classifier.labels must list the labels that mean unsafe, as in labels=[toxic]")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise UserError(f"judge.classifier.threshold={threshold} must be above 0 and at most 1")
        if device not in ("cpu", "gpu", "cuda"):
            raise UserError(f"judge.classifier.device={device} must be cpu, gpu or cuda")
        self.model, self.revision, self.labels, self.threshold = model, revision, tuple(labels), threshold
        self.device = "cuda" if device == "gpu" else device
        self._loaded: tuple[Any, Any] | None = None
        self._finding = lru_cache(_REMEMBERED)(self._read)

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "HarmClassifier":
        """The classifier of a config's node. Raises UserError for keys that it does not have."""
        known = ("model", "labels", "revision", "threshold", "device")
        unknown = [key for key in node if key not in known]
        missing = [key for key in ("model", "labels") if not node.get(key)]
        if unknown:
            raise UserError(f"judge.classifier has no {unknown[0]}; its keys are {', '.join(known)}")
        if missing:
            raise UserError(f"judge.classifier needs {missing[0]}; its keys are {', '.join(known)}")
        return cls(**node)

    def unsafe(self, text: str) -> Finding | None:
        """The most probable unsafe label, with the probability that the text is unsafe; None for a safe text."""
        finding = self._finding(text)
        return finding if finding.probability >= self.threshold else None

    def close(self) -> None:
        """Let go of the model; it is loaded again if another text is read."""
        self._loaded = None
        self._finding.cache_clear()

    def _read(self, text: str) -> Finding:
        import torch

        if self._loaded is None:
            self._loaded = self._load()
        model, tokenizer = self._loaded
        encoded = tokenizer(
            text, truncation=True, max_length=min(tokenizer.model_max_length, _WINDOW), return_overflowing_tokens=True
        )
        worst = Finding(self.labels[0], 0.0)
        for ids in encoded["input_ids"]:
            with torch.inference_mode():
                logits = model(torch.tensor([ids], device=self.device)).logits[0].float()
            worst = max(worst, self._judged(model.config, logits), key=lambda finding: finding.probability)
        return worst

    def _judged(self, config: Any, logits: Any) -> Finding:
        several = config.problem_type == "multi_label_classification" or len(logits) == 1
        probabilities = logits.sigmoid() if several else logits.softmax(dim=-1)
        of = {label: float(probabilities[config.label2id[label]]) for label in self.labels}
        label = max(of, key=lambda one: of[one])
        return Finding(label, of[label] if several else sum(of.values()))

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        from vpo.language.checkpoints.intake import fetch

        disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' bars over the shards of a file; ours are per stage
        folder, _ = fetch(self.model, self.revision, key="judge.classifier.model")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
            reason = " ".join(str(error).split())[:_SHOWN]
            raise UserError(
                f"judge.classifier.model={self.model}: cannot be loaded ({reason}); give a hub id or a folder that you can read"
            ) from error
        absent = sorted(report["missing_keys"])
        if absent:
            raise UserError(
                f"judge.classifier.model={self.model}: its files have no {absent[0]}; give a model that was trained to classify texts"
            )
        unknown = [label for label in self.labels if label not in model.config.label2id]
        if unknown:
            labels = ", ".join(model.config.id2label[number] for number in sorted(model.config.id2label))
            raise UserError(f"judge.classifier.labels: {self.model} has no label {unknown[0]}; its labels are {labels}")
        return model.to(self.device).eval(), tokenizer
