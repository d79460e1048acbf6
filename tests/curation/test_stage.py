"""The stage `queries` with a curation: what is used, what is dropped and why, kept through kills and repeated by seed."""

import hashlib
import itertools
import json
import random
import re

import pytest
from PIL import Image

from tests.checking.test_config import composed
from tests.conftest import QUERIES, run_vpo
from tests.curation.conftest import needs_packages
from tests.curation.labelled import write_csv
from vpo import targets
from vpo.curation.safety import COLUMNS
from vpo.errors import UserError
from vpo.records import Query
from vpo.stages.context import Context
from vpo.stages.curate import queries_of
from vpo.storage.items import read_failures
from vpo.storage.rows import read_rows
from vpo.storage.store import Store, read_manifest

pytestmark = needs_packages

WHO = [
    "a tall gardener",
    "two small boys",
    "an old sailor",
    "the young queen",
    "a sleepy bear",
    "three loud crows",
    "a blue robot",
]
DOES = [
    "waters tomato plants",
    "builds a tower of stones",
    "repairs torn nets",
    "reads a yellow map",
    "climbs a birch tree",
]
WHERE = [
    "behind the greenhouse",
    "on the windy pier",
    "under a stone bridge",
    "in the snowy courtyard",
    "beside a campfire",
]
GENERAL = [" ".join(parts) for parts in itertools.product(WHO, DOES, WHERE)]
UNSAFE = [f"{who} stabs a man to death {where}" for who in WHO for where in WHERE[:3]]
MISLABELLED = [f"{who} {does} like a damn fool" for who, does in zip(WHO, DOES, strict=False)]
SMALL = {"pool": {"general": 200, "safety": 50}, "split": {"sft": 30, "dpo": 20, "test": 10}}


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(targets, "_trusted", ("tests.",))


@pytest.fixture
def labelled(tmp_path):
    """The config of a labelled file: general, unsafe and mislabelled queries, and some that rules drop."""
    rows = [(text, 0.01) for text in GENERAL] + [(text, 0.9) for text in UNSAFE] + [(text, 0.8) for text in MISLABELLED]
    rows += [("un gato negro corre por la playa", 0.0), ("hi", 0.0), (GENERAL[3].upper(), 0.0), ("☺☺☺ cat dog sun", 0.0),
             ("join discord.gg/cats for more cats", 0.0), (f"{GENERAL[4]}!! -ar 16:9", 0.0)]  # fmt: skip
    random.Random(0).shuffle(rows)
    write_csv(tmp_path / "rows.csv", rows)
    return config_of(tmp_path / "rows.csv")


def config_of(path):
    config = composed("dataset=vidprom", f"dataset.path={path}", "curation.near.least=0.9", "curation.diversity=null")
    config["curation"] |= SMALL
    return config


def made(config, folder):
    entry = Context(Store(folder / "store")).make(queries_of(config))
    report = json.loads((entry.folder / "curation/report.json").read_text())
    return entry, {name: entry.rows(f"{name}.jsonl", Query) for name in ("sft", "dpo", "test")}, report


def test_every_rule_drops_what_it_should_and_splits_have_their_share(labelled, tmp_path):
    _, splits, report = made(labelled, tmp_path)
    steps = {step["rule"]: step for step in report["steps"]}
    assert {name: step["dropped"] for name, step in steps.items()} == {
        "length": 1, "characters": 1, "keywords": 1, "language": 1, "exact duplicates": 1, "pool": 0, "near": 1,
        "safety": len(MISLABELLED), "split": 175 + 21 - 60,
    }  # fmt: skip
    assert [(one["text"], one["reason"]) for one in steps["length"]["examples"]] == [("hi", "1 word, below 3")]
    assert steps["language"]["examples"][0]["reason"].startswith("looks like es")
    assert {one["reason"] for one in steps["safety"]["examples"]} == {"labelled as toxic, and harmless to the judge"}
    (near,) = steps["near"]["examples"]
    assert near["text"].startswith(GENERAL[4])
    assert re.fullmatch(rf"near \w+: '{GENERAL[4]}.*'", near["reason"])
    assert {name: len(queries) for name, queries in splits.items()} == {"sft": 30, "dpo": 20, "test": 10}
    for name, queries in splits.items():
        unsafe = sum(query.text in UNSAFE for query in queries)
        assert unsafe == round(0.1 * len(queries)) == report["splits"][name]["safety"]
    texts = [query.text for queries in splits.values() for query in queries]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(MISLABELLED)
    before = [step["before"] for step in report["steps"][:6]]
    assert [step["after"] for step in report["steps"][:5]] == before[1:]


def test_the_report_is_for_people_too(labelled, tmp_path):
    labelled["curation"]["diversity"] = {"most": 0.5, "order": 4}
    entry, _, report = made(labelled, tmp_path)
    assert next(step for step in report["steps"] if step["rule"] == "diversity")["dropped"] > 0
    page = (entry.folder / "curation/report.md").read_text()
    for step in report["steps"]:
        assert f"| {step['rule']} | {step['before']} | {step['dropped']} | 0 | {step['after']} |" in page
    assert "join discord.gg/cats for more cats | the keyword 'discord.gg' |" in page
    with Image.open(entry.folder / "curation/lengths.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(100_000)) > 10
    read = report["lengths"]["read"]
    assert sum(read.values()) == report["steps"][0]["before"]
    assert read["1"] == 1  # "hi"


def test_the_draw_is_that_of_the_seed_in_whatever_order_rows_come(tmp_path):
    rows = [(text, 0.01) for text in GENERAL] + [(text, 0.9) for text in UNSAFE]
    write_csv(tmp_path / "rows.csv", rows)
    write_csv(tmp_path / "reversed.csv", rows[::-1])
    drawn = {}
    for name, seed in (("rows", 0), ("reversed", 0), ("rows", 1)):
        config = config_of(tmp_path / f"{name}.csv")
        config["curation"] |= {"seed": seed, "near": None, "pool": {"general": 60, "safety": 8}}
        _, splits, report = made(config, tmp_path)
        drawn[name, seed] = texts_of(splits)
        assert next(step for step in report["steps"] if step["rule"] == "pool")["after"] == 68
    assert drawn["rows", 0] == drawn["reversed", 0] != drawn["rows", 1]


@pytest.mark.slow
def test_a_busy_judge_is_asked_again_and_nothing_is_a_safety_query_without_a_verdict(labelled, tmp_path):
    free = tmp_path / "free"
    labelled["judge"] |= {"_target_": "tests.curation.labelled.BusyJudge", "free": str(free)}
    entry, splits, report = made(labelled, tmp_path)
    busy = [text for text in UNSAFE if hashlib.sha256(text.encode()).hexdigest() < "8"]
    safety = report["steps"][-2]
    assert {one["reason"] for one in safety["failures"]} == {"busy: come back later"}
    failed = len(read_failures(entry.folder / "curation/verdicts.jsonl"))
    assert read_manifest(entry.folder)["counts"]["failed"] == safety["failed"] == failed > 0
    used = {query.text for queries in splits.values() for query in queries}
    assert busy
    assert not used & set(busy)
    free.touch()
    entry = Context(Store(tmp_path / "store"), retry_failed=True).make(queries_of(labelled))
    again = json.loads((entry.folder / "curation/report.json").read_text())["steps"][-2]
    assert (again["rule"], again["dropped"], again["failed"]) == ("safety", len(MISLABELLED), 0)
    assert read_manifest(entry.folder)["counts"]["failed"] == 0


def texts_of(splits):
    return {name: sorted(query.text for query in queries) for name, queries in splits.items()}


def test_without_labels_there_are_no_safety_queries_and_the_report_says_so(tmp_path):
    path = tmp_path / "queries.txt"
    path.write_text("\n".join(GENERAL), encoding="utf-8")
    config = composed("curation=vpo", "dataset=file", f"dataset.path={path}")
    config["curation"] |= {"diversity": None, "near": None}
    _, splits, report = made(config, tmp_path)
    assert any("No query has labels" in note for note in report["notes"])
    assert report["held_out"] == {"test": len(splits["test"])}
    assert abs(len(splits["sft"]) - len(splits["dpo"])) <= 1  # halves, though sft=0.5 and dpo=0.25 of the file


def test_what_is_near_a_held_out_query_is_not_trained_on(tmp_path):
    twin = f"{GENERAL[60]} now"
    rows = [{"query": text, "split": "sft"} for text in GENERAL[:40]]
    rows += [{"query": twin, "split": "dpo"}, {"query": GENERAL[60], "split": "test"}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    amounts = ["dataset.sft=0.5", "dataset.dpo=0.5", "dataset.test=0"]
    config = composed("curation=vpo", "dataset=file", f"dataset.path={tmp_path / 'rows.json'}", *amounts)
    config["curation"] |= {"diversity": None, "near": {"least": 0.85, "shingle": 4, "permutations": 128}}
    _, splits, report = made(config, tmp_path)
    near = next(step for step in report["steps"] if step["rule"] == "near")
    assert [(one["text"], one["reason"]) for one in near["examples"]] == [
        (twin, f"near the held-out query {GENERAL[60]!r}")
    ]
    assert [query.text for query in splits["test"]] == [GENERAL[60]]


def test_nothing_left_is_one_line_that_says_where(labelled, tmp_path):
    labelled["curation"]["length"] = {"least_words": 100, "most_words": 157, "most_characters": 1000}
    message = r"of 207 queries 0 are left, and the split 'sft' is empty; .*report.md has examples"
    with pytest.raises(UserError, match=message) as raised:
        made(labelled, tmp_path)
    assert "\n" not in str(raised.value)


def test_an_unconfirmed_label_is_never_a_safety_query(labelled, tmp_path):
    """With judged=false the labels alone decide, and the mislabelled come in."""
    labelled["curation"]["safety"] = {**labelled["curation"]["safety"], "judged": False, "share": 0.4}
    _, splits, report = made(labelled, tmp_path)
    texts = {query.text for queries in splits.values() for query in queries}
    assert texts & set(MISLABELLED)
    assert "safety" not in {step["rule"] for step in report["steps"]}


@pytest.mark.slow
def test_a_copy_of_vidprom_is_curated_by_one_command(tmp_path):
    """The command of the README, on a small file with the columns of the real one; a second start makes nothing again."""
    write_csv(tmp_path / "rows.csv", [(text, 0.01) for text in GENERAL] + [(text, 0.9) for text in UNSAFE])
    sizes = {"sft": 12, "dpo": 8, "test": 4}
    splits = [f"curation.split.{name}={size}" for name, size in sizes.items()]
    command = ["run", "dataset=vidprom", "dataset.path=rows.csv", "stop_after=queries", "logger=[csv]", *splits]
    first, second = (run_vpo(*command, cwd=tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    (folder,) = (one for one in (tmp_path / "store/queries").iterdir() if one.is_dir())
    rows = {name: read_rows(folder / f"{name}.jsonl", Query) for name in sizes}
    assert {name: len(queries) for name, queries in rows.items()} == sizes
    assert rows["sft"][0].meta.keys() == set(COLUMNS)
    assert f"safety{'':13}" in first.stderr  # the counts on the console
    assert "curation/report.md" in first.stderr
    refused = run_vpo(*command, "dataset.sft=5", cwd=tmp_path)
    assert refused.returncode == 2
    assert "set curation.split.sft=5 in its place" in refused.stderr


@pytest.mark.slow
def test_the_run_folder_has_the_report_and_the_console_the_counts(tmp_path):
    done = run_vpo(
        "run",
        "dataset=file",
        f"dataset.path={QUERIES}",
        "curation=vpo",
        "stop_after=queries",
        "logger=[csv]",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs/default").iterdir()
    (stage,) = (one for one in (tmp_path / "store/queries").iterdir() if one.is_dir())
    for name in ("report.md", "report.json", "lengths.png"):
        assert (folder / "curation" / name).read_bytes() == (stage / "curation" / name).read_bytes()
    assert "language" in done.stderr
    assert "left, 0 dropped" in done.stderr
    assert f"{folder.relative_to(tmp_path) / 'curation/report.md'}" in done.stderr
