import ast
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from vpo.records import Score
from vpo.storage.jsonio import dumps, write_json
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Store

PACKAGE = Path(__file__).resolve().parents[2] / "vpo"


def strictly(text: str):
    """Read JSON as the standard has it: Python's own reader takes NaN and Infinity, too."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_at_any_depth(value):
    assert strictly(dumps({"a": [1.5, (value, {"b": value})], "c": value})) == {
        "a": [1.5, [None, {"b": None}]],
        "c": None,
    }


def test_text_and_order_are_kept():
    assert dumps({"b": "caf\u00e9", "a": 1}) == '{"b": "caf\u00e9", "a": 1}'
    assert dumps({"b": 1, "a": math.nan}, sort_keys=True) == '{"a": null, "b": 1}'


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert strictly((tmp_path / "a.json").read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_score_that_is_not_finite_comes_back_as_failed(tmp_path):
    score = Score("c", "p", "q", math.nan, {"motion": math.inf, "light": 0.5}, (True,))
    write_rows(tmp_path / "scores.jsonl", [score])
    strictly((tmp_path / "scores.jsonl").read_text())
    assert read_rows(tmp_path / "scores.jsonl", Score) == [
        replace(score, value=None, dimensions={"motion": None, "light": 0.5})
    ]


def test_manifests_are_valid_and_infinity_in_a_node_is_another_key(tmp_path):
    made = [
        Store(tmp_path).get("score", {"top": top}, {}, lambda folder: {"mean": math.nan}) for top in (math.inf, None)
    ]
    assert made[0].key != made[1].key
    for entry in made:
        assert strictly((entry.folder / "manifest.json").read_text())["counts"] == {"mean": None}


def test_training_figures_are_valid_and_a_gap_is_drawn(tmp_path):
    from vpo.results.pictures import read_curves, training_curves
    from vpo.training.telemetry.record import JsonlLogger

    logger = JsonlLogger(tmp_path / "sft.jsonl")
    for step in range(80):
        logger.log_metrics({"train/loss": math.nan if step in (30, 79) else 2.0, "epoch": 0}, step)
    lines = [strictly(line) for line in (tmp_path / "sft.jsonl").read_text().splitlines()]
    assert lines[30] == {"step": 30, "train/loss": None}
    values = read_curves(tmp_path / "sft.jsonl")["train/loss"].values
    assert [math.isnan(value) for value in values].count(True) == 2
    assert training_curves(tmp_path, tmp_path / "curves.png")


def test_only_one_place_writes_json():
    writers = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json":
                writers.append(path.relative_to(PACKAGE).as_posix())
    # The contract of workers is carried into environments that have no vpo; who talks to one keeps its ids as they are.
    assert set(writers) == {"storage/jsonio.py", "workers/client.py", "workers/contract.py"}
