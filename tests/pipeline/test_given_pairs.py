"""DPO on pairs that came with the queries: they reach the training as they are, and nothing is sampled or judged for them."""

import json

import pytest

from tests.checking.test_config import composed, keys_of
from tests.conftest import run_vpo
from vpo.checking.rules import check
from vpo.dataset.file import FileDataset
from vpo.errors import UserError
from vpo.feedback.given import given_pairs
from vpo.records import Pair, Query
from vpo.stages.context import Context
from vpo.stages.pair import MakePairs
from vpo.stages.queries import Queries
from vpo.storage.rows import read_rows
from vpo.storage.store import Store

FILE = ["dataset=file", "dataset.sft=12", "dataset.dpo=12", "dataset.test=6"]
GIVEN = ["feedback=given", "method@drafter=given", "method=[dpo]", "evaluator=[alignment]"]


def pairs_file(folder):
    """30 queries with two pairs each, in TRL's form."""
    rows = [
        {
            "prompt": f"an animal number {n}",
            "chosen": f"An animal number {n} walks {way} through wet grass.",
            "rejected": f"animal {n} {way}",
        }
        for n in range(30)
        for way in ("slowly", "quickly")
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stages_of(*overrides):
    return {key.partition("/")[0] for key in keys_of(composed(*FILE, *overrides))}


def test_nothing_is_sampled_or_judged_for_given_pairs(tmp_path):
    path = f"dataset.path={pairs_file(tmp_path)}"
    given, text = (
        stages_of(path, f"feedback={name}", "method=[dpo]", "evaluator=[text]") for name in ("given", "text")
    )
    assert {"sample"} <= text - given
    assert {"pair", "reference", "dpo"} <= given


def test_no_seed_and_no_rule_changes_given_pairs(tmp_path):
    path = f"dataset.path={pairs_file(tmp_path)}"
    keys = [
        {one for one in keys_of(composed(*FILE, *GIVEN, path, *more)) if one.startswith("pair/")}
        for more in ([], ["seed=3"], ["feedback.threshold=2"])
    ]
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["feedback.text=true"], "feedback.given=true takes the pairs of the data set alone"),
        (["rounds=2"], "rounds=2 has no meaning with feedback=given"),
        (["objective=grpo", "method=[grpo]"], "objective=grpo learns from rewards, not from given pairs"),
    ],
)
def test_what_has_no_meaning_with_given_pairs_is_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        check(composed(*GIVEN, *overrides))


def test_the_stage_writes_the_pairs_of_the_dpo_queries_and_their_card(tmp_path):
    node = composed(*FILE, f"dataset.path={pairs_file(tmp_path)}")["dataset"]
    context = Context(Store(tmp_path / "store"))
    queries = context.make(Queries(dataset=node))
    made = context.make(MakePairs(feedback={"given": True}, queries=queries, seed=0))
    pairs = made.rows("pairs.jsonl", Pair)
    assert pairs == given_pairs(queries.rows("dpo.jsonl", Query))
    assert len(pairs) == 24
    assert {(one.source, one.number) for one in pairs} == {("given", 0), ("given", 1)}
    assert len({one.id for one in pairs}) == 24
    assert all(one.provenance["versions"]["queries"] == {"result": f"queries/{queries.key}"} for one in pairs)
    card = (made.folder / "card.md").read_text()
    assert "| **given** | all | **24** |" in card
    assert (made.folder / "card.png").stat().st_size > 1000


def test_queries_without_pairs_are_one_line(tmp_path):
    (tmp_path / "q.txt").write_text("".join(f"query {n}\n" for n in range(30)))
    context = Context(Store(tmp_path / "store"))
    queries = context.make(Queries(dataset=composed(*FILE, f"dataset.path={tmp_path / 'q.txt'}")["dataset"]))
    with pytest.raises(
        UserError, match="none of the 12 queries of the split dpo came with a pair; give rows of chosen"
    ):
        context.make(MakePairs(feedback={"given": True}, queries=queries, seed=0))


@pytest.mark.slow
def test_dpo_trains_on_given_pairs_and_gives_them_back(tmp_path):
    path = pairs_file(tmp_path)
    done = run_vpo("run", "experiment=smoke", *FILE, *GIVEN, f"dataset.path={path}", cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.glob("runs/*/*/results.json")
    (stored,) = tmp_path.glob("store/pair/*/pairs.jsonl")
    assert not (tmp_path / "store/sample").exists()
    pairs = read_rows(stored, Pair)
    figures = [json.loads(line) for line in next(tmp_path.glob("store/dpo/*/training.jsonl")).read_text().splitlines()]
    first = next(row for row in figures if "train/loss" in row)
    assert first["train/loss"] == pytest.approx(0.693147, abs=1e-4)
    drafts = [json.loads(line) for line in next(tmp_path.glob("store/draft/*/prompts.jsonl")).read_text().splitlines()]
    assert {one["text"].split(" walks")[0] for one in drafts} == {f"A{one['query'][1:]}" for one in drafts}
    export = run_vpo("pairs", "export", str(results.parent), "format=llama_factory", "to=mine.json", cwd=tmp_path)
    assert export.returncode == 0, export.stderr
    again = FileDataset(str(tmp_path / "mine.json"), sft=0, dpo=1, test=0, max_chars=2000).splits()["dpo"]
    assert given_pairs(again) == pairs
