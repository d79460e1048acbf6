"""What can be said of a method's prompts without a clip: their form, how much of the query they keep, how different they are."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from vpo.assets.models import licence_of, named, said_of
from vpo.cards import COUNT, SHARE, Answered, EvaluatorCard, Metric, Weighted, share
from vpo.evaluator.safety import refused_of
from vpo.evaluator.text import TextMetrics
from vpo.interfaces import Judge
from vpo.language.answers import ENCLOSING, LEAD_IN, unwrap
from vpo.language.diversity import self_bleu, vendi, words
from vpo.language.embedding import SentenceEncoder
from vpo.records import Prompt, Sample, Verdict
from vpo.storage.jsonio import canonical

ORDER = 4  # longest n-gram of self-BLEU


class Prompts(TextMetrics):
    """The metrics of `text`, and those that need an encoder of sentences or a judge.

    Args:
        templates, tokens, tokenizer, subfolder, tokens_per_word: as in `TextMetrics`.
        encoder: of sentences, for the distance from the query and the Vendi score.
        judge: says which prompts are refusals.
    """

    def __init__(
        self,
        templates: Sequence[str],
        tokens: int,
        tokenizer: str | None,
        subfolder: str | None,
        tokens_per_word: float,
        encoder: SentenceEncoder,
        judge: Judge,
    ) -> None:
        super().__init__(templates, tokens, tokenizer, subfolder, tokens_per_word)
        self.encoder, self.judge = encoder, judge

    @staticmethod
    def card(  # type: ignore[override]  # it has two arguments more, as the class has
        templates: Sequence[str],
        tokens: int,
        tokenizer: str | None,
        subfolder: str | None,
        tokens_per_word: float,
        encoder: Mapping[str, Any],
        judge: Mapping[str, Any],
    ) -> EvaluatorCard:
        """The card; its version says how tokens were counted, and which encoder and judge were asked."""
        text = TextMetrics.card(templates, tokens, tokenizer, subfolder, tokens_per_word)
        asked = hashlib.sha256(canonical([encoder, judge]).encode()).hexdigest()[:8]
        model, refuses = str(encoder.get("model")), str(judge.get("_target_")).rpartition(".")[2]
        asks, licence = said_of(judge)
        return EvaluatorCard(
            name="prompts",
            version=f"2-{text.version}-{asked}",
            about=f"{text.about}; meaning by {model}, which reads the first {encoder.get('max_tokens')} tokens, refusals by "
            f"{refuses}. Diversity of longer prompts is not comparable with that of shorter ones",
            model=f"{named(model, encoder.get('revision'))}; {asks}",
            licence=f"{named(model)}: {licence_of(model)}; {licence}",
            whole=True,
            metrics=(
                Metric("length", "Length", unit="words", decimals=0, range=COUNT, about="words of the prompt between spaces"),
                *text.metrics,
                share("lead_in", "Lead-in", "lower", "prompts that begin by announcing themselves: 'Here is your prompt:'"),
                share("wrapped", "Wrapped", "lower", "prompts inside of a fence, tags, quotes, JSON or reasoning", main=False),
                share("refused", "Refused", "lower", f"answers that refuse to write a prompt, by {refuses}", by="judge"),
                share("query_kept", "Query words kept", None, "of the query's different words, those that the prompt has", main=False),
                Metric("distance", "Distance", None, range=(0.0, 2.0),
                       about="from the query, 1 - cosine of the embeddings; 0 is the query itself"),
                Metric("self_bleu", "Self-BLEU", "lower", of_set=True, range=SHARE,
                       about=f"BLEU-{ORDER} of a prompt against all others, on average; 0..1, 1 is all alike"),
                Metric("vendi", "Vendi", "higher", decimals=1, of_set=True, range=(1.0, None),
                       about="so many prompts that share no meaning would be as diverse; at most their number"),
            ),
        )  # fmt: skip

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | Weighted | None]]:
        """The metrics of each sample; what is the set's is left out where there is nothing to compare with."""
        rows = [Answered(row, {}) for row in super().measure(samples)]
        prompts = [(row, one.prompt) for row, one in zip(rows, samples, strict=True) if isinstance(one.prompt, Prompt)]
        texts = [prompt.text for _, prompt in prompts]
        verdicts = self.judge.critique([prompt for _, prompt in prompts]) if prompts else []
        cosines = self.encoder.cosines([(prompt.query, prompt.text) for _, prompt in prompts])
        for (row, prompt), verdict, cosine in zip(prompts, verdicts, cosines, strict=True):
            row.update(_form(prompt), refused=refused_of(verdict), distance=1 - cosine)
            if isinstance(verdict, Verdict) and verdict.raw is not None:  # of a judge that asks a model
                row.answers["judge of refusals"] = verdict.in_words
        if len(texts) > 1:
            vectors = self.encoder.embed_plain(texts).double().numpy()
            for (row, _), bleu, score in zip(prompts, self_bleu(texts, ORDER), vendi(vectors), strict=True):
                row.update(self_bleu=bleu, vendi=score)
        return list(rows)

    def close(self) -> None:
        """Free the encoder's memory."""
        self.encoder.close()


def _form(prompt: Prompt) -> dict[str, float]:
    """What the prompt's words alone say; a query without a word has all of them kept."""
    asked, written = set(words(prompt.query)), set(words(prompt.text))
    kinds = {one.kind for one in unwrap(prompt.text).wrappers}
    return {
        "length": float(len(prompt.text.split())),
        "lead_in": float(LEAD_IN in kinds),
        "wrapped": float(bool(kinds & ENCLOSING)),
        "query_kept": len(asked & written) / len(asked) if asked else 1.0,
    }
