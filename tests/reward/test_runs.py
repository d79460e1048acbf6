"""The command line with `reward=prompt_a_video_tiny`: real classes score the sketch world's clips, and pairs come of it."""

import json
from pathlib import Path

import pytest

from tests.conftest import run_vpo
from vpo.assets.making import make_tiny
from vpo.records import Pair, Score
from vpo.storage.rows import read_rows


@pytest.mark.slow
def test_prompt_a_videos_reward_makes_pairs(tmp_path: Path) -> None:
    make_tiny(tmp_path / "assets", print, ["videoscore", "clip_l14", "aesthetic_head", "mps"])
    done = run_vpo(
        "run", "experiment=smoke", "reward=prompt_a_video_tiny", "feedback=prompt_a_video", "feedback.least=null",
        "feedback.threshold=0", "stop_after=pair", cwd=tmp_path, VPO_ASSETS=str(tmp_path / "assets"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder,) = {path.parent for path in (tmp_path / "store/score").glob("*/scores.jsonl")}
    scores = read_rows(folder / "scores.jsonl", Score)
    assert all(list(one.dimensions) == ["VQ", "TC", "DD", "TVA", "FC", "AES", "MPS"] for one in scores)
    assert len({one.value for one in scores}) > len(scores) / 2
    card = json.loads((folder / "card.json").read_text())
    assert set(card["parts"]) == {"videoscore", "AES", "MPS"}
    (pairs,) = (tmp_path / "store/pair").glob("*/pairs.jsonl")
    assert all(one.chosen_score > one.rejected_score for one in read_rows(pairs, Pair))
    assert read_rows(pairs, Pair)
