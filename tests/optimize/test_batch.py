"""A file of queries in, a file of records out, in order, whatever ends a start in between."""

import csv
import gzip
import io
import json
import sys

import pytest

from tests.optimize.conftest import GOOD
from vpo.errors import UserError
from vpo.optimize.batch import Journal, Row, read_file, read_stdin
from vpo.optimize.options import Options
from vpo.optimize.records import Optimized
from vpo.records import Usage

OPTIONS = Options()
MADE = {"model": "exported/x", "seed": 1}
ROWS = [Row("line 1", None, "a dog"), Row("line 2", "q7", "a cat\u2028on a mat"), Row("line 4", None, "a dog")]


def record(row, prompt=GOOD, how="sampled"):
    return Optimized(row.query, prompt, how, how == "query", None, (), {}, (), (), Usage(1, 2), 0.1)


def lines(path):
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def write(journal, rows, until=None):
    """One start, which ends before the row `until`; how many were done already."""
    with journal.started(rows) as done:
        for row in rows[done:until]:
            journal.append(row, record(row))
    if until is None:
        journal.finish()
    return done


def test_a_second_start_goes_on_and_a_third_finds_all_done(tmp_path):
    out = tmp_path / "p.jsonl"
    assert write(Journal(out, MADE, force=False), ROWS, until=2) == 0
    first = out.read_bytes()
    assert write(Journal(out, MADE, force=False), ROWS) == 2
    assert out.read_bytes().startswith(first)
    assert write(Journal(out, MADE, force=False), ROWS) == 3
    assert [one["query"] for one in lines(out)] == [row.query for row in ROWS]
    assert [one.get("id") for one in lines(out)] == [None, "q7", None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl"]


@pytest.mark.parametrize("kept", [1, 20, -2, -1])
def test_a_line_that_a_kill_left_unfinished_is_written_anew(tmp_path, kept):
    out = tmp_path / "p.jsonl"
    write(Journal(out, MADE, force=False), ROWS)
    whole = out.read_bytes()
    second = whole.split(b"\n")[1] + b"\n"
    out.write_bytes(whole.split(b"\n")[0] + b"\n" + second[:kept])
    assert write(Journal(out, MADE, force=False), ROWS) == 1
    assert out.read_bytes() == whole


def test_a_file_of_zeros_that_a_power_cut_left_is_cut_off(tmp_path):
    out = tmp_path / "p.jsonl"
    write(Journal(out, MADE, force=False), ROWS)
    whole = out.read_bytes()
    out.write_bytes(whole[: whole.index(b"\n") + 1] + b'{"place": "li' + b"\0" * 50)
    assert write(Journal(out, MADE, force=False), ROWS) == 1
    assert out.read_bytes() == whole


@pytest.mark.parametrize("suffix", [".json", ".csv", ".txt"])
def test_other_formats_are_written_when_all_is_there(tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    write(Journal(out, MADE, force=False), ROWS, until=2)
    assert not out.exists()
    assert write(Journal(out, MADE, force=False), ROWS) == 2
    text = out.read_text(encoding="utf-8")
    if suffix == ".json":
        prompts = [one["prompt"] for one in json.loads(text)]
    elif suffix == ".csv":
        prompts = [one["prompt"] for one in csv.DictReader(io.StringIO(text, newline=""))]
    else:
        prompts = text.split("\n")[:-1]
    assert prompts == [GOOD] * 3
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_refused_query_keeps_its_line(tmp_path):
    out = tmp_path / "p.txt"
    journal = Journal(out, MADE, force=False)
    with journal.started(ROWS):
        for row, prompt in zip(ROWS, ["A dog.", None, "A dog again."], strict=True):
            journal.append(row, record(row, prompt, "refused" if prompt is None else "sampled"))
    assert journal.finish() == {"sampled": 2, "refused": 1}
    assert out.read_text() == "A dog.\n\nA dog again.\n"


@pytest.mark.parametrize(
    ("rows", "made", "message"),
    [
        (
            [Row("line 1", None, "a horse"), *ROWS[1:]],
            MADE,
            "line 1 is of another query than the input's; name another output",
        ),
        (ROWS[:1], MADE, "line 2 is of another query than the input's"),
        (ROWS, {"model": "exported/x", "seed": 2}, "line 1 was made with seed=1; ask the same again"),
        (ROWS, {"model": "exported/x"}, "line 1 was made with seed=1"),
        (ROWS, {**MADE, "search": "refine"}, "line 1 was made with search=default"),
    ],
)
def test_records_of_other_queries_or_settings_are_not_mixed(tmp_path, rows, made, message):
    out = tmp_path / "p.jsonl"
    write(Journal(out, MADE, force=False), ROWS, until=2)
    before = out.read_bytes()
    with pytest.raises(UserError) as caught:
        write(Journal(out, made, force=False), rows)
    assert message in str(caught.value)
    assert out.read_bytes() == before
    assert write(Journal(out, made, force=True), rows) == 0


@pytest.mark.parametrize("content", [b"my notes\n", b"my notes", b'{"a": 1}\n', b"[1, 2]\n", b"\xff\xfe\n"])
@pytest.mark.parametrize("name", ["p.jsonl", "p.txt"])
def test_a_file_of_the_users_is_not_overwritten(tmp_path, name, content):
    out = tmp_path / name
    out.write_bytes(content)
    with pytest.raises(UserError, match="force=true"):
        write(Journal(out, MADE, force=False), ROWS)
    assert out.read_bytes() == content


def test_two_starts_do_not_write_at_once(tmp_path):
    one, *others = (Journal(tmp_path / "p.jsonl", MADE, force=False) for _ in range(3))
    with one.started(ROWS):
        for other in others:  # the second was let in once, as the first had removed the lock
            with pytest.raises(UserError, match="another process is writing it"), other.started(ROWS):
                pass
    with one.started(ROWS) as done:
        assert done == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p.xlsx", "unknown suffix '.xlsx'; name it .jsonl, .json, .csv, .txt"),
        ("gone/p.jsonl", "there is no folder"),
        ("folder.jsonl", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_one_line(tmp_path, name, message):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UserError) as caught:
        Journal(tmp_path / name, MADE, force=False)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.txt", "a dog\n\na cat\r\na dog\n"),
        ("q.csv", "id,query\n1,a dog\n2,a cat\n3,a dog\n"),
        ("q.json", '["a dog", "a cat", "a dog"]'),
        ("q.jsonl", '{"query": "a dog"}\n{"prompt": "a cat", "id": "x"}\n"a dog"\n'),
        ("q.txt.gz", "a dog\na cat\na dog\n"),
    ],
)
def test_queries_are_read_in_order_and_a_text_that_stands_twice_twice(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    assert [row.query for row in read_file(str(file), OPTIONS)] == ["a dog", "a cat", "a dog"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", b"", "the file is empty"),
        ("q.txt", b"\n \n", "no queries in it"),
        ("q.txt", b"a dog\n--ar 16:9\n", "line 2 holds nothing but '--ar 16:9'"),
        ("q.txt", b"a dog\na \x07 cat\n", "line 2 holds the control character U+0007"),
        ("q.txt", b"a dog\n" + b"x" * 20_000, "line 2 has 20,000 characters, more than max-chars=2000"),
        ("q.csv", b"id,title,x\n1,a dog,2\n", "has no column query, text or prompt"),
        ("q.json", b'{"query": ["a dog"', "is not JSON"),
        ("q.jsonl", b'{"query": "a dog"}\n{"query": null}\n', "line 2 is no text"),
        ("q.xlsx", b"PK", "unknown suffix '.xlsx'"),
        ("q.txt", b"\x89PNG\r\n\x1a\n", "PNG"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_that_names_the_place(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_file(str(tmp_path / name), OPTIONS)
    line = str(caught.value)
    assert message in line
    assert "\n" not in line
    assert "dataset." not in line


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone.txt: no such file or directory; give a file of queries"):
        read_file(str(tmp_path / "gone.txt"), OPTIONS)


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("a dog\na cat", ["a dog", "a cat"]),
        ('{"query": "a dog"}\n{"query": "a cat"}\n', ["a dog", "a cat"]),
        ('["a dog", "a cat"]', ["a dog", "a cat"]),
        ("[INST] a dog\n", ["[INST] a dog"]),
        ("7 dwarfs\n", ["7 dwarfs"]),
    ],
)
def test_standard_input_is_read(monkeypatch, text, queries):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert [row.query for row in read_stdin(OPTIONS)] == queries
