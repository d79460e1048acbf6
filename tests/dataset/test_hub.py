"""Data sets that `datasets` loads, from folders in its forms: nothing is fetched."""

import json

import datasets
import pytest

from vpo.dataset.hub import HubDataset
from vpo.errors import UserError

ROWS = [{"caption": f"a dog number {n}", "style": "oil", "n": n} for n in range(8)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def load(place, **given):
    node = {
        "name": None,
        "revision": None,
        "parts": None,
        "sft": 0.5,
        "dpo": 0.25,
        "test": 0.25,
        "max_chars": 2000,
        "columns": None,
    }
    return HubDataset(str(place), **{**node, **given})


def folder_of(tmp_path, **files):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("form", ["files", "disk", "disk of splits", "csv", "parquet"])
def test_a_folder_in_any_form_gives_the_same_queries(tmp_path, form):
    rows = datasets.Dataset.from_list(ROWS)
    folder = tmp_path / "data"
    folder.mkdir()
    if form == "files":
        rows.to_json(folder / "train.jsonl")
    elif form == "csv":
        rows.to_csv(folder / "train.csv")
    elif form == "parquet":
        rows.to_parquet(folder / "train.parquet")
    elif form == "disk":
        rows.save_to_disk(folder)
    else:
        datasets.DatasetDict({"train": rows}).save_to_disk(folder)
    data = load(folder, columns={"query": "caption", "labels": ["style"]})
    splits = data.splits()
    assert {name: len(queries) for name, queries in splits.items()} == {"sft": 4, "dpo": 2, "test": 2}
    queries = [one for part in splits.values() for one in part]
    assert {one.text for one in queries} == {row["caption"] for row in ROWS}
    assert all(dict(one.meta) == {"style": "oil"} for one in queries)


def test_its_splits_may_be_ours(tmp_path):
    folder = folder_of(
        tmp_path, train=[{"query": "a dog"}, {"query": "a cat"}], test=[{"query": "a fox"}, {"query": "A dog"}]
    )
    dealt = load(folder, parts={"train": None}, sft=1, dpo=0, test=0).splits()
    assert {one.text for one in dealt["sft"]} == {"a dog", "a cat"}
    ours = load(folder, parts={"train": "sft", "test": "test"})
    with pytest.raises(UserError, match="puts into test the text that id"):
        ours.splits()
    with pytest.raises(UserError, match=r"has no split 'dev'; it has (train, test|test, train)"):
        load(folder, parts={"dev": None}).splits()
    with pytest.raises(UserError, match="'mine' is no split; choose one of sft, train"):
        load(folder, parts={"train": "mine"})


def test_pairs_and_chats_are_read(tmp_path):
    turns = [{"role": "user", "content": "a dog"}]
    good, bad = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))
    folder = folder_of(tmp_path, train=[{"prompt": turns, "chosen": good, "rejected": bad, "score": 1.5}])
    (query,) = load(folder, sft=1, dpo=0, test=0).splits()["sft"]
    assert (query.text, query.meta["pairs"]) == ("a dog", [{"chosen": "good", "rejected": "bad"}])


def test_the_content_is_in_the_fingerprint_and_the_place_is_not(tmp_path):
    one = load(folder_of(tmp_path, train=ROWS), columns={"query": "caption"}).fingerprint()
    (tmp_path / "data").rename(tmp_path / "moved")
    assert load(tmp_path / "moved", columns={"query": "caption"}).fingerprint() == one
    (tmp_path / "moved/train.jsonl").write_text('{"caption": "a cat"}\n')
    assert load(tmp_path / "moved", columns={"query": "caption"}).fingerprint() != one


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "q.jsonl",
            b'{"words": "a dog"}\n',
            "train has no column query, text or prompt; found words; say in dataset.columns.query",
        ),
        ("q.jsonl", b'{"query": 1}\n{"query": 2}\n', "2 rows cannot be used: 2 that are no query"),
        ("q.jsonl", b'{"query": "a dog"\n', "cannot be loaded ("),
        ("q.csv", b"", "cannot be loaded ("),
        ("q.parquet", b"PAR1", "cannot be loaded ("),
        ("q.bin", b"x", "cannot be loaded ("),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, name, content, message):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        load(folder).splits()
    assert message in str(error.value)
    assert str(error.value).startswith(f"dataset.id={folder}")
    assert "\n" not in str(error.value)


def test_a_place_that_is_not_there_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such folder; give the folder of a data set"):
        load(tmp_path / "gone").splits()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"dataset\.id=nobody/nothing: cannot be loaded") as error:
        load("nobody/nothing").splits()
    assert "\n" not in str(error.value)
