"""The papers' recipes with their own roles: true classes, tiny random weights, two items of everything."""

import json

import pytest

from tests.conftest import run_vpo
from tests.language.chat_server import Reply, chat_server, completion
from tests.reward.asking import TEXTS_FILE
from tests.worker_environments.environments import made_environment
from tests.worker_environments.test_roles import STAND_INS
from vpo.assets.making import make_tiny

pytest.importorskip("openai", reason="the extra `server` is not installed")

SMALL = [
    "backbone=tiny_smoke", "trainer=cpu", "trainer.precision=32-true", "trainer.per_device_batch_size=2", "sft.max_steps=1",
    "sft.global_batch_size=2", "sft.max_length=512", "sampling.k=2", "sampling.max_new_tokens=24", "rounds=1",
    "logger=[csv]", "engine.model=tiny", "engine.concurrency=2",
    "generator.path=asset:tiny/cogvideox", "generator.revision=null", "generator.dtype=float32", "generator.frames=9",
    "generator.height=32", "generator.width=32", "generator.steps=2", "generator.device=cpu",
]  # fmt: skip
QUERIES = [("a dog on a beach", "sft"), ("two cats in the snow", "sft"), ("a red car", "dpo"), ("a boat at night", "dpo"),
           ("a man who reads", "test"), ("rain on a window", "test")]  # fmt: skip
TINY = ("cogvideox", "videoscore", "clip_l14", "aesthetic_head", "mps")


def says(number: int, body: dict) -> Reply:
    """A critique where one is asked for, else a prompt."""
    asked = body["messages"][-1]["content"]
    if "Final Judgement" in asked:
        return Reply(body=completion("All of it is there.\nFinal Judgement (Yes or No): Yes"))
    return Reply(body=completion(f"A quiet scene number {number}, filmed from afar in soft morning light."))


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assets")
    make_tiny(folder, lambda text: None, TINY)
    return folder


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    made_environment(folder, "visionreward", STAND_INS / "visionreward")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["paper_2b", "paper_5b", "prompt_a_video"])
def test_the_first_items_go_through_the_papers_own_roles(recipe, assets, workers, tmp_path):
    (tmp_path / "queries.json").write_text(json.dumps([{"query": text, "split": split} for text, split in QUERIES]))
    own = (
        ["reward=prompt_a_video_tiny", "evolution.rounds=1", "evolution.children=1", "evolution.queries=2"]
        if recipe == "prompt_a_video"
        else [f"reward.texts_file={TEXTS_FILE}", "reward.frames=4"]
    )
    stop = "winners" if recipe == "prompt_a_video" else "score"
    with chat_server(says) as server:
        done = run_vpo(
            "run", f"experiment={recipe}", "dataset.path=queries.json", *SMALL, *own, f"engine.base_url={server.base_url}",
            f"stop_after={stop}", cwd=tmp_path, VPO_ASSETS=str(assets), VPO_WORKERS=str(workers), timeout=900,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = [
        json.loads(line)
        for path in tmp_path.glob("store/score/*/scores.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert len({one["query_id"] for one in scores}) >= 2
    if recipe == "prompt_a_video":
        assert set(scores[0]["dimensions"]) >= {"VQ", "TC", "FC", "DD", "TVA", "AES", "MPS"}
        assert list(tmp_path.glob("store/winners/*/manifest.json"))
    else:
        assert all(len(one["answers"]) == 64 for one in scores)
    sidecars = [json.loads(path.read_text()) for path in tmp_path.glob("store/render/*/clips/*.json")]
    assert {one["generator"]["settings"]["pipeline"] for one in sidecars} == {"CogVideoXPipeline"}
