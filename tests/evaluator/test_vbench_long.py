"""VBench-Long in process, on small random models of the true classes: its numbers are those of its own way of counting."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.evaluator.official_vbench import OfficialLong, overall_consistency, split_video_into_clips
from tests.evaluator.test_vbench import GREY, brightening, dimension, files, measured, query, sample, write
from vpo.build import build, card_of
from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench.dimensions import DIMENSIONS, LONG
from vpo.evaluator.vbench.segments import segments
from vpo.evaluator.vbench.slow_fast import SUBJECT, fused, mapped

FROM_FRAMES = [
    "subject_consistency",
    "subject_in_segments",
    "background_in_segments",
    "aesthetic_quality",
    "flicker_unfiltered",
]


def node(tiny: Path, **values: Any) -> dict[str, Any]:
    """The node of conf/evaluator/vbench_long.yaml on tiny models, without a store of features."""
    own: dict[str, Any] = yaml.safe_load((ROOT / "conf/evaluator/vbench_long.yaml").read_text(encoding="utf-8"))
    models = {name: {"path": str(tiny / name), "revision": None} for name in ("dino", "dino2", "clip_b32", "clip_l14")}
    models |= files(tiny)
    return own | {"models": models, "cache": {"folder": None, "gigabytes": 1.0}, "device": "cpu"} | values


# The last part shares frames with the one before it; what is shorter than a part is one; 29.97 frames a second are 29.
@pytest.mark.parametrize(
    ("count", "fps", "seconds", "expected"),
    [
        (48, 8.0, 2, [(0, 16), (16, 32), (32, 48)]),
        (49, 8.0, 2, [(0, 16), (16, 32), (32, 48), (33, 49)]),
        (17, 8.0, 2, [(0, 16), (1, 17)]),
        (16, 8.0, 2, [(0, 16)]),
        (15, 8.0, 2, [(0, 15)]),
        (49, 8.0, 10, [(0, 49)]),
        (60, 29.97, 2, [(0, 58), (2, 60)]),
        (33, 7.9999999, 2, [(0, 16), (16, 32), (17, 33)]),
        (5, 0.5, 2, [(0, 2), (2, 4), (3, 5)]),
    ],
)
def test_how_clips_are_cut(count: int, fps: float, seconds: int, expected: list[tuple[int, int]]) -> None:
    assert [(one.start, one.stop) for one in segments(count, fps, seconds)] == expected


def test_consistency_between_segments_is_mapped_and_weighs_half() -> None:
    assert len(SUBJECT) == 101
    assert [mapped(one) for one in (0.0, 0.01, 0.5, 1.0)] == [0.0, 0.655812085783768, 0.932674917380015, 1.0]
    assert mapped(0.505) == pytest.approx((0.932674917380015 + 0.933938855974875) / 2)
    assert mapped(0.995) == pytest.approx((0.995516073547993 + 1) / 2)
    assert fused(0.8, 0.5) == pytest.approx((0.8 + 0.932674917380015) / 2)
    assert (fused(0.8, None), fused(0.8, 0.0)) == (0.8, 0.8)
    assert list(SUBJECT) == sorted(SUBJECT)


def test_its_columns_are_not_vbenchs(tiny: Path) -> None:
    """Numbers of long clips and of short ones never stand in one column."""
    own = {metric.name for metric in card_of(node(tiny)).metrics}
    assert own.isdisjoint(DIMENSIONS)
    assert {one.name for one in LONG.values()}.isdisjoint({*DIMENSIONS, "flicker_unfiltered"})
    assert "long_subject_consistency" in own
    assert not card_of(node(tiny)).derived  # no Quality, Semantic and Total of some dimensions


@pytest.fixture(scope="module")
def clips_in(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of 9 s at 2 frames a second (a part has 4 frames, the last one shares three), of 5.5 s, and of 12 s at 1."""
    folder = tmp_path_factory.mktemp("clips")
    shapes = [(17, 48, 70, 2), (11, 64, 48, 2), (12, 48, 48, 1)]
    return [write(folder / f"{n}.mp4", n, count, high, wide, fps) for n, (count, high, wide, fps) in enumerate(shapes)]


def of_file(asked: Any, path: str, fps: float) -> Any:
    return sample(asked, path, fps=fps)


def test_the_numbers_are_those_of_vbench_longs_own_way(tiny: Path, clips_in: list[str]) -> None:
    own = node(tiny, dimensions=FROM_FRAMES)
    card = card_of(own)
    rates = [2.0, 2.0, 1.0]
    samples = [of_file(query(n, None), path, rate) for n, (path, rate) in enumerate(zip(clips_in, rates, strict=True))]
    rows = measured(build(own), samples)
    official = OfficialLong(tiny, {place / 100: value for place, value in enumerate(SUBJECT)})
    short = official.short
    head = yaml.safe_load((tiny / "aesthetic_head/head.json").read_text())
    weight, bias = torch.tensor(head["weight"]), head["bias"]
    expected = {
        "subject_in_segments": official.over_clips(clips_in, lambda part: short.subject_consistency([part])[0]),
        "background_in_segments": official.over_clips(clips_in, lambda part: short.background_consistency([part])[0]),
        "aesthetic_quality": official.over_clips(
            clips_in, lambda part: short.aesthetic_quality([part], weight, bias)[0]
        ),
        "flicker_unfiltered": official.over_clips(clips_in, lambda part: short.temporal_flickering([part])[0]),
        "subject_consistency": official.subject_consistency(clips_in),
    }
    for name, (whole, of_videos) in expected.items():
        metric = f"long_{name}"
        assert [row[metric].value for row in rows] == pytest.approx(of_videos, abs=2e-5), name
        assert [row[metric].weight for row in rows] == [5, 3, 6], name  # segments: 4 and one that shares, 2 and one, 6
        assert dimension(rows, metric, card) == pytest.approx(whole, abs=2e-5), name
    differ = [abs(row["long_subject_consistency"].value - row["long_subject_in_segments"].value) > 1e-3 for row in rows]
    assert all(differ), "what is between segments changes nothing here"
    assert rows[0]["vbench_long_failed_clips"] == Weighted(0.0, 1)
    assert set(card.applicable(samples[0])) == set(rows[0])


def test_a_prompt_of_longer_segments_is_cut_into_those(tiny: Path, clips_in: list[str]) -> None:
    """Of 10 s where overall consistency measures the prompt, too: the clip of 12 s has two, that of 9 s is one."""
    own = node(tiny, dimensions=["aesthetic_quality"])
    labels = ["overall_consistency", "aesthetic_quality", "imaging_quality"]
    official, head = OfficialLong(tiny, {}), yaml.safe_load((tiny / "aesthetic_head/head.json").read_text())
    _, expected = official.over_clips(
        clips_in[::2],
        lambda part: official.short.aesthetic_quality([part], torch.tensor(head["weight"]), head["bias"])[0],
        duration=10,
    )
    rows = measured(
        build(own),
        [of_file(query(0, labels), clips_in[0], 2.0), of_file(query(1, labels), clips_in[2], 1.0)],
    )
    assert [row["long_aesthetic_quality"].value for row in rows] == pytest.approx(expected, abs=2e-5)


def test_the_text_is_compared_with_each_segment(tiny: Path, clips_in: list[str]) -> None:
    """Of 10 s, as the models of these dimensions read longer clips."""
    own = node(tiny, dimensions=["overall_consistency"])
    evaluator = build(own)
    samples = [of_file(query(0, ["overall_consistency"]), clips_in[2], 1.0)]
    (row,) = evaluator.measure(samples)
    model, (text,) = evaluator.measures.viclip.model, evaluator.measures.viclip.texts([samples[0].query.text])
    parts = split_video_into_clips(clips_in[2], 10)
    expected, each = overall_consistency(model, text, parts)
    evaluator.close()
    assert len({round(one, 4) for one in each}) == 2
    assert row["long_overall_consistency"] == Weighted(pytest.approx(expected, abs=2e-4), 2)


def test_short_clips_are_for_vbench(tiny: Path, tmp_path: Path) -> None:
    short = write(tmp_path / "short.mp4", 0, 9, fps=2)  # 4.5 s
    (row,) = measured(build(node(tiny)), [of_file(query(0, None), short, 2.0)])
    assert row.kind == "clip_too_short"
    assert "4.5 s" in row.detail
    assert "evaluator=vbench is for shorter ones" in row.detail
    (row,) = measured(build(node(tiny, from_seconds=None)), [of_file(query(0, None), short, 2.0)])
    assert isinstance(row["long_subject_in_segments"], Weighted)


def test_motion_is_looked_at_by_segment(tiny: Path, raft: None, tmp_path: Path) -> None:
    """At 2 frames a second a part has 4; that of steps of 9 levels moves, a still one does not, whatever the others do."""
    import numpy as np

    from vpo.video.clips import write_mp4

    levels = [60, 60, 60, 60, 60, 69, 78, 87, 87, 87, 87, 87]  # still, moving, still
    frames = np.stack([np.full((256, 258, 3), level, np.uint8) for level in levels])
    write_mp4(frames, 2, tmp_path / "mixed.mp4")
    still = brightening(tmp_path / "still.mp4", 0, count=12, fps=2)
    own = node(tiny, dimensions=["dynamic_degree", "temporal_flickering", "flicker_unfiltered"])
    facts = GREY | {"fps": 2.0}
    rows = measured(
        build(own),
        [
            sample(query(0, ["dynamic_degree", "temporal_flickering"]), str(tmp_path / "mixed.mp4"), still, **facts),
            sample(query(1, ["temporal_flickering"]), still, still, still, **facts),
        ],
    )
    assert rows[0]["long_dynamic_degree"] == Weighted(pytest.approx(1 / 6), 6)  # of six parts one
    assert rows[0]["long_temporal_flickering"] == Weighted(1.0, 2)  # the moving part is left out
    assert rows[0]["vbench_long_static_clips"] == Weighted(1.0, 2)
    assert rows[0]["long_flicker_unfiltered"].value < 0.995
    # Three static parts of the first clip and two of the second are the five that are enough: the third is not looked at.
    assert rows[1]["long_temporal_flickering"] == Weighted(1.0, 2)
    assert rows[1]["vbench_long_static_clips"] == Weighted(1.0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dimensions": ["background_consistency"]}, "DreamSim, which is not here; background_in_segments"),
        ({"dimensions": ["imaging_quality"]}, "imaging_quality is not measured here; VBench-Long's own code"),
        ({"from_seconds": -1.0}, "from_seconds=-1.0 must be above 0, or null"),
    ],
)
def test_a_wrong_config_is_refused(tiny: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        card_of(node(tiny, **values))
