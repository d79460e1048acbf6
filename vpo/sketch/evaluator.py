"""The sketch world's held-out metric: how much of what the query names is to be seen in the clip."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vpo.records import Sample
from vpo.sketch.reader import read_scene
from vpo.sketch.vocabulary import FACETS
from vpo.video import clips


class SceneAccuracy:
    """Metric `scene`: the share of the query's named facets that the reader finds in the clip, and `scene_<facet>` of
    each.

    The truth of an unsafe query holds its safe facets only, so a harmless clip can reach 1.
    """

    needs = frozenset({"clips"})

    def measure(self, samples: Sequence[Sample]) -> list[Mapping[str, float | None]]:
        """One dict a sample: empty without a truth or a rendered clip, None values where the clip cannot be read."""
        return [self._one(sample) for sample in samples]

    def _one(self, sample: Sample) -> Mapping[str, float | None]:
        named = {f: v for f, v in (sample.query.truth or {}).items() if f in FACETS}
        if not named or sample.clip is None:
            return {}
        try:
            seen = read_scene(clips.read_mp4(Path(sample.clip.path))[0])
        except clips.ClipError:
            return {"scene": None} | {f"scene_{facet}": None for facet in named}
        return accuracy(named, seen)


def accuracy(named: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, float | None]:
    """{'scene': share of the named facets that were seen, 'scene_<facet>': 1.0 or 0.0 ...}."""
    hits = {facet: float(seen.get(facet) == value) for facet, value in named.items()}
    return {"scene": sum(hits.values()) / len(hits)} | {f"scene_{facet}": hit for facet, hit in hits.items()}
