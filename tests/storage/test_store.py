import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from vpo.errors import UserError
from vpo.storage.store import Entry, Store, stage_key, without


def made(folder: Path) -> dict[str, int]:
    (folder / "value.txt").write_text("made")
    return {"items": 1}


def test_equal_request_finds_the_result_and_is_not_made_again(tmp_path):
    calls = []
    for _ in range(2):
        entry = Store(tmp_path).get("critique", {"judge": {"a": 1}}, {}, lambda folder: calls.append(1) or made(folder))
    assert calls == [1]
    assert (entry.folder / "value.txt").read_text() == "made"
    assert json.loads((entry.folder / "manifest.json").read_text())["counts"] == {"items": 1}


def test_a_label_is_told_and_is_no_part_of_the_key(tmp_path, caplog):
    caplog.set_level("INFO", logger="vpo")
    entry = Store(tmp_path).get("critique", {}, {}, made, label="drafts")
    assert caplog.records[0].message.startswith("critique drafts: items 1 (")
    assert (entry.called, Entry("sft", "k", tmp_path).called) == ("critique drafts", "sft")
    again = Store(tmp_path).get("critique", {}, {}, made, label="candidates")
    assert (again.key, again.folder) == (entry.key, entry.folder)
    assert "drafts" not in (entry.folder / "manifest.json").read_text()
    assert Store(tmp_path).get("sft", {}, {}, made, label="sft").called == "sft"


def test_key_depends_on_stage_node_and_inputs_only(tmp_path):
    store = Store(tmp_path)
    entry = store.get("queries", {"n": 1}, {}, made)
    other = store.get("queries", {"n": 2}, {}, made)
    base = stage_key("critique", {"judge": {"a": 1, "b": 2}}, {"prompts": entry})
    assert base == stage_key("critique", {"judge": {"b": 2, "a": 1}}, {"prompts": entry})
    assert base != stage_key("refine", {"judge": {"a": 1, "b": 2}}, {"prompts": entry})
    assert base != stage_key("critique", {"judge": {"a": 1, "b": 3}}, {"prompts": entry})
    assert base != stage_key("critique", {"judge": {"a": 1, "b": 2}}, {"prompts": other})


@pytest.mark.parametrize("name", ["path", "label", "policy", "workers", "cache_dir", "memory_gb", "checkpoint_every"])
def test_no_field_leaves_a_key_by_its_bare_name(name):
    """Two models given by `generator.path=` must not show each other's clips."""
    node = {"generator": {"_target_": "vpo.sketch.generator.SketchGenerator"}, "trainer": {"a": 1}}
    for within in (("generator",), ("trainer",), ()):
        for value in ("x", "y"):
            more = {within[0]: {**node[within[0]], name: value}} if within else {name: value}
            assert stage_key("render", {**node, **more}, {}) != stage_key("render", node, {})
        one, two = ({"generator": {name: value}} for value in ("x", "y"))
        assert stage_key("render", one, {}) != stage_key("render", two, {})


def test_exempt_fields_are_named_by_their_full_path():
    def key(node):
        return stage_key("sft", node, {}, ("trainer.memory_gb", "shown", "recipe.a.b"))

    base = {"trainer": {"devices": 1}, "recipe": {"a": {"c": 1}}}
    same = {"trainer": {"devices": 1, "memory_gb": 80}, "recipe": {"a": {"c": 1, "b": 2}}, "shown": {"x": 1}}
    assert key(base) == key(same) == stage_key("sft", base, {})
    others = (
        {**base, "memory_gb": 80},
        {**base, "recipe": {"a": {"c": 1}, "memory_gb": 80}},
        {**base, "trainer": {"devices": 1, "x": {"memory_gb": 80}}},
        {**base, "recipe": {"a": {"c": 1}, "b": 2}},
    )
    for other in others:
        assert key(other) != key(base)
    assert without({"a": {"b": 1}, "a.b": 2}, ("a.b",)) == {"a": {}}


def test_a_failed_stage_leaves_its_partial_folder_for_the_next_start(tmp_path):
    def fails(folder):
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        Store(tmp_path).get("score", {}, {}, fails)
    entry = Store(tmp_path).get("score", {}, {}, lambda folder: {"half": len(list(folder.iterdir()))})
    assert (entry.folder / "half.txt").exists()
    assert not list(tmp_path.glob("*/*.partial"))


def test_recompute_redoes_the_stage_and_what_depends_on_it_once(tmp_path):
    calls = []

    def story(store):
        first = store.get("draft", {}, {}, lambda folder: calls.append("draft") or made(folder))
        store.get("critique", {}, {"draft": first}, lambda folder: calls.append("critique") or made(folder))
        store.get("queries", {}, {}, lambda folder: calls.append("queries") or made(folder))

    story(Store(tmp_path))
    calls.clear()
    again = Store(tmp_path, recompute=("draft",))
    story(again)
    story(again)
    assert calls == ["draft", "critique"]


def test_a_recomputed_input_is_noticed_by_other_processes_and_after_a_kill(tmp_path):
    calls = []

    def story(store, name="critique"):
        first = store.get("draft", {}, {}, made)
        store.get(name, {}, {"draft": first}, lambda folder: calls.append(name) or made(folder))

    story(Store(tmp_path))
    Store(tmp_path, recompute=("draft",)).get("draft", {}, {}, made)  # and killed before critique
    calls.clear()
    story(Store(tmp_path))
    story(Store(tmp_path))
    assert calls == ["critique"]


def test_full_disk_is_one_line_that_names_the_cure(tmp_path):
    def full(folder):
        raise OSError(28, os.strerror(28))

    with pytest.raises(UserError, match=r"no space left on device while writing render; make room"):
        Store(tmp_path).get("render", {}, {}, full)


def age(entry: Entry) -> None:
    """Have the stored result be of other code than today's."""
    manifest = json.loads((entry.folder / "manifest.json").read_text())
    (entry.folder / "manifest.json").write_text(json.dumps(manifest | {"code": "of another day"}))


def test_results_of_older_code_are_told_once_and_in_one_line(tmp_path, caplog):
    for stage in ("queries", "draft", "critique"):
        entry = Store(tmp_path).get(stage, {}, {}, made)
        if stage != "queries":
            age(entry)
    store = Store(tmp_path)
    for _ in range(2):
        for stage in ("queries", "draft", "critique"):
            store.get(stage, {}, {}, made)
    store.get("refine", {}, {}, made)  # before something is made
    store.warn_of_older_code()  # and at the end
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "the code has changed since results of these were stored; recompute=[draft,critique] redoes them"
    ]


def test_results_of_the_same_code_are_not_told(tmp_path, caplog):
    store = Store(tmp_path)
    for _ in range(2):
        store.get("draft", {}, {}, made)
    store.warn_of_older_code()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def slow(root: str, log: str) -> None:
    def work(folder):
        with open(log, "a") as file:
            file.write("made\n")
        time.sleep(0.5)
        return {}

    Store(Path(root)).get("sft", {}, {}, work)


def test_of_two_processes_one_makes_and_the_other_waits(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log.txt"
    both = [context.Process(target=slow, args=(str(tmp_path / "store"), str(log))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert log.read_text() == "made\n"
