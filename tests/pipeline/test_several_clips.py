"""Several clips of a prompt: other seeds, one number a query, and failures of a clip by its number."""

import dataclasses
import pickle

import pytest

from tests.checking.test_config import composed
from tests.conftest import run_vpo
from tests.pipeline.test_pipeline import rows, run_folder
from vpo import pipeline
from vpo.cards import mean_over_clips
from vpo.evaluator.motion import Motion
from vpo.records import Clip, Failure, Prompt, Query, Sample
from vpo.results.gathering import gather_items
from vpo.results.metrics import Metrics

CHEAP = ["experiment=smoke", "method=[original]", "evaluator=[motion,reward,rendering]"]


def test_the_mean_over_clips_leaves_out_what_was_not_measured():
    of_clips = [{"a": 1.0, "b": None, "c": None}, {"a": 2.0, "b": 0.5}, {"a": None, "b": 0.25, "d": 3.0}]
    assert mean_over_clips(of_clips) == {"a": 1.5, "b": 0.375, "c": None, "d": 3.0}
    assert mean_over_clips([]) == {}
    counts = {name: (one.tried, one.failed) for name, one in mean_over_clips(of_clips).items() if one is not None}
    assert counts == {"a": (3, 1), "b": (3, 1), "d": (1, 0)}
    one = mean_over_clips(of_clips)["a"]
    again = pickle.loads(pickle.dumps(one))
    assert (again, again.tried, again.failed) == (1.5, 3, 1)


@pytest.mark.slow
def test_each_clip_has_its_own_noise_and_the_query_one_number(tmp_path):
    done = run_vpo("run", *CHEAP, "clips_per_prompt=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    items = rows(run_folder(tmp_path) / "items.jsonl")
    (scores_file,) = (tmp_path / "store/score").glob("*/scores.jsonl")
    (clips_file,) = (tmp_path / "store/render").glob("*/clips.jsonl")
    scores = {one["prompt_id"]: one["value"] for one in rows(scores_file)}
    clips = {one["prompt_id"]: one for one in rows(clips_file)}
    assert len(clips) == 3 * len(items)
    assert len({one["seed"] for one in clips.values()}) == len(clips)
    for item in items:
        ids = [f"{item['query_id']}-original{ending}" for ending in ("", "#1", "#2")]
        assert item["metrics"]["reward"] == pytest.approx(sum(scores[one] for one in ids) / 3)
        own = [
            Clip(**clips[one] | {"faults": (), "path": str(clips_file.parent / "clips" / clips[one]["path"])})
            for one in ids
        ]
        query = Query(item["query_id"], item["query"])
        prompt = Prompt(ids[0], query.id, query.text, item["prompt"], "original")
        alone = [row["motion"] for row in Motion().measure([Sample(query, prompt, (one,)) for one in own])]
        assert item["metrics"]["motion"] == pytest.approx(sum(alone) / 3)
        assert item["clip"] == item["clips"][0]
        assert len({(run_folder(tmp_path) / one).read_bytes() for one in item["clips"]}) == 3


def test_one_clip_a_prompt_keeps_the_keys_of_its_results():
    def keys(*more):
        return {(stage.called, entry.key) for stage, entry in pipeline.plan(composed(*CHEAP, *more))}

    one, three = keys(), keys("clips_per_prompt=3")
    assert one == keys("clips_per_prompt=1")
    assert {name for name, _ in one ^ three} == {
        "render original", "score original", "evaluate original motion", "evaluate original reward",
        "evaluate original rendering",
    }  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Rows:
    """An entry of the store that holds these records and failures."""

    records: list
    failed: dict
    stage: str = "render"
    folder: object = None

    def rows(self, file, kind):
        return self.records

    def failures(self, file):
        return self.failed


def test_a_clip_that_failed_is_named_by_its_number(tmp_path):
    query = Query("q", "a fox")
    clip = Clip("p", "p", "q", "a fox", "A fox.", "p.mp4", 1, 9, 8, 8, 8)
    made = {
        "m": {
            "parts": {
                "queries": Rows([query], {}, "queries"),
                "prompts": Rows([Prompt("p", "q", "a fox", "A fox.", "m")], {}, "optimize"),
                "clips": Rows(
                    [clip, dataclasses.replace(clip, id="p#2", prompt_id="p#2", path="p2.mp4")],
                    {"p#1": Failure("timeout", "the server hung")}, folder=tmp_path,
                ),
            },
            "evaluators": {},
        }
    }  # fmt: skip
    (item,) = gather_items(made, Metrics({}), tmp_path)
    assert item["clips"] == ["clips/p.mp4", None, "clips/p2.mp4"]
    assert {name: one["kind"] for name, one in item["failures"].items()} == {"render #1": "timeout"}
