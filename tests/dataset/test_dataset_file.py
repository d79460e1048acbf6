import gzip
import html
import json
from pathlib import Path

import pytest

from tests.conftest import run_vpo
from vpo.dataset.file import FileDataset
from vpo.errors import UserError
from vpo.records import Query
from vpo.stages.queries import check_splits

SHARED = Path(__file__).resolve().parents[3] / "shared"
SHARES = {"sft": 0.5, "dpo": 0.25, "test": 0.25, "max_chars": 2000}


def load(path, **changes):
    return FileDataset(str(path), **(SHARES | changes)).splits()


def texts(splits):
    return {one.text for rows in splits.values() for one in rows}


def test_shares_are_dealt_by_id_and_stay_when_the_file_is_reordered(tmp_path):
    queries = [f"query number {number}" for number in range(40)]
    (tmp_path / "a.json").write_text(json.dumps(queries))
    (tmp_path / "b.json").write_text(json.dumps(queries[::-1]))
    a, b = load(tmp_path / "a.json"), load(tmp_path / "b.json")
    assert {name: len(rows) for name, rows in a.items()} == {"sft": 20, "dpo": 10, "test": 10}
    assert {name: {one.id for one in rows} for name, rows in a.items()} == {
        n: {o.id for o in rows} for n, rows in b.items()
    }


def test_formats_agree_and_an_entry_may_name_its_split(tmp_path):
    (tmp_path / "q.jsonl").write_text(
        '{"id": "one", "query": "a dog", "split": "test"}\n"a cat"\n\n{"prompt": "a fox"}\n'
    )
    splits = load(tmp_path / "q.jsonl")
    assert [one.id for one in splits["test"] if one.text == "a dog"] == ["one"]
    (tmp_path / "q.txt").write_text("a dog\na cat\na dog\n")
    (tmp_path / "q.csv").write_text("text,other\na dog,1\na cat,2\n")
    for name in ("q.txt", "q.csv"):
        assert sorted(one.text for rows in load(tmp_path / name).values() for one in rows) == ["a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", b'"a"\n' * 6 + b'{"query": \n', r"q.jsonl: line 7 is not JSON .*; correct or remove it"),
        (
            "q.txt",
            b"a dog\n\xff\xfe cat\n",
            r"q.txt: line 2 is not UTF-8, and the encoding cannot be guessed; convert the file",
        ),
        ("q.json", b"[]", r"q.json: no queries in it; give"),
        ("q.json", b"{}", r"q.json: a JSON list of queries is due, found an empty object; put"),
        ("q.json", b'["a", ""]', r"q.json: entry 2 is not a query"),
        ("q.json", b'["a", 3]', r"q.json: entry 2 is not a query"),
        (
            "q.jsonl",
            b'{"id": "1", "query": "a"}\n{"id": "1", "query": "b"}',
            r"line 2 has the id '1' of line 1; give every query its own",
        ),
        ("q.jsonl", b'{"words": "a"}', r"line 1 has no field query or text or prompt; found words"),
        ("q.jsonl", b'{"query": "a", "split": "eval"}', r"line 1 has the split 'eval'; choose one of sft, dpo, test"),
        ("q.txt", b"a" * 20000, r"line 1 has 20,000 characters, more than dataset.max_chars=2000; shorten it or raise"),
        ("q.xlsx", b"a", r"unknown suffix '.xlsx'"),
        ("q.jsonl", b'"a"\n"b \\ud800"', r"line 2 holds '\\ud800', half of a surrogate pair; correct or remove it"),
        ("q.json", b'[{"query": "a", "id": "\\udfff"}]', r"entry 1 holds '\\udfff', half of a surrogate pair; correct"),
        ("q.json", b"[" * 100_000, r"q.json: is not JSON \(nested too deeply\); correct it"),
        ("q.csv", b"text\na\n" + b"b" * 200_000, r"line 3 is not CSV \(field larger .*; close its quotes or shorten"),
        ("q.csv", b'text\n"a\nb"\na dog, running\n', r"line 4 has more columns than the header's 1; put a query"),
        (
            "q.jsonl",
            b'{"query": "a", "split": ["sft"]}',
            r"line 1 has the split \['sft'\]; choose one of sft, dpo, test",
        ),
        ("q.jsonl", b'{"query": "a", "split": {}}', r"line 1 has the split {}; choose one of sft, dpo, test"),
        (
            "q.jsonl",
            b'{"query": "a", "id": ["x"]}',
            r"line 1 has the id \['x'\], which is neither a text nor a whole number; correct or remove it",
        ),
        (
            "q.jsonl",
            b'{"query": "a", "id": "a\\u0000"}',
            r"line 1 has the id 'a\\x00' with a control character or a line end in it; take them out",
        ),
        ("q.csv", b"id,text\n" + b"i" * 101 + b",a\n", r"line 2 has an id of 101 characters, .*shorten it to 100 char"),
        ("q.txt", b"a\xe2\x80\xa8b\n\xff", r"line 2 is not UTF-8"),
    ],
)
def test_bad_input_names_file_place_and_cure(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\u0085", "\x0b"])
def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path, mark):
    query = f"a dog{mark}a cat"
    (tmp_path / "q.txt").write_bytes(f"{query}\r\na fox\r\n".encode())
    (tmp_path / "q.jsonl").write_bytes(f'"{query}"\r\n"a fox"\r\n'.encode())
    (tmp_path / "q.csv").write_bytes(f"text\r\n{query}\r\na fox\r\n".encode())
    for name in ("q.txt", "q.jsonl", "q.csv"):
        if name == "q.jsonl" and mark == "\x0b":
            continue  # JSON writes control characters escaped
        # U+0085 and U+000B are control characters, of which a text keeps the space between two words.
        kept = query if mark in "\u2028\u2029" else "a dog a cat"
        assert texts(load(tmp_path / name)) == {kept, "a fox"}


def test_newlines_in_quotes_of_a_csv_file_survive(tmp_path):
    (tmp_path / "q.csv").write_bytes(b'id,text\r\none,"a dog\r\n\r\n""runs"""\r\n,a cat\r\n,a cat\r\n,\r\n')
    with pytest.raises(UserError, match=r"line 7 is not a query"):
        load(tmp_path / "q.csv")
    (tmp_path / "q.csv").write_bytes(b'id,text\none,"a dog\n\n""runs"""\n,a cat\n,a cat\n')
    assert texts(load(tmp_path / "q.csv")) == {'a dog\n\n"runs"', "a cat"}


def test_the_fingerprint_knows_the_suffix_since_it_decides_what_is_read(tmp_path):
    prints = set()
    for name in ("q.txt", "q.jsonl", "r.jsonl", "s.JSONL"):
        (tmp_path / name).write_text('"a dog"\n')
        prints.add(FileDataset(str(tmp_path / name), **SHARES).fingerprint())
    assert len(prints) == 2


def test_an_id_may_be_as_long_as_a_file_name_bears(tmp_path):
    (tmp_path / "q.json").write_text(json.dumps([{"id": "i" * 100, "query": "a dog"}]))
    assert [one.id for rows in load(tmp_path / "q.json").values() for one in rows] == ["i" * 100]
    (tmp_path / "q.json").write_text(json.dumps([{"id": "\U0001f415" * 60, "query": "a dog"}]))
    with pytest.raises(UserError, match=r"entry 1 has an id of 60 characters, .* 200 bytes"):
        load(tmp_path / "q.json")


def test_a_text_is_in_one_split_whatever_its_ids_and_copies_are_counted(tmp_path):
    """18 rows with unique ids, three texts in six spellings: case and white space make no other query."""
    spellings = ("a {} runs", "A {} runs", "a  {} runs", " a {} runs\t", "a\n{} runs", "a {} RUNS")
    rows = [
        {"id": f"{animal}-{number}", "query": text.format(animal)}
        for number, text in enumerate(spellings)
        for animal in ("dog", "cat", "fox")
    ]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    data = FileDataset(str(tmp_path / "q.json"), **SHARES)
    splits = data.splits()
    assert sorted(one.id for rows in splits.values() for one in rows) == ["cat-0", "dog-0", "fox-0"]
    assert texts(splits) == {"a dog runs", "a cat runs", "a fox runs"}
    assert data.left_out == {"duplicates dropped": 15}
    assert data.splits() == splits
    assert data.left_out == {"duplicates dropped": 15}


def test_a_split_that_any_copy_names_holds_and_two_that_differ_are_refused(tmp_path):
    rows = [{"id": "one", "query": "a dog"}, {"id": "two", "query": "A  dog", "split": "test"}]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    assert [one.id for one in load(tmp_path / "q.json")["test"]] == ["one"]
    (tmp_path / "q.json").write_text(json.dumps([*rows, {"id": "three", "query": "a dog", "split": "sft"}]))
    with pytest.raises(
        UserError, match=r"entry 3 \(id 'three'\) puts into sft the text that id 'two' puts into test; a"
    ):
        load(tmp_path / "q.json")


@pytest.mark.parametrize(
    ("amounts", "sizes", "left"),
    [
        ({"sft": 10, "dpo": 4, "test": 2}, (10, 4, 2), 24),
        ({"sft": 10, "dpo": 20, "test": 10}, (10, 20, 10), 0),
        ({"sft": 0.5, "dpo": 20, "test": 0.25}, (10, 20, 5), 5),  # shares of the 20 that remain
        ({"sft": 0.75, "dpo": 20, "test": 0.25}, (15, 20, 5), 0),
        ({"sft": 1, "dpo": 2.0, "test": 8}, (30, 2, 8), 0),  # 1 is a share: all of the rest
    ],
)
def test_counts_are_taken_first_and_shares_are_of_what_remains(tmp_path, amounts, sizes, left):
    (tmp_path / "q.json").write_text(json.dumps([f"query {number}" for number in range(40)]))
    data = FileDataset(str(tmp_path / "q.json"), **(SHARES | amounts))
    splits = data.splits()
    assert tuple(len(splits[name]) for name in ("sft", "dpo", "test")) == sizes
    assert len(texts(splits)) == sum(sizes)
    assert data.left_out == ({"left over": left} if left else {})


def test_queries_that_name_their_split_are_among_its_count(tmp_path):
    rows = [{"query": f"query {number}", "split": "test"} for number in range(3)]
    (tmp_path / "q.json").write_text(json.dumps([*rows, *(f"free {number}" for number in range(5))]))
    splits = load(tmp_path / "q.json", sft=0.5, dpo=0.5, test=4)
    assert {name: len(found) for name, found in splits.items()} == {"sft": 2, "dpo": 2, "test": 4}


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"sft": 64, "dpo": 12, "test": 8}, r"q.json: 40 different .* dataset.sft=64 dataset.dpo=12 dataset.test=8; give"),
        ({"sft": 0.5, "dpo": 41, "test": 0.5}, r"40 different queries are too few for dataset.dpo=41; give more, lower"),
        ({"sft": 64.5}, r"dataset.sft=64.5 must be a share of the queries between 0 and 1, or a count"),
        ({"sft": -1}, r"dataset.sft=-1 must be a share"),
        ({"sft": "half"}, r"dataset.sft=half must be a share"),
        ({"sft": True}, r"dataset.sft=True must be a share"),
        ({"sft": float("nan")}, r"dataset.sft=nan must be a share"),
        ({"sft": float("inf")}, r"dataset.sft=inf must be a share"),
        ({"sft": 0.8, "dpo": 10, "test": 0.3}, r"dataset.sft \+ dataset.test = 1.1; the shares must sum to 1 or less beside"),
    ],
)  # fmt: skip
def test_impossible_amounts_are_one_line(tmp_path, amounts, message):
    (tmp_path / "q.json").write_text(json.dumps([f"query {number}" for number in range(40)]))
    with pytest.raises(UserError, match=message):
        load(tmp_path / "q.json", **amounts)


def test_missing_file_and_impossible_shares(tmp_path):
    with pytest.raises(UserError, match=r"none.json: no such file or directory; set dataset.path"):
        load(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"= 1.5; the shares must sum to 1"):
        load(tmp_path / "none.json", sft=1.0)


@pytest.mark.parametrize(
    "other",
    [
        "a dog\u200b",
        "\ufeffa dog",
        "a\u00a0dog",
        "A DOG",
        "a \u00addog",
        "a&#32;dog",
        "<b>a dog</b>",
        "a dog\x00",
        "ａ dog",
    ],
)
def test_an_invisible_difference_does_not_put_a_text_into_two_splits(tmp_path, other):
    rows = [{"query": "a dog", "split": "sft"}, {"query": other}, *(f"query {number}" for number in range(6))]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    data = FileDataset(str(tmp_path / "q.json"), **SHARES)
    splits = data.splits()
    assert [one.text for one in splits["sft"]].count("a dog") == 1
    assert len(texts(splits)) == 7
    assert data.left_out == {"duplicates dropped": 1}
    rows[1] = {"query": other, "split": "test"}
    (tmp_path / "q.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"entry 2 \(id 'q-.*puts into test the text that id 'q-.*' puts into sft"):
        load(tmp_path / "q.json")


def test_the_first_of_equal_texts_is_kept_as_it_was_typed(tmp_path):
    family, persian = "👨\u200d👩\u200d👧 walk", "می\u200cخواهم"
    rows = [family, persian, "cafe\u0301", "café", "a\u200bb", "ab", "👨👩👧 walk"]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    assert texts(load(tmp_path / "q.json")) == {family, persian, "cafe\u0301", "a\u200bb"}


def test_what_was_changed_in_texts_is_counted(tmp_path):
    rows = ["a &#39;dog&#39;", "<p>a cat</p>", "<i>a &amp; b</i>", "a fox\x07", "I <3 hens", "<lora:x:1> R&B"]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    data = FileDataset(str(tmp_path / "q.json"), **SHARES)
    assert texts(data.splits()) == {"a 'dog'", "a cat", "a & b", "a fox", "I <3 hens", "<lora:x:1> R&B"}
    assert data.left_out == {}
    assert data.changed == {"HTML entities resolved": 2, "HTML tags removed": 2, "control characters removed": 1}


def test_all_bad_rows_are_named_at_once(tmp_path):
    """20 rows: 14 empty, 3 too long, 2 of an unknown split, one good."""
    rows = (
        [{"query": "\u200b"}] * 14
        + ["a" * 2001] * 3
        + [{"query": f"q{n}", "split": "eval"} for n in range(2)]
        + ["a dog"]
    )
    (tmp_path / "q.json").write_text(json.dumps(rows))
    with pytest.raises(UserError) as error:
        load(tmp_path / "q.json")
    assert str(error.value).removeprefix(f"{tmp_path / 'q.json'}: ") == (
        "19 rows cannot be used: 14 that are no query (a text that shows something) (entries 1, 2, 3 and 11 more), 3 of more "
        "than dataset.max_chars=2000 characters (entries 15, 16, 17), 2 with an unknown split (entries 18, 19; entry 18 has "
        "the split 'eval'); correct or remove them"
    )
    (tmp_path / "q.json").write_text(json.dumps(["a dog", *["a" * 2001] * 3]))
    with pytest.raises(
        UserError, match=r"3 rows cannot be used: 3 of more than .* \(entries 2, 3, 4\); shorten them or raise the"
    ):
        load(tmp_path / "q.json")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *((name, name) for name in ("a/b", "a\\b", "..", ".x", "a:b", "CON", "a b", "*?", "犬", "a\u200bb", "-", "q.txt", "0")),
        (7, "7"), (0, "0"), (-3, "-3"), (2**70, str(2**70)), (3.0, "3"), (" x ", "x"),
    ],
)  # fmt: skip
def test_ids_are_texts_or_whole_numbers_of_any_kind(tmp_path, given, kept):
    (tmp_path / "q.json").write_text(json.dumps([{"id": given, "query": "a dog"}]))
    assert [one.id for rows in load(tmp_path / "q.json").values() for one in rows] == [kept]


def test_ids_that_differ_in_case_only_are_two_ids(tmp_path):
    (tmp_path / "q.json").write_text('[{"id": "A", "query": "a dog"}, {"id": "a", "query": "a cat"}]')
    assert {one.id for rows in load(tmp_path / "q.json").values() for one in rows} == {"A", "a"}


@pytest.mark.parametrize("given", [True, 1.5, [], {}, "a\nb", "a\x00", "a\x85b", "a\u2028b", "i" * 101, 10**100])
def test_what_cannot_be_an_id_is_refused(tmp_path, given):
    (tmp_path / "q.json").write_text(json.dumps([{"id": given, "query": "a dog"}]))
    with pytest.raises(UserError, match=r"entry 1 has (the|an) id [^\n]*$"):
        load(tmp_path / "q.json")


@pytest.mark.parametrize("blank", [None, "", "  ", float("nan")])
def test_blank_cells_are_no_id_and_no_split(tmp_path, blank):
    (tmp_path / "q.json").write_text(json.dumps([{"id": blank, "split": blank, "query": "a dog"}]))
    (query,) = load(tmp_path / "q.json", sft=0, dpo=0, test=1)["test"]
    assert query.id.startswith("q-")


def test_other_names_of_splits_are_read_and_said(tmp_path, caplog):
    names = ["train", "Validation", "val", "valid", " dev", "TEST", "sft", "dpo", "test"]
    (tmp_path / "q.json").write_text(
        json.dumps([{"query": f"query {name} {n}", "split": name} for n, name in enumerate(names)])
    )
    caplog.set_level("INFO")
    splits = load(tmp_path / "q.json")
    assert {name: [one.text.split()[1] for one in rows] for name, rows in splits.items()} == {
        "sft": ["train", "sft"],
        "dpo": ["Validation", "val", "valid", "dev", "dpo"],
        "test": ["TEST", "test"],
    }
    assert "split train is read as sft, split validation is read as dpo, split val is read as dpo" in caplog.text


def test_a_file_that_changes_between_its_key_and_its_reading_is_refused(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('["a dog", "a cat"]')
    data = FileDataset(str(path), **SHARES)
    first = data.fingerprint()
    assert texts(data.splits()) == {"a dog", "a cat"}
    path.write_text('["a dog", "a fox"]')
    with pytest.raises(UserError, match=r"q.json: has changed while the run looked at it; start again"):
        data.splits()
    assert data.fingerprint() != first


def test_the_fingerprint_is_of_suffix_and_content_and_not_of_the_path(tmp_path):
    (tmp_path / "other").mkdir()
    packed = gzip.compress(b'"a dog"\n', mtime=0)
    for name in ("q.jsonl.gz", "other/r.JSONL.GZ", "q.txt.gz", "q.gz.jsonl"):
        (tmp_path / name).write_bytes(packed)
    prints = [
        FileDataset(tmp_path / name, **SHARES).fingerprint()
        for name in ("q.jsonl.gz", "other/r.JSONL.GZ", "q.txt.gz", "q.gz.jsonl")
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            {"sft": ["a"], "dpo": [], "test": ["b"]},
            r"the split 'dpo' is empty; give more queries or a larger dataset.dpo",
        ),
        (
            {"sft": ["a"], "dpo": ["b"], "test": ["A\u200b"]},
            r"'test-0' of test has the text of 'sft-0' of sft; a text belongs",
        ),
    ],
)
def test_no_data_set_may_have_a_text_in_two_splits(splits, message):
    queries = {name: [Query(f"{name}-{n}", text) for n, text in enumerate(found)] for name, found in splits.items()}
    with pytest.raises(UserError, match=message):
        check_splits(queries)
    with pytest.raises(UserError, match=r"the id 'x' stands for two queries"):
        check_splits({name: [Query("x", name)] for name in ("sft", "dpo", "test")})
    check_splits({name: [Query(name, name), Query(f"{name} 2", name)] for name in ("sft", "dpo", "test")})


@pytest.mark.slow
def test_a_run_logs_what_was_left_out_and_changed_and_keeps_it(tmp_path):
    rows = [*(f"query &amp; {number}" for number in range(8)), "query & 1"]
    (tmp_path / "q.txt.gz").write_bytes(gzip.compress("\n".join([*rows, "café"]).encode("cp1252"), mtime=0))
    run = ["run", "experiment=smoke", "dataset=file", "dataset.path=q.txt.gz", "stop_after=queries"]
    shares = ["dataset.sft=4", "dataset.dpo=2", "dataset.test=2"]
    done = run_vpo(*run, *shares, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "q.txt.gz: read as Windows-1252, a guess" in done.stderr
    counts = "sft 4, dpo 2, test 2, duplicates dropped 1, left over 1, HTML entities resolved 8"
    assert f"queries: {counts}" in done.stderr
    (manifest,) = (tmp_path / "store/queries").glob("*/manifest.json")
    assert list(json.loads(manifest.read_text())["counts"].values()) == [4, 2, 2, 1, 1, 8]
    (tmp_path / "q.txt.gz").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    done = run_vpo(*run, *shares, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "q.txt.gz: is a Git LFS pointer, not the file itself; run `git lfs pull`"
    )


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared data folder beside the repository")
def test_vpos_released_queries_are_read_with_their_entities_resolved():
    path = SHARED / "data/vpo/sft_queries.sample.json"
    splits = load(path)
    found = [one.text for rows in splits.values() for one in rows]
    assert sorted(found) == sorted(
        html.unescape(text).replace("\xa0", " ").strip() for text in json.loads(path.read_text())
    )
    assert len(found) == 200
