"""The cost table of a plan, against sums by hand."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from vpo import pipeline
from vpo.checking.composing import compose
from vpo.costs.counting import Counting, flawed_share, splits_of
from vpo.costs.figures import Figure, exact
from vpo.costs.known import FILE, Known, known
from vpo.costs.stages import costs_of, measured_seconds
from vpo.runs import plan_lines

FAST = ("experiment=smoke", "method=[original]", "evaluator=[scene,reward]")


@pytest.fixture
def queries(tmp_path) -> Path:
    path = tmp_path / "queries.json"
    path.write_text(json.dumps([f"a dog number {number}" for number in range(40)]))
    return path


def plan(*overrides: str, queries: Path, tmp_path: Path, generator: str = "cogvideox_5b", reward: str = "visionreward"):
    """A plan of the paper's recipe, with its generator and reward by name: the costs go by what was chosen."""
    composed = compose("experiment=paper_5b", f"dataset.path={queries}", f"paths.store={tmp_path / 'store'}", "feedback=both",
                       "judge=rules", "generator=sketch", "reward=sketch", *overrides)  # fmt: skip
    config = dict(composed.config)
    config["generator"] = {"_target_": "vpo.sketch.generator.SketchGenerator", "frames": 49, "height": 480, "width": 720, "steps": 50,
                           "path": "THUDM/CogVideoX-5b"}  # fmt: skip
    return dataclasses.replace(
        composed, config=config, choices={**composed.choices, "generator": generator, "reward": reward}
    )


def costs(composed, queries: int | None = 10_000, flawed: float | None = 0.2):
    stages = pipeline.plan(composed.config)
    config = composed.config
    splits = splits_of(config, stages, queries) | {"test": exact(500)}
    counting = Counting(splits, config["sampling"]["k"], flawed_share(stages, flawed), asked=queries is not None)
    return {one.name: one for one in costs_of(stages, counting, Known(config, composed.choices), {})}


def test_clips_of_ten_thousand_queries_by_the_authors_seconds(queries, tmp_path):
    """40,000 candidates; with a fifth flawed, a query has none in 0.8^4 = 0.4096, and all four of its candidates are rendered:
    16,384 clips of 180 s on an A100 (zai-org/CogVideo, README) are 819.2 hours."""
    found = costs(plan(queries=queries, tmp_path=tmp_path))
    render = found["render candidates"]
    assert found["sample"].items == exact(40_000)
    assert render.items.value == pytest.approx(16_384)
    assert render.items.basis == "estimate"
    assert (render.seconds.value, render.seconds.basis) == (180, "card")
    assert render.gpu_hours.value == pytest.approx(819.2)
    # 49 frames of 480 x 720 at 0.06 bytes a pixel, and 1500 for the record
    assert render.bytes.value == pytest.approx(16_384 * (49 * 480 * 720 * 0.06 + 1500))
    assert found["score candidates"].gpu_hours.value == pytest.approx(16_384 * 30 / 3600)
    assert found["score candidates"].gpu_hours.basis == "estimate"


@pytest.mark.parametrize(
    ("overrides", "change", "clips", "seconds"),
    [
        ((), {"steps": 25}, 16_384, 90),
        ((), {"frames": 25}, 16_384, 180 * 25 / 49),
        (("plan.gpu=h100",), {}, 16_384, 90),
        (("feedback=video",), {}, 40_000, 180),
        (("feedback.merge=beside",), {}, 40_000, 180),  # the recipe compares all candidates, as the released code does
        (("feedback.merge=beside", "feedback.among=fine"), {}, 32_000, 180),
        (("sampling.k=2",), {}, 20_000 * 0.64, 180),
    ],
)
def test_settings_change_what_clips_cost(overrides, change, clips, seconds, queries, tmp_path):
    composed = plan(*overrides, queries=queries, tmp_path=tmp_path)
    composed.config["generator"].update(change)
    render = costs(composed)["render candidates"]
    assert render.items.value == pytest.approx(clips)
    assert render.seconds.value == pytest.approx(seconds)
    assert render.gpu_hours.value == pytest.approx(clips * seconds / 3600)
    assert render.seconds.basis == ("estimate" if change else "card")


def test_a_million_queries_are_a_hundred_times_ten_thousand(queries, tmp_path):
    composed = plan(queries=queries, tmp_path=tmp_path)
    small, large = costs(composed), costs(composed, 1_000_000)
    for name in ("sample", "render candidates", "score candidates", "sft", "dpo"):
        assert large[name].gpu_hours.value == pytest.approx(100 * small[name].gpu_hours.value), name


def test_a_training_by_its_floating_point_operations(queries, tmp_path):
    """6 x 8.03e9 weights x tokens at 40 % of 312 TFLOP/s; five epochs of 10,000 rows."""
    composed = plan(queries=queries, tmp_path=tmp_path)
    template = len((ROOT / "vpo/templates/optimizer.txt").read_text()) / 4.8
    tokens = 10_000 * 5 * (template + 30 + 150)
    sft = costs(composed)["sft"]
    assert sft.tokens.value == pytest.approx(tokens)
    assert sft.gpu_hours.value == pytest.approx(6 * 8.03e9 * tokens / (0.4 * 312e12) / 3600)
    assert sft.gpu_hours.basis == "estimate"


def test_what_nobody_knows_is_a_question_mark_and_totals_say_so(queries, tmp_path):
    composed = plan("plan.queries=10000", "plan.gpus=8", queries=queries, tmp_path=tmp_path, reward="new_one")
    lines = plan_lines(composed)
    score = next(line for line in lines if line.startswith("score candidates"))
    assert score.split()[:5] == ["score", "candidates", "16,384", "?", "?"]
    total = next(line for line in lines if line.startswith("total"))
    hours = total.split()[1:4]
    assert hours[1:] == ["+", "?"]
    assert float(hours[0]) > 819
    (time,) = (line for line in lines if line.startswith("time: "))
    assert "days + ? on one a100" in time
    assert "on 8" in time
    (dominates,) = (line for line in lines if line.startswith("dominates: "))
    assert dominates.startswith("dominates: render, ")
    assert "of the known GPU-hours: sampling.k=4, generator.steps=50, generator.frames=49" in dominates
    assert any("generator.steps=25 for candidates about 410 GPU-hours" in line for line in lines)


def test_idle_devices_are_said(queries, tmp_path):
    """180 s a clip to render and 30 s to score: a seventh of the time, in which the generator's device would wait."""
    lines = plan_lines(plan("plan.queries=10000", queries=queries, tmp_path=tmp_path))
    (line,) = (line for line in lines if line.startswith("idle: "))
    assert "would do nothing for 14% and 86% of that time" in line
    assert "would spare at most 14%" in line


def test_two_numbers_of_queries_are_two_tables(queries, tmp_path):
    lines = plan_lines(plan("plan.queries=[10000,1000000]", queries=queries, tmp_path=tmp_path))
    heads = [line for line in lines if line.startswith("costs of ")]
    assert [line.split()[2] for line in heads] == ["10,000", "1,000,000"]


def test_own_queries_are_counted(queries, tmp_path):
    lines = plan_lines(plan(queries=queries, tmp_path=tmp_path))
    assert any(line.startswith("costs of the config's own queries (sft 20, dpo 10, test 10), k=4") for line in lines)


def test_a_judge_on_a_server_costs_tokens_and_money_and_no_gpu(queries, tmp_path):
    """10,000 candidates x (template + 30 + 150 tokens read at 2, 100 written at 8, of a million)."""
    composed = plan("judge=llm", "engine=server", "engine.base_url=http://localhost:1/v1", "engine.model=m", "engine.price_in=2",
                    "engine.price_out=8", queries=queries, tmp_path=tmp_path)  # fmt: skip
    one = costs(composed)["critique drafts"]
    read = len((ROOT / "vpo/templates/critique.txt").read_text()) / 4.8 + 30 + 150
    assert one.tokens.value == pytest.approx(10_000 * (read + 100))
    assert one.money.value == pytest.approx(10_000 * (read * 2 + 100 * 8) / 1e6)
    assert one.gpu_hours == exact(0)


def test_gpu_hours_have_the_price_that_is_given(queries, tmp_path):
    found = costs(plan("plan.gpu_price=2.5", queries=queries, tmp_path=tmp_path))["render candidates"]
    assert found.money.value == pytest.approx(819.2 * 2.5)


def test_the_sketch_world_has_a_table_only_where_it_is_asked_for(tmp_path):
    store = f"paths.store={tmp_path / 'store'}"
    assert not any(line.startswith("costs of") for line in plan_lines(compose(*FAST, store)))
    assert any(line.startswith("costs of") for line in plan_lines(compose(*FAST, store, "plan.costs=true")))


def test_a_finished_run_is_measured(smoke, tmp_path):
    """Stages that are done cost nothing; with other queries their measured seconds count."""
    store = f"paths.store={smoke / 'store'}"
    lines = plan_lines(compose("experiment=smoke", store, "plan.costs=true"))
    assert any("stages are done and cost nothing more" in line for line in lines)
    composed = compose("experiment=smoke", store, "plan.queries=1000")
    stages = pipeline.plan(composed.config, smoke / "store")
    measured = measured_seconds(smoke / "store", stages, Known(composed.config, composed.choices))
    one = measured["render/vpo.sketch.generator.SketchGenerator"]
    manifests = [json.loads(path.read_text()) for path in (smoke / "store/render").glob("*/manifest.json")]
    works = [manifest["work"] for manifest in manifests]
    assert all(work["items"] == manifest["counts"]["clips"] for work, manifest in zip(works, manifests, strict=True))
    assert one.basis == "measured"
    works = [work for work in works if work["items"]]  # of the candidates none was left to render
    assert one.value == pytest.approx(sum(work["seconds"] for work in works) / sum(work["items"] for work in works))
    render = next(line for line in plan_lines(composed) if line.startswith("render candidates"))
    assert "measured" in render


def test_every_known_figure_says_where_it_comes_from():
    for group, choices in known().items():
        for name, entry in {group: choices}.items() if "basis" in choices else choices.items():
            if group == "gpus":
                continue
            assert entry["basis"] in ("measured", "card", "estimate"), (group, name)
            assert entry["basis"] == "estimate" or entry["source"], (group, name)
    assert yaml.safe_load(FILE.read_text()) == known()


def test_an_unknown_share_of_flaws_leaves_clips_unknown(queries, tmp_path):
    found = costs(plan(queries=queries, tmp_path=tmp_path), flawed=None)
    assert found["render candidates"].items.value is None
    assert found["render candidates"].gpu_hours == Figure()


def test_several_clips_of_a_test_prompt_are_rendered_and_scored(queries, tmp_path):
    found = costs(plan("clips_per_prompt=5", queries=queries, tmp_path=tmp_path))
    for name in ("render sft", "score sft"):
        assert found[name].items.value == 5 * 500, name
    assert found["render candidates"].items.value == pytest.approx(16_384)
