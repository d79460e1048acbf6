"""A half-done result goes on only while it is still being made from the same things."""

import json
import logging
from contextlib import suppress

import pytest
from hydra import compose, initialize_config_module

from vpo import pipeline
from vpo.checking.composing import resolve
from vpo.records import Reason, Verdict
from vpo.runs import open_context
from vpo.stages.context import StopHere
from vpo.storage import store as store_module
from vpo.storage.rows import whole_lines, write_rows
from vpo.storage.store import Store


class Killed(BaseException):
    pass


def judge(root, answer: str, **options):
    """A store with a verdict for each of four prompts."""

    def critique(folder):
        write_rows(folder / "verdicts.jsonl", [{"id": number, "verdict": answer} for number in range(4)])
        return {}

    store = Store(root, **options)
    return store, store.get("critique", {}, {}, critique)


def refine(store, verdicts, *, die_after: int | None = None, node=None):
    """Mend item by item, going on after the lines that are there, as `vpo.storage.items.complete` does."""

    def work(folder):
        path = folder / "refinements.jsonl"
        items = verdicts.rows("verdicts.jsonl", dict)
        for item in items[len(whole_lines(path)) :]:
            if die_after is not None and len(whole_lines(path)) == die_after:
                raise Killed
            with path.open("a") as file:
                file.write(json.dumps({"id": item["id"], "of": item["verdict"]}) + "\n")
        return {}

    return store.get("refine", node or {}, {"verdicts": verdicts}, work)


def begun(root) -> None:
    store, verdicts = judge(root, "old")
    with pytest.raises(Killed):
        refine(store, verdicts, die_after=2)
    (statement,) = root.glob("refine/*.partial/made_from.json")
    content = json.loads(statement.read_text())
    assert content["stamps"] == {"verdicts": json.loads((verdicts.folder / "manifest.json").read_text())["stamp"]}
    assert {"stage", "key", "node", "inputs", "stamps", "code"} <= set(content)


def answers(entry) -> list[str]:
    return [row["of"] for row in entry.rows("refinements.jsonl", dict)]


def discarded(caplog) -> list[str]:
    return [record.message for record in caplog.records if "discarded" in record.message]


def test_rows_made_from_older_inputs_do_not_meet_new_ones(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="vpo")
    begun(tmp_path)
    store, verdicts = judge(tmp_path, "new", recompute=("critique",))
    assert answers(refine(store, verdicts)) == ["new"] * 4
    assert discarded(caplog) == ["refine: what an unfinished start left is discarded (its inputs were made anew)"]


def test_what_still_fits_goes_on(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="vpo")
    begun(tmp_path)
    (partial,) = tmp_path.glob("refine/*.partial")
    (partial / "refinements.jsonl").write_text('{"id": 0, "of": "kept"}\n{"id": 1, "of": "kept"}\n')
    store, verdicts = judge(tmp_path, "old")
    entry = refine(store, verdicts)
    assert answers(entry) == ["kept", "kept", "old", "old"]
    assert discarded(caplog) == []
    assert sorted(path.name for path in entry.folder.iterdir()) == ["manifest.json", "refinements.jsonl"]


def test_code_that_changed_meanwhile_makes_it_all(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="vpo")
    begun(tmp_path)
    monkeypatch.setattr(store_module, "code_hash", lambda *given: "of today")
    store, verdicts = judge(tmp_path, "old")
    (partial,) = tmp_path.glob("refine/*.partial")
    (partial / "refinements.jsonl").write_text('{"id": 0, "of": "older code"}\n')
    entry = refine(store, verdicts)
    assert answers(entry) == ["old"] * 4
    assert json.loads((entry.folder / "manifest.json").read_text())["code"] == "of today"
    assert discarded(caplog) == ["refine: what an unfinished start left is discarded (the code has changed)"]


@pytest.mark.parametrize("statement", [None, "", "[]", "{", '{"stage": "refine"}'])
def test_what_does_not_say_what_it_is_made_from_is_discarded(tmp_path, statement):
    begun(tmp_path)
    (path,) = tmp_path.glob("refine/*.partial/made_from.json")
    path.unlink()
    if statement is not None:
        path.write_text(statement)
    path.with_name("refinements.jsonl").write_text('{"id": 0, "of": "unknown"}\n')
    assert answers(refine(*judge(tmp_path, "old"))) == ["old"] * 4


def test_recompute_begins_anew_once_and_then_goes_on_after_a_kill(tmp_path):
    begun(tmp_path)
    (partial,) = tmp_path.glob("refine/*.partial")
    (partial / "refinements.jsonl").write_text('{"id": 0, "of": "unwanted"}\n')
    store, verdicts = judge(tmp_path, "old", recompute=("refine",))
    with pytest.raises(Killed):
        refine(store, verdicts, die_after=3)
    assert "unwanted" not in (partial / "refinements.jsonl").read_text()
    (partial / "refinements.jsonl").write_text('{"id": 0, "of": "recomputed"}\n')
    entry = refine(*judge(tmp_path, "old", recompute=("refine",)))
    assert answers(entry) == ["recomputed", "old", "old", "old"]


def test_the_stamps_are_those_from_before_the_work(tmp_path):
    """An input that is made anew while the work runs has not been seen by it: the result must not pass for one of it."""
    store, verdicts = judge(tmp_path, "old")

    def work(folder):
        items = verdicts.rows("verdicts.jsonl", dict)
        judge(tmp_path, "new", recompute=("critique",))  # another process
        write_rows(folder / "refinements.jsonl", [{"id": item["id"], "of": item["verdict"]} for item in items])
        return {}

    assert answers(store.get("refine", {}, {"verdicts": verdicts}, work)) == ["old"] * 4
    assert answers(refine(*judge(tmp_path, "new"))) == ["new"] * 4


def test_a_field_that_changes_no_result_lets_it_go_on(tmp_path):
    """How often a training is saved may be changed while it is stopped."""

    def train(every, die):
        def work(folder):
            if die:
                (folder / "last.ckpt").touch()
                raise Killed
            return {"resumed": (folder / "last.ckpt").exists()}

        node = {"recipe": {"lr": 1, "checkpoint_every": every}}
        return Store(tmp_path).get("sft", node, {}, work, exempt=("recipe.checkpoint_every",))

    with pytest.raises(Killed):
        train(100, die=True)
    manifest = json.loads((train(10, die=False).folder / "manifest.json").read_text())
    assert manifest["counts"] == {"resumed": True}
    assert manifest["node"] == {"recipe": {"lr": 1, "checkpoint_every": 10}}


class FickleJudge:
    """Finds a flaw in every prompt; what it writes depends on the day, as a server's model does."""

    answer, dies_at = "old", None

    def __init__(self, **unused):
        self.calls = 0

    def critique(self, prompts):
        reasons = (Reason("helpful", self.answer, ""),)
        return [Verdict(prompt.id, True, True, False, reasons=reasons) for prompt in prompts]

    def refine(self, prompts, verdicts):
        self.calls += 1
        if self.calls == FickleJudge.dies_at:
            raise Killed
        return [f"{verdict.reasons[0].kind} {prompt.text}" for prompt, verdict in zip(prompts, verdicts, strict=True)]


def test_a_run_that_is_killed_in_refine_and_recomputes_critique_mixes_nothing(tmp_path, monkeypatch):
    """The same through the pipeline: two chunks of drafts, of which one was mended before the kill."""

    def run(*overrides):
        with initialize_config_module("vpo.conf", version_base="1.3"):
            cfg = compose("config", overrides=[
                "experiment=smoke", "judge._target_=tests.storage.test_partial.FickleJudge", "build.allow=[tests.]",
                f"paths.store={tmp_path}", "stop_after=refine", *overrides,
            ])  # fmt: skip
        config = resolve(cfg)
        with suppress(StopHere):
            pipeline.run(open_context(config), config)

    monkeypatch.setattr(FickleJudge, "dies_at", 2)
    with pytest.raises(Killed):
        run()
    (partial,) = tmp_path.glob("refine/*.partial")
    assert len(whole_lines(partial / "refinements.journal.jsonl")) == 32
    monkeypatch.setattr(FickleJudge, "dies_at", None)
    monkeypatch.setattr(FickleJudge, "answer", "new")
    run("recompute=[critique]")
    (refinements,) = tmp_path.glob("refine/*/refinements.jsonl")
    assert [row["text"].split()[0] for row in whole_lines(refinements)] == ["new"] * 64
