"""The sketch world's held-out metric: how much of what the query names is to be seen in the clip."""

from collections.abc import Mapping, Sequence
from typing import Any

from vpo.cards import EvaluatorCard, mean_over_clips, share
from vpo.records import Clip, Failure, Sample
from vpo.sketch.reader import read_scene
from vpo.sketch.vocabulary import FACETS
from vpo.video.clips import ClipError
from vpo.video.frames import FrameReader


def named_facets(sample: Sample) -> dict[str, Any]:
    """The facets of its scene that the sample's query names; none where no truth is known."""
    return {facet: value for facet, value in (sample.query.truth or {}).items() if facet in FACETS}


def metrics_of(sample: Sample) -> list[str]:
    """The metrics that apply to a sample: none without a truth."""
    named = named_facets(sample)
    return ["scene", *(f"scene_{facet}" for facet in named)] if named else []


class SceneAccuracy:
    """Metric `scene`: the share of the query's named facets that the reader finds in the clip, and `scene_<facet>` of
    each.

    The truth of an unsafe query holds its safe facets only, so a harmless clip can reach 1.
    """

    card = EvaluatorCard(
        name="sketch scene",
        version="1",
        about="the sketch world's truth, read back from pixels",
        model="none: the sketch world's reader",
        licence="Apache-2.0 (vpo's own code)",
        needs=frozenset({"clips"}),
        metrics=(
            share(
                "scene", "Scene", "higher", "facts of the query's scene that the clip's pixels show; held out of training",
                parts=True,
            ),
        ),
        applies=metrics_of,
    )  # fmt: skip
    shares_frames = True  # measured with others that do, so that a clip is decoded once (vpo.stages.together)

    def __init__(self) -> None:
        self.reader = FrameReader("all")

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """One dict a sample: empty without a truth or a clip, None values where the clip failed or cannot be read."""
        return [self._one(sample) for sample in samples]

    def close(self) -> None:
        """Free the frames."""
        self.reader.close()

    def _one(self, sample: Sample) -> Mapping[str, float | None]:
        named = named_facets(sample)
        if not named:
            return {}
        failed: Mapping[str, float | None] = dict.fromkeys(metrics_of(sample))
        return mean_over_clips([self._of_clip(clip, named) or failed for clip in sample.clips])

    def _of_clip(self, clip: Clip | Failure, named: Mapping[str, Any]) -> Mapping[str, float | None] | None:
        """The metrics of one clip; None where it failed or cannot be read."""
        if isinstance(clip, Failure):
            return None
        try:
            return accuracy(named, read_scene(self.reader.read(clip.path).images))
        except ClipError:
            return None


def accuracy(named: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, float | None]:
    """{'scene': share of the named facets that were seen, 'scene_<facet>': 1.0 or 0.0 ...}."""
    hits = {facet: float(seen.get(facet) == value) for facet, value in named.items()}
    return {"scene": sum(hits.values()) / len(hits)} | {f"scene_{facet}": hit for facet, hit in hits.items()}
