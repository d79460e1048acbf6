"""A held-out semantic score: does the prompt still mean what the query says?"""

from collections.abc import Mapping, Sequence

from vpo.cards import EvaluatorCard, Metric
from vpo.language.embedding import SentenceEncoder
from vpo.records import Failure, Sample


class Semantic:
    """Metric `semantic`: the cosine of the sentence embeddings of query and prompt, in -1..1; an unchanged query has 1.

    The embeddings are `vpo.language.embedding`'s, which leaves out flags, links and markup of both texts.

    Args:
        model: `asset:<name>`, folder or hub id of an encoder.
        revision: of the hub.
        max_tokens: what is longer is cut.
        device: "cpu", or "gpu" (as the trainer's accelerator is called) or "cuda".
        batch_size: texts at once.

    Raises:
        UserError: The model is not there, or is no such encoder.
    """

    card = EvaluatorCard(
        name="semantic similarity",
        version="1",
        about="cosine of the embeddings of query and prompt by all-MiniLM-L6-v2, of the first 256 tokens; never trained on. Read it "
        "beside length: what a prompt adds lowers it, and a query that is handed on unchanged has 1",
        metrics=(
            Metric(
                "semantic", "Semantic similarity", "higher", about="of query and prompt; cosine, 1 is the query itself"
            ),
        ),
    )

    def __init__(self, model: str, revision: str | None, max_tokens: int, device: str, batch_size: int) -> None:
        self.encoder = SentenceEncoder(model, revision, max_tokens, device, batch_size, "evaluator.semantic.model")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """{'semantic': cosine} a sample."""
        pairs = [("" if isinstance(one.prompt, Failure) else one.prompt.text, one.query.text) for one in samples]
        return [{"semantic": cosine} for cosine in self.encoder.cosines(pairs)]

    def close(self) -> None:
        """Free the model's memory."""
        self.encoder.close()
