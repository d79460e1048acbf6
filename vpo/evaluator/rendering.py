"""What became of the prompts in the video model: read whole or cut, rendered once or again, usable or not."""

from collections.abc import Mapping, Sequence

from vpo.cards import COUNT, EvaluatorCard, Metric, mean_over_clips, share
from vpo.records import Clip, Failure, Sample


def metrics_of(sample: Sample) -> list[str]:
    """The metrics that apply: whether a prompt was cut is known where the video model's own tokenizer has counted."""
    if not sample.clips:
        return []
    counted = any(isinstance(one, Failure) or one.truncated_tokens is not None for one in sample.clips)
    return ["usable", "retried", *(["pct_truncated", "truncated_tokens"] if counted else [])]


class Rendering:
    """`pct_truncated`: the share of prompts that the text encoder did not read to their end, by the video model's own tokenizer.

    `text` estimates it without a video model (`cut_tokens`). Beside it stand the share of clips that can be used, and of those that
    needed a second try.
    """

    card = EvaluatorCard(
        name="rendering",
        version="2",
        about="what became of the prompts in the video model",
        model="the video model's own tokenizer",
        licence="that of the video model",
        needs=frozenset({"clips"}),
        metrics=(
            share("pct_truncated", "Truncated", "lower", "prompts that the text encoder did not read to their end"),
            Metric(
                "truncated_tokens", "Tokens unread", "lower", decimals=1, range=COUNT, about="of the prompt", main=False
            ),
            share("usable", "Usable", "higher", "clips that passed the checks", main=False),
            share("retried", "Retried", "lower", "clips that were rendered with a second seed", main=False),
        ),
        applies=metrics_of,
    )

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """What each sample's clip says of itself, or the mean over its clips; None where all of them failed.

        A clip that could not be made is neither usable nor not: it has failed, and is counted so.
        """
        return [_measured(one) for one in samples]


def _measured(sample: Sample) -> Mapping[str, float | None]:
    names = metrics_of(sample)
    failed: dict[str, float | None] = dict.fromkeys(names)
    values = mean_over_clips([_of_clip(one) if isinstance(one, Clip) else failed for one in sample.clips])
    return {name: values.get(name) for name in names}


def _of_clip(clip: Clip) -> dict[str, float | None]:
    beyond = clip.truncated_tokens
    counted = {} if beyond is None else {"pct_truncated": float(beyond > 0), "truncated_tokens": float(beyond)}
    return {"usable": float(clip.status == "ok"), "retried": float(bool(clip.faults)), **counted}
