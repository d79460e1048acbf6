"""The stage that scores clips: what it stores, what is part of its key, and when it warns."""

import logging
from pathlib import Path

import pytest

from tests.reward.clips import clip, named, node
from tests.reward.conftest import tiny  # noqa: F401 (a fixture)
from vpo import targets
from vpo.records import Clip, Failure, Score
from vpo.stages.context import Context
from vpo.stages.score import ScoreClips, constant
from vpo.storage.items import read_failures
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Entry, Store


class Numbers:
    """A reward whose number is the last word of the query, None where that is none."""

    def score(self, clips):
        return [self._one(clip) for clip in clips]

    def card(self):
        return {"name": "numbers"}

    def _one(self, clip):
        word = clip.query.split()[-1]
        if word == "broken":
            return Failure("broken", "it said so")
        return Score(clip.id, clip.prompt_id, clip.query_id, None if word == "none" else float(word), {"raw": 2.0})


@pytest.fixture
def tests_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_trusted", ("tests.",))


def scored(folder: Path, queries: list[str]) -> Entry:
    clips = [named(folder / f"{n}.mp4", query) for n, query in enumerate(queries)]
    return score_stage(Context(Store(folder / "store")), clips, {"_target_": "tests.stages.test_score.Numbers"})


def score_stage(context: Context, clips: list[Clip], reward: dict) -> Entry:
    def work(folder: Path) -> dict:
        write_rows(folder / "clips.jsonl", clips)
        return {}

    rendered = context.store.get("render", {"clips": [one.query for one in clips]}, {}, work)
    return context.make(ScoreClips(reward=reward, clips=rendered, label="candidates"))


@pytest.mark.parametrize(
    ("queries", "warned"),
    [
        (["a 3", "b 3", "c 3", "d 3"], True),
        (["a 3", "b 3", "c 3", "d 3", "e none", "f broken"], True),
        (["a 3", "b 3", "c 3"], False),  # a few may be equal
        (["a 3", "b 3", "c 3", "d 3.001"], False),
        (["a none", "b none", "c none", "d none"], False),  # these are counted as unread
    ],
)
def test_equal_scores_of_all_clips_raise_one_warning(tmp_path, tests_allowed, caplog, queries, warned) -> None:
    with caplog.at_level(logging.WARNING):
        scored(tmp_path, queries)
    lines = [one.getMessage() for one in caplog.records if "have the score" in one.getMessage()]
    assert len(lines) == warned
    if warned:
        assert lines[0].startswith("score candidates: all 4 clips have the score 3: no pair comes of that")
        assert "\n" not in lines[0]


def test_scores_are_kept_raw_and_failures_beside_them(tmp_path, tests_allowed) -> None:
    entry = scored(tmp_path, ["a 3", "b broken", "c none"])
    scores = read_rows(entry.folder / "scores.jsonl", Score)
    assert [(one.clip_id, one.value, one.dimensions) for one in scores] == [
        ("0", 3, {"raw": 2}),
        ("2", None, {"raw": 2}),
    ]
    assert read_failures(entry.folder / "scores.jsonl") == {"1": Failure("broken", "it said so")}
    assert (entry.folder / "card.json").exists()


def test_constant_by_hand() -> None:
    one = Score("c", "p", "q", -0.21645422762)
    assert constant([one] * 3) is None
    assert constant([one] * 4).startswith("all 4 clips have the score -0.216454:")


def test_another_model_in_the_same_folder_is_another_key(tmp_path: Path) -> None:
    """Of a part of an ensemble, too; and so for the files of heads and checkpoints."""
    rendered = Store(tmp_path / "store").get("render", {}, {}, lambda folder: {})
    folder, head, checkpoint = (tmp_path / name for name in ("model", "head.json", "mps.pth"))
    folder.mkdir()
    parts = {
        "AES": {"_target_": "vpo.reward.aesthetic.AestheticReward", "path": str(folder), "head": str(head)},
        "MPS": {"_target_": "vpo.reward.mps.MPSReward", "path": "org/name", "checkpoint": str(checkpoint)},
    }
    for reward, files in (
        (parts["AES"], (folder / "config.json", head)),
        (
            {"_target_": "vpo.reward.ensemble.EnsembleReward", "parts": parts},
            (folder / "config.json", head, checkpoint),
        ),
    ):
        for file in files:
            nodes = []
            for content in ("1", "22", "1"):
                file.write_text(content)
                nodes.append(ScoreClips(reward=reward, clips=rendered).node())
            assert nodes[0] == nodes[2] != nodes[1], file.name


def test_a_real_class_goes_through_the_stage(tiny: Path, tmp_path: Path) -> None:  # noqa: F811
    """A broken file among good ones, on a tiny CLIP: one failure, two scores, the card, and the same records again."""
    clips = [clip(tmp_path / "a.mp4"), named(tmp_path / "b.mp4"), clip(tmp_path / "c.mp4", seed=1)]
    (tmp_path / "b.mp4").write_bytes(b"nothing")
    reward = node("clip", f"reward.path={tiny / 'clip_b32'}", "reward.revision=null")
    found = []
    for name in ("one", "two"):
        entry = score_stage(Context(Store(tmp_path / name)), clips, reward)
        found.append((entry.folder / "scores.jsonl").read_bytes())
        assert [one.clip_id for one in read_rows(entry.folder / "scores.jsonl", Score)] == ["a", "c"]
        assert read_failures(entry.folder / "scores.jsonl")["b"].kind == "unreadable"
    assert found[0] == found[1]
