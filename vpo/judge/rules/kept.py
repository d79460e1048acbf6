"""An evaluator in the room of the rules that it reads by: what prompts keep of their queries by kind of request."""

from collections.abc import Mapping, Sequence

from vpo.cards import EvaluatorCard, share
from vpo.judge.rules.judge import VERSION
from vpo.judge.rules.losses import KINDS, asked_of, kept_of
from vpo.records import Failure, Sample


def metrics_of(sample: Sample) -> list[str]:
    """The metrics that apply: of the kinds that the query asks for."""
    return [f"kept_{kind}" for kind in asked_of(sample.query.text)]


class Kept:
    """The share kept of each kind of request, over the queries that make one: things, colours, camera moves, shots, texts, speech ...

    Read by the rule judge's rules, whoever judges the run; English only. PEBench (Wan team, 2026) reports such pass rates by kind.

    Attributes:
        eyes: it judges as the rule judge does.
    """

    eyes = ("the rule judge's rules",)

    card = EvaluatorCard(
        name="kept by kind",
        version=f"1-rules-{VERSION}",
        about="shares of what the queries ask for that the prompts keep, by the rule judge's reading",
        model="none: the rule judge's rules",
        licence="Apache-2.0 (vpo's own code)",
        metrics=tuple(
            share(
                f"kept_{kind}",
                f"Kept: {kind}",
                "higher",
                about,
                main=kind in ("thing", "camera", "shot", "text", "speech"),
            )
            for kind, about in KINDS.items()
        ),
        applies=metrics_of,
    )

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """The shares of each sample's prompt; None where there is no prompt."""
        return [_shares(one) for one in samples]


def _shares(sample: Sample) -> Mapping[str, float | None]:
    if isinstance(sample.prompt, Failure):
        return dict.fromkeys(metrics_of(sample))
    return {f"kept_{kind}": value for kind, value in kept_of(sample.query.text, sample.prompt.text).items()}
