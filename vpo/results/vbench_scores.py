"""VBench's normalised Quality, Semantic and Total, as on its leaderboard (Vchitect/VBench at 45e79ec, `scripts/constant.py` and
`scripts/cal_final_score.py`).

Numbers are the dimensions' own, 0..1, by VBench's names or by those of an imported result file (`official_<name>`). VBench counts a
dimension that is missing as 0; here there is no score without all of them.
"""

from collections.abc import Mapping

# The bounds of each dimension that become 0 and 1 (NORMALIZE_DIC). Numbers beyond them are not cut off.
QUALITY = {
    "subject_consistency": (0.1462, 1.0),
    "background_consistency": (0.2615, 1.0),
    "temporal_flickering": (0.6293, 1.0),
    "motion_smoothness": (0.706, 0.9975),
    "dynamic_degree": (0.0, 1.0),
    "aesthetic_quality": (0.0, 1.0),
    "imaging_quality": (0.0, 1.0),
}
SEMANTIC = {
    "object_class": (0.0, 1.0),
    "multiple_objects": (0.0, 1.0),
    "human_action": (0.0, 1.0),
    "color": (0.0, 1.0),
    "spatial_relationship": (0.0, 1.0),
    "scene": (0.0, 0.8222),
    "appearance_style": (0.0009, 0.2855),
    "temporal_style": (0.0, 0.364),
    "overall_consistency": (0.0, 0.364),
}
WEIGHTS = {"dynamic_degree": 0.5}  # of the others 1
QUALITY_WEIGHT, SEMANTIC_WEIGHT = 4.0, 1.0
IMPORTED = "official_"  # before the name of a dimension of an imported result file


def quality(raw: Mapping[str, float]) -> float:
    """The weighted mean of the seven normalised quality dimensions. Raises KeyError where one is missing."""
    return _mean(raw, QUALITY)


def semantic(raw: Mapping[str, float]) -> float:
    """The mean of the nine normalised semantic dimensions. Raises KeyError where one is missing."""
    return _mean(raw, SEMANTIC)


def total(raw: Mapping[str, float]) -> float:
    """(4 Quality + Semantic) / 5. Raises KeyError where a dimension is missing."""
    parts = QUALITY_WEIGHT * quality(raw) + SEMANTIC_WEIGHT * semantic(raw)
    return parts / (QUALITY_WEIGHT + SEMANTIC_WEIGHT)


def normalised(raw: float, bounds: tuple[float, float]) -> float:
    """0 at the lower bound, 1 at the upper one."""
    low, high = bounds
    return (raw - low) / (high - low)


def _mean(raw: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]) -> float:
    own = {name.removeprefix(IMPORTED): value for name, value in raw.items()}
    weights = {name: WEIGHTS.get(name, 1.0) for name in bounds}
    weighted = sum(weights[name] * normalised(own[name], bounds[name]) for name in bounds)
    return weighted / sum(weights.values())
