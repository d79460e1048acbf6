"""The rule judge on small rewrites of our own: faithful ones, and ones with one detail changed."""

import json

import pytest

from tests.conftest import OWN
from tests.judge.conftest import verdict_of

ROWS = [json.loads(line) for line in (OWN / "rewrites.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["query"])
def test_a_faithful_rewrite_is_accurate_and_a_changed_detail_is_not(judge, row):
    faithful, changed = (verdict_of(judge, row["query"], row[name]) for name in ("rewrite", "changed"))
    assert (faithful.accurate, faithful.harmless, changed.accurate) == (True, True, False)
