"""Methods are measured on the test queries or on another split, with the same trained policies."""

import pytest

from tests.checking.test_config import composed
from tests.conftest import OWN, run_vpo
from tests.dataset.test_dataset_collection import FEWER
from vpo import pipeline
from vpo.errors import UserError
from vpo.records import Query
from vpo.stages.context import Context
from vpo.stages.queries import HeldOut, Queries
from vpo.storage.store import Store

DATA = ["dataset=english", f"paths.data={OWN / 'english'}", *FEWER]


def keys(measured):
    found = {}
    for stage, entry in pipeline.plan(composed(*DATA, f"measured={measured}", "method=[original,sft,dpo]")):
        found.setdefault(stage.name, set()).add(entry.key)
    return found


def test_all_that_is_trained_is_shared_and_all_that_is_measured_is_not():
    test, users = keys("test"), keys("users")
    for stage in ("queries", "start", "draft", "refine", "sft", "sample", "pair", "reference", "dpo"):
        assert test[stage] == users[stage], stage
    assert not test["optimize"] & users["optimize"]
    assert not test["evaluate"] & users["evaluate"]
    assert "held_out" in users.keys() - test.keys()


def test_the_other_split_stands_in_the_place_of_the_test_queries(tmp_path):
    context = Context(Store(tmp_path / "store"))
    queries = context.make(Queries(dataset=composed(*DATA)["dataset"]))
    for split in ("users", "validation", "test"):
        held_out = context.make(HeldOut(queries=queries, split=split))
        rows = held_out.rows("test.jsonl", Query)
        assert rows
        assert rows == queries.rows(f"{split}.jsonl", Query)


@pytest.mark.parametrize(
    ("split", "what"), [("sft", "is trained on"), ("dpo", "is trained on"), ("tset", "is no split")]
)
def test_a_split_that_is_trained_on_or_not_there_is_refused(tmp_path, split, what):
    context = Context(Store(tmp_path / "store"))
    queries = context.make(Queries(dataset=composed(*DATA)["dataset"]))
    with pytest.raises(UserError, match=f"measured={split} {what}.*choose one of more_users, test, users, validation"):
        context.make(HeldOut(queries=queries, split=split))


def test_a_run_without_such_a_split_ends_before_anything_is_trained(tmp_path):
    done = run_vpo("run", "experiment=smoke", "measured=validation", cwd=tmp_path)
    assert done.returncode == 2
    assert "measured=validation is no split of this data set; choose one of test" in done.stderr
    assert not (tmp_path / "store/sft").exists()
