"""Evaluators and a reward that read the same clips together: each clip is decoded once, and every result is its own."""

import time
from pathlib import Path

import numpy as np
import pytest

from vpo import targets
from vpo.evaluator.flicker import Flicker
from vpo.pipeline import measure
from vpo.records import Clip, Prompt, Query, Score
from vpo.stages.context import Context
from vpo.stages.evaluate import Evaluate
from vpo.stages.score import ScoreClips
from vpo.stages.stage import Stage
from vpo.stages.together import can_read_together, read_together, shares_frames
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry, Store, read_manifest
from vpo.video import clips, frames

COUNT, SHAPE = 5, (6, 16, 24, 3)
FLICKER = {"_target_": "vpo.evaluator.flicker.Flicker"}
MOTION = {"_target_": "vpo.evaluator.motion.Motion"}
REWARD = {"_target_": "tests.stages.test_together.Brightness"}


class Brightness:
    """A reward: the mean level of all frames, through the cache, which it lets go."""

    shares_frames = True
    built = 0

    def __init__(self) -> None:
        type(self).built += 1
        self.reader = frames.FrameReader("all")

    def score(self, found):
        levels = [float(self.reader.read(one.path).images.mean()) for one in found]
        self.reader.let_go()
        return [
            Score(one.id, one.prompt_id, one.query_id, None, level) for one, level in zip(found, levels, strict=True)
        ]

    def card(self):
        return {"name": "brightness"}

    def close(self) -> None:
        self.reader.close()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "CACHE", frames.FrameCache())
    monkeypatch.setattr(targets, "_trusted", ("tests.",))
    monkeypatch.setattr(Brightness, "built", 0)


def rendered(context: Context) -> dict[str, Entry]:
    """Queries, their prompts, and clips of all but the last, whose clip has failed."""
    rng = np.random.default_rng(0)

    def queries(folder: Path) -> dict:
        write_rows(folder / "test.jsonl", [Query(f"q{n}", "a dog") for n in range(COUNT)])
        return {}

    def prompts(folder: Path) -> dict:
        write_rows(folder / "prompts.jsonl", [Prompt(f"p{n}", f"q{n}", "a dog", "a dog", "m") for n in range(COUNT)])
        return {}

    def render(folder: Path) -> dict:
        (folder / "clips").mkdir(exist_ok=True)
        rows = []
        for n in range(COUNT - 1):
            clips.write_mp4(rng.integers(0, 256, SHAPE).astype(np.uint8), 8, folder / f"clips/{n}.mp4")
            count, height, width, _ = SHAPE
            rows.append(Clip(f"p{n}", f"p{n}", f"q{n}", "a dog", "a dog", f"{n}.mp4", 0, count, 8.0, height, width))
        write_rows(folder / "clips.jsonl", rows)
        write_rows(
            folder / "clips.failures.jsonl", [{"id": f"p{COUNT - 1}", "failure": {"kind": "timeout", "detail": "late"}}]
        )
        return {}

    return {
        name: context.store.get(stage, {}, {}, work)
        for name, stage, work in (
            ("queries", "queries", queries),
            ("prompts", "optimize", prompts),
            ("clips", "render", render),
        )
    }


def stages_of(parts: dict[str, Entry]) -> list[Stage]:
    evaluators = [
        Evaluate(evaluator_name=name, evaluator=node, label=name, **parts)
        for name, node in (("flicker", FLICKER), ("motion", MOTION))
    ]
    return [ScoreClips(reward=REWARD, clips=parts["clips"], label="m"), *evaluators]


def payload(entry: Entry) -> dict[str, str]:
    return {one.name: one.read_text() for one in entry.folder.iterdir() if one.suffix == ".jsonl"}


@pytest.mark.parametrize("limit", [frames.CACHE_BYTES, 2 * int(np.prod(SHAPE))])  # all clips at once, and two at a time
def test_a_clip_is_decoded_once_and_the_results_are_those_of_each_alone(tmp_path, monkeypatch, limit) -> None:
    alone = Context(Store(tmp_path / "alone"))
    expected = [payload(alone.make(one)) for one in stages_of(rendered(alone))]
    monkeypatch.setattr(frames, "CACHE", frames.FrameCache(limit))
    Brightness.built = 0
    context = Context(Store(tmp_path / "together"))
    parts = rendered(context)
    stages = stages_of(parts)
    read_together(context, parts["clips"], stages)
    assert frames.CACHE.decodes == COUNT - 1
    assert frames.CACHE.size == 0  # all roles are closed
    # The stages are made, each in its own folder.
    assert len(list(context.store.root.glob("score/*/manifest.json"))) == 1
    assert len(list(context.store.root.glob("evaluate/*/manifest.json"))) == 2
    found = [context.make(one) for one in stages]
    assert frames.CACHE.decodes == COUNT - 1
    assert Brightness.built == 1
    assert [payload(one) for one in found] == expected
    assert all(read_manifest(one.folder)["work"]["items"] == COUNT - (one.stage == "score") for one in found)


def test_no_second_is_counted_for_two_stages(tmp_path, monkeypatch) -> None:
    plain = Flicker.measure

    def slow(self, clips):
        time.sleep(0.2)
        return plain(self, clips)

    monkeypatch.setattr(Flicker, "measure", slow)
    context = Context(Store(tmp_path))
    parts = rendered(context)
    stages = stages_of(parts)
    start = time.monotonic()
    read_together(context, parts["clips"], stages)
    spent = time.monotonic() - start
    seconds = {one.called: read_manifest(context.make(one).folder)["seconds"] for one in stages}
    assert sum(seconds.values()) <= spent + 0.02, seconds  # each is rounded to a hundredth
    assert max(seconds.values()) >= 0.2


def test_what_is_done_is_not_done_again_after_a_kill(tmp_path, monkeypatch) -> None:
    """The second group ends in an interrupt: the first group's numbers are there, and the next start measures the rest."""
    monkeypatch.setattr(frames, "CACHE", frames.FrameCache(2 * int(np.prod(SHAPE))))
    context = Context(Store(tmp_path))
    parts = rendered(context)
    stages = stages_of(parts)
    seen: list[str] = []
    plain = Flicker.measure

    def interrupted(self, samples):
        if seen:
            raise KeyboardInterrupt
        seen.extend(one.query.id for one in samples)
        return plain(self, samples)

    monkeypatch.setattr(Flicker, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_together(context, parts["clips"], stages)
    again: list[str] = []

    def counted(self, samples):
        again.extend(one.query.id for one in samples)
        return plain(self, samples)

    monkeypatch.setattr(Flicker, "measure", counted)
    context = Context(Store(tmp_path))
    read_together(context, parts["clips"], stages)
    entry = context.make(stages[1])
    assert (seen, again) == (["q0", "q1"], ["q2", "q3", "q4"])
    assert [row["query_id"] for row in entry.rows("items.jsonl", dict)] == [f"q{n}" for n in range(COUNT)]


def test_a_run_measures_each_methods_clips_together(tmp_path, monkeypatch) -> None:
    """The pipeline's own way: two evaluators of pixels, the reward of the run and its evaluator."""
    context = Context(Store(tmp_path))
    parts = rendered(context)
    monkeypatch.setattr("vpo.pipeline.Render", lambda **asked: asked["label"])
    make = Context.make
    monkeypatch.setattr(Context, "make", lambda self, stage: parts["clips"] if stage == "m" else make(self, stage))
    config = {
        "judge": {}, "generator": {}, "seed": 0, "clips_per_prompt": 1, "reward": REWARD,
        "evaluator": {"flicker": FLICKER, "motion": MOTION, "reward": {"_target_": "vpo.evaluator.reward.RewardScore"}},
    }  # fmt: skip
    made = measure(context, config, parts["queries"], {"m": parts["prompts"]})
    assert frames.CACHE.decodes == COUNT - 1
    assert list(made["m"]["evaluators"]) == ["flicker", "motion", "reward"]


def test_large_models_stay_apart_and_so_do_parts_of_a_run() -> None:
    assert shares_frames(FLICKER)
    assert not shares_frames({"_target_": "vpo.evaluator.clip_safety.ClipSafety"})
    clip, large = {"_target_": "vpo.reward.clip.ClipReward"}, {"_target_": "vpo.reward.videoscore.VideoScoreReward"}
    ensemble = {"_target_": "vpo.reward.ensemble.EnsembleReward"}
    assert shares_frames(ensemble | {"parts": {"a": clip}})
    assert not shares_frames(ensemble | {"parts": {"a": clip, "b": large}})
    assert can_read_together(Context(Store(Path("x"))))
    assert not can_read_together(Context(Store(Path("x")), stop_after="score"))
    assert not can_read_together(Context(Store(Path("x")), retry_failed=True))
    assert not can_read_together(Context(Store(Path("x"), recompute=("evaluate",))))
