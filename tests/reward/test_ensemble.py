"""Several rewards as one: raw scores beside the total, one decode, one forward a model, and pairs by Prompt-A-Video's filter."""

import dataclasses
from pathlib import Path

import pytest

from tests.checking.test_config import composed
from tests.reward.clips import clip, named, reward
from vpo.errors import UserError
from vpo.feedback.video_rules import Scored, VideoRule, accepted
from vpo.records import Failure, Prompt, Score
from vpo.reward.ensemble import EnsembleReward
from vpo.video import frames
from vpo.video.models import _loaded


class Given:
    """A reward whose results are given."""

    def __init__(self, *results) -> None:
        self.results = results

    def score(self, clips):
        return list(self.results[: len(clips)])

    def card(self):
        return {"name": "given"}


def scores(*dimensions: dict[str, float]) -> list[Score]:
    return [Score(f"{n}", f"p{n}", f"q{n}", sum(one.values()), one) for n, one in enumerate(dimensions)]


def whole(tiny: Path, *more: str):
    """`reward=prompt_a_video` on tiny models."""
    return reward(
        "prompt_a_video", f"reward.parts.videoscore.path={tiny / 'videoscore'}", "reward.parts.videoscore.dtype=float32",
        f"reward.parts.AES.path={tiny / 'clip_l14'}", "reward.parts.AES.revision=null",
        f"reward.parts.MPS.path={tiny / 'mps'}", "reward.parts.MPS.revision=null", "reward.parts.MPS.dtype=float32",
        f"reward.parts.MPS.checkpoint={tiny / 'mps/mps.safetensors'}", *more,
    )  # fmt: skip


def test_the_total_is_the_weighted_sum_of_raw_scores(tmp_path: Path) -> None:
    clips = [named(tmp_path / f"{n}.mp4") for n in range(2)]
    five = scores(
        {"VQ": 2.7, "TC": 2.8, "DD": 3.0, "TVA": 3.1, "FC": 2.6}, {"VQ": 1, "TC": 1, "DD": 1, "TVA": 1, "FC": 1}
    )
    aes, mps = scores({}, {}), scores({}, {})
    aes = [dataclasses.replace(one, value=value) for one, value in zip(aes, (5.6, 4.0), strict=True)]
    mps = [dataclasses.replace(one, value=value) for one, value in zip(mps, (9.0, 6.0), strict=True)]
    weights = composed("reward=prompt_a_video")["reward"]["weights"]
    role = EnsembleReward({"videoscore": Given(*five), "AES": Given(*aes), "MPS": Given(*mps)}, weights, 8)
    first, second = role.score(clips)
    # 2.7 + 2.8 + 2.6 + 1.1 * 3.0 + 1.3 * 3.1 + 0.8 * 5.6 + 9 / 3 = 8.1 + 3.3 + 4.03 + 4.48 + 3
    assert first.value == pytest.approx(22.91)
    assert first.dimensions == {"VQ": 2.7, "TC": 2.8, "DD": 3.0, "TVA": 3.1, "FC": 2.6, "AES": 5.6, "MPS": 9.0}
    assert second.value == pytest.approx(3 + 1.1 + 1.3 + 3.2 + 2)
    assert (first.clip_id, first.prompt_id, first.query_id) == ("0", "p-0", "q-0")


def test_a_part_that_failed_fails_the_whole(tmp_path: Path) -> None:
    clips = [named(tmp_path / f"{n}.mp4") for n in range(2)]
    good = scores({"a": 1.0}, {"a": 2.0})
    role = EnsembleReward(
        {"one": Given(*good), "two": Given(Failure("timeout", "slow", 2, True), good[1])}, {"a": 1}, 8
    )
    with pytest.raises(UserError, match=r"reward\.parts: two and another part both give a"):
        role.score(clips)
    failure = role.score(clips[:1])[0]
    assert failure == Failure("timeout", "two: slow", 2, True)


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ({}, {"a": 1}, "needs parts and weights"),
        ({"one": Given()}, {}, "needs parts and weights"),
        ({"one": Given(*scores({"a": 1.0}))}, {"b": 1}, r"reward\.weights names b, and the parts give a"),
    ],
)
def test_wrong_parts_and_weights_are_refused(tmp_path: Path, parts, weights, message: str) -> None:
    with pytest.raises(UserError, match=message):
        EnsembleReward(parts, weights, 8).score([named(tmp_path / "a.mp4")])


def test_the_parts_numbers_are_their_own(tiny: Path, tmp_path: Path) -> None:
    """And each clip is decoded once, whatever the parts read of it."""
    clips = [clip(tmp_path / f"{n}.mp4", f"query {n}", n, count=20) for n in range(3)]
    frames.CACHE.clear()
    before = frames.CACHE.decodes
    role = whole(tiny)
    found = role.score(clips)
    assert frames.CACHE.decodes - before == 3
    role.close()
    alone = {
        "AES": reward(
            "aesthetic", f"reward.path={tiny / 'clip_l14'}", f"reward.head={tiny / 'aesthetic_head/head.json'}",
            "reward.revision=null",
        ),
        "MPS": reward("mps", f"reward.path={tiny / 'mps'}", "reward.revision=null", "reward.dtype=float32",
                      f"reward.checkpoint={tiny / 'mps/mps.safetensors'}"),
    }  # fmt: skip
    for name, part in alone.items():
        expected = [one.value for one in part.score(clips)]
        assert [one.dimensions[name] for one in found] == pytest.approx(expected, abs=1e-4)
        part.close()
    video = reward(
        "videoscore", f"reward.path={tiny / 'videoscore'}", "reward.dtype=float32", "reward.frames='steps 16'"
    )
    for one, expected in zip(found, video.score(clips), strict=True):
        for name, value in expected.dimensions.items():
            assert one.dimensions[name] == pytest.approx(value, abs=1e-4)
    video.close()
    assert not _loaded, "each model was given back"


def test_an_unreadable_clip_has_no_score(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.mp4").write_bytes(b"")
    role = whole(tiny)
    found = role.score([named(tmp_path / "zero.mp4"), clip(tmp_path / "one.mp4", count=1)])
    role.close()
    assert (found[0].kind, found[0].detail.split(":")[0]) == ("unreadable", "videoscore")
    assert found[1].value is not None


def test_two_rewards_on_one_clip_share_its_forward(tiny: Path, tmp_path: Path) -> None:
    """Similarity and aesthetic score on one CLIP L/14 with the same frames: its vision model runs once."""
    clips = [clip(tmp_path / f"{n}.mp4", seed=n) for n in range(2)]
    place = [f"reward.path={tiny / 'clip_l14'}", "reward.revision=null", "reward.frames='arange 4'"]
    parts = {
        "clip": reward("clip", *place),
        "AES": reward("aesthetic", *place, f"reward.head={tiny / 'aesthetic_head/head.json'}"),
    }
    seen: list[int] = []
    parts["clip"].encoder.shared.model.vision_model.register_forward_hook(lambda *all: seen.append(len(all[2][0])))
    role = EnsembleReward(parts, {"clip": 1, "AES": 1}, 8)
    assert all(isinstance(one, Score) for one in role.score(clips))
    assert seen == [8]
    role.close()


def test_clips_that_do_not_fit_together_go_in_groups(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is still decoded once: the parts of a group are done before the next group's clips come."""
    clips = [clip(tmp_path / f"{n}.mp4", seed=n) for n in range(4)]
    role = whole(tiny)
    frames.CACHE.clear()
    monkeypatch.setattr(frames.CACHE, "limit", 2 * 6 * 32 * 48 * 3)
    before = frames.CACHE.decodes
    found = role.score(clips)
    assert frames.CACHE.decodes - before == 4
    role.close()
    assert [one.clip_id for one in found] == [one.id for one in clips]


def test_prompt_a_videos_filter_reads_these_dimensions() -> None:
    """conf/feedback/prompt_a_video.yaml on scores of this reward: a pair where its thresholds and gap allow one."""
    config = composed("reward=prompt_a_video", "feedback=prompt_a_video")
    given = {name: config["feedback"][name] for name in VideoRule.__dataclass_fields__}
    rule = VideoRule(**given)
    assert rule.weights == config["reward"]["weights"]
    assert (rule.threshold, rule.ranks, rule.max_words) == (1.4, 2, 130)
    good = {"VQ": 2.7, "TC": 2.7, "DD": 2.7, "TVA": 3.0, "FC": 2.6, "AES": 5.6, "MPS": 9.0}
    bad = {**good, "TVA": 1.0, "MPS": 6.0}  # 1.3 * 2 + 1 = 3.6 less
    near = {**good, "MPS": 8.6}
    ones = [Score(str(n), str(n), "q", 0, one) for n, one in enumerate((good, bad, near))]
    rule.check(ones)
    candidates = [
        Scored(Prompt(one.prompt_id, "q", "query", f"prompt {one.prompt_id}", "m"), one, rule.overall(one))
        for one in ones
    ]
    pairs = [(a.score.clip_id, b.score.clip_id) for a, b in accepted(candidates, rule)]
    assert pairs == [("0", "1"), ("2", "1")]
