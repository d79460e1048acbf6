"""A held-out semantic score: does the prompt still mean what the query says?"""

from collections.abc import Mapping, Sequence

from vpo.assets.models import licence_of, named
from vpo.cards import COSINE, EvaluatorCard, Metric
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

    @staticmethod
    def card(model: str, revision: str | None, max_tokens: int, device: str, batch_size: int) -> EvaluatorCard:
        """The card, which names the encoder."""
        return EvaluatorCard(
            name="semantic similarity",
            version="1",
            about=f"cosine of the embeddings of query and prompt by {named(model)}, of the first {max_tokens} tokens; never trained "
            "on. Read it beside length: what a prompt adds lowers it, and a query that is handed on unchanged has 1",
            model=named(model, revision),
            licence=licence_of(model),
            metrics=(
                Metric(
                    "semantic", "Semantic similarity", "higher", range=COSINE,
                    about="of query and prompt; cosine, 1 is the query itself",
                ),
            ),
        )  # fmt: skip

    def __init__(self, model: str, revision: str | None, max_tokens: int, device: str, batch_size: int) -> None:
        self.encoder = SentenceEncoder(model, revision, max_tokens, device, batch_size, "evaluator.semantic.model")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """{'semantic': cosine} a sample."""
        pairs = [("" if isinstance(one.prompt, Failure) else one.prompt.text, one.query.text) for one in samples]
        return [{"semantic": cosine} for cosine in self.encoder.cosines(pairs)]

    def close(self) -> None:
        """Free the model's memory."""
        self.encoder.close()
