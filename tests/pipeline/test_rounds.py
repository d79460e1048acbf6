"""Iterated rounds of feedback and preference training."""

import json
import shutil

import pytest

from tests.checking.test_config import composed, keys_of
from tests.conftest import run_vpo
from tests.pipeline.test_pipeline import rows
from vpo import pipeline
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.records import Pair
from vpo.stages.sft import Sft, steps_of
from vpo.storage.rows import write_rows
from vpo.storage.store import Entry


def stages_of(keys: set[str], name: str) -> set[str]:
    return {key for key in keys if key.startswith(f"{name}/")}


def test_a_second_round_adds_to_the_first_and_changes_nothing_of_it():
    one, two = keys_of(composed("method=[sft,dpo]")), keys_of(composed("method=[sft,dpo]", "rounds=2"))
    for stage in ("sft", "sample", "pair", "reference", "dpo"):
        assert stages_of(one, stage) <= stages_of(two, stage), stage
    assert [len(stages_of(two, stage)) for stage in ("sft", "sample", "pair", "reference", "dpo")] == [1, 2, 2, 2, 2]


def test_the_second_round_starts_from_and_refers_to_the_first_policy():
    config = composed("method=[sft,dpo_1,dpo_2]", "rounds=2")
    made = {
        f"{entry.stage}/{entry.key}": {name: f"{one.stage}/{one.key}" for name, one in stage.inputs().items()}
        for stage, entry in pipeline.plan(config)
    }
    (sft,), dpo = stages_of(set(made), "sft"), stages_of(set(made), "dpo")
    (first,) = [key for key in dpo if made[key]["start"] == sft]
    (second,) = [key for key in dpo if made[key]["start"] == first]
    assert made[second]["reference"] in made
    assert made[made[second]["reference"]]["policy"] == first
    assert {made[key]["policy"] for key in stages_of(set(made), "sample")} == {sft, first}


def test_controls_get_the_updates_and_the_texts_of_all_rounds(tmp_path):
    references, pairs = [], []
    for number, count in enumerate((20, 12), 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_rows(folder / "reference.jsonl", [{"query_id": str(i)} for i in range(count)])
        write_rows(
            folder / "pairs.jsonl", [Pair(str(i), "q", f"good {number} {i}", "bad", "text") for i in range(count)]
        )
        references.append(Entry("reference", str(number), folder))
        pairs.append(Entry("pair", str(number), folder))
    objective = {"validation": 0, "epochs": 2, "max_steps": None, "global_batch_size": 16}
    start = Entry("sft", "start", tmp_path)
    control = Sft(
        recipe={}, trainer={}, backbone={"template": "tiny"}, start=start, seed=0, pairs=pairs, updates=objective,
        updates_of=references,
    )  # fmt: skip
    # 20 pairs twice are 40 rows, 3 batches of 16; 12 twice are 24, 2 batches.
    assert sum(steps_of(objective, count) for count in (20, 12)) == control.as_many_updates()["max_steps"] == 5
    assert len(control.examples()) == 32
    assert set(control.inputs()) == {"start", "pairs", "pairs_2", "updates_of", "updates_of_2"}


def test_a_method_of_a_round_that_is_not_there_is_told():
    with pytest.raises(UserError, match=r"no policy is called dpo_2 .* known are start, sft, dpo, dpo_1, sft_more"):
        keys_of(composed("method=[dpo_2]"))
    with pytest.raises(UserError, match="rounds=0 must be a whole number of at least 1"):
        check(composed("rounds=0"))


@pytest.mark.slow
def test_two_rounds_run_to_results(smoke, tmp_path):
    shutil.copytree(smoke / "store", tmp_path / "store")
    done = run_vpo("run", "experiment=smoke", "rounds=2", "method=[sft,dpo_1,dpo_2]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "runs").rglob("results.json")
    assert list(json.loads(results.read_text())["methods"]) == ["sft", "dpo_1", "dpo_2"]
    assert {path.stem for path in (results.parent / "training").glob("*.jsonl")} == {"sft", "dpo_1", "dpo_2"}
    first_losses = [
        next(row["train/loss"] for row in rows(figures) if "train/loss" in row)
        for figures in (tmp_path / "store/dpo").glob("*/training.jsonl")
    ]
    # The reference has moved with the policy: each round begins at ln 2.
    assert first_losses == pytest.approx([0.693147, 0.693147], abs=1e-4)
