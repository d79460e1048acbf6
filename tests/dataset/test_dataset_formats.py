"""Files of queries in the formats and encodings that users have, and files that only look like one."""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import random
import tarfile
import zipfile

import pandas
import pytest

from vpo.dataset.file import FileDataset
from vpo.dataset.reading.problems import FileProblem
from vpo.dataset.reading.source import read_bytes, unpack
from vpo.errors import UserError

SHARES = {"sft": 0.5, "dpo": 0.25, "test": 0.25, "max_chars": 2000}
ANIMALS = {"a dog", "a cat"}
FRAME = pandas.DataFrame({"id": [1, 2], "query": ["a dog", "a cat"]})


def load(path):
    return FileDataset(path, **SHARES).splits()


def texts(path):
    return {one.text for rows in load(path).values() for one in rows}


def ids(path):
    return {one.id: one.text for rows in load(path).values() for one in rows}


def refused(path):
    with pytest.raises(UserError) as error:
        load(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def compress(content):
    """The same bytes in every process: without the time, which would enter the tests' names and part the workers of xdist."""
    return gzip.compress(content, mtime=0)


def parquet(frame):
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # JSON in its shapes
        ("q.json", '["a dog", "a cat"]'),
        ("q.json", '{"data": ["a dog", {"query": "a cat"}]}'),
        ("q.json", '{"version": "1", "queries": [{"text": "a dog"}, {"Prompt": "a cat"}], "size": 2}'),
        ("q.json", '"a dog"\n{"query": "a cat"}\n'),  # JSON lines
        ("q.json", '{"query": "a dog"}\n\n{\n "query":\n "a cat"\n}'),
        ("q.json", '{"query": ["a dog", "a cat"], "length": [5, 5]}'),
        ("q.json", FRAME.to_json()),
        *(("q.json", FRAME.to_json(orient=way)) for way in ("records", "columns", "split", "index", "table")),
        ("q.json", json.dumps(FRAME.to_dict(orient="list"))),
        ("q.json", '{"train": ["a dog"], "test": [{"query": "a cat"}]}'),
        ("q.jsonl", FRAME.to_json(orient="records", lines=True)),
        ("q.ndjson", '"a dog"\r"a cat"\r'),
        ("q.jsonl", '["a dog",\n "a cat"]'),
        ("q.jsonl", '["a dog", "a cat"]'),
        ("q.jsonl", '{\n "query": "a dog"\n}\n{\n "query": "a cat"\n}\n'),  # as jq prints it
        ("q.jsonl", '{"query": null, "text": " ", "prompt": "a dog"}\n{" Query ": "a cat"}'),
        ("q.jsonl", '{"query": NaN, "prompt": "a dog"}\n{"prompt": "a cat"}'),
        # CSV in its dialects
        ("q.csv", "query\na dog\na cat\n"),
        ("q.csv", "Prompt,n\na dog,1\na cat,2\n"),
        ("q.csv", " query , id\na dog,1\na cat,2\n"),
        ("q.csv", "query;id\na dog;1\na cat;2\n"),
        ("q.csv", "id|query\n1|a dog\n2|a cat\n"),
        ("q.tsv", "query|split\na dog|\na cat|\n"),
        ("q.csv", "id;query\n1;a dog\n2;\"a cat\"\n"),
        ("q.csv", "sep=;\nquery;id\na dog;1\na cat;2\n"),
        ("q.csv", "sep=|\r\nid|query\r\n1|a dog\r\n2|a cat\r\n"),
        ("q.csv", "query\tid\na dog\t1\na cat\t2\n"),
        ("q.csv", "\n\nquery\n\na dog\n\na cat\n"),
        ("q.csv", "a dog\na cat\n"),
        ("q.csv", '"a dog"\n"a cat"\n'),
        ("q.csv", 'id, query\n1, "a dog"\n2, "a cat"\n'),
        ("q.csv", "id,query\r1,a dog\r2,a cat\r"),
        ("q.csv", "query,,\na dog,,\na cat,,,\n"),  # Excel's empty columns
        ("q.csv", FRAME.to_csv()),
        ("q.tsv", FRAME.to_csv(sep="\t", index=False)),
        ("q.tsv", "a dog\na cat\n"),
        # lines
        ("q.txt", "a dog\ra cat\r"),
        ("q.txt", "a dog\r\n\r\na cat"),
        ("q.txt", "a dog\ra cat\na dog"),
        ("q.txt", "a dog\na cat\n\x1a"),  # DOS
        ("Q.TXT", "a dog\na cat"),
        # tables
        ("q.parquet", parquet(FRAME)),
        ("q.parquet", parquet(FRAME.rename(columns={"query": "Prompt"}))),
        ("q.parquet", parquet(pandas.DataFrame({"query": pandas.Categorical(["a dog", "a cat"])}))),
        # compressed
        ("q.jsonl.gz", compress(b'"a dog"\n"a cat"\n')),
        ("q.json.gz", compress(b'["a dog", "a cat"]')),
        ("q.csv.gz", compress(b"text\na dog\na cat\n")),
        ("q.tsv.gz", compress(b"text\tid\na dog\t1\na cat\t2\n")),
        ("q.TXT.GZ", compress(b"a dog\na cat\n")),
        ("q.txt.gz", compress(b"a dog\n") + compress(b"a cat\n")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_what_users_have_is_read(tmp_path, monkeypatch, streamed, name, content):
    if streamed:
        monkeypatch.setattr("vpo.dataset.reading.stream.WHOLE", 0)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert texts(tmp_path / name) == ANIMALS


CITY = ["Café in Paris, naïve – “déjà vu”", "ein Müller läuft", "a dog’s 20° €"]


@pytest.mark.parametrize(
    ("lines", "encoding", "log"),
    [
        (["a dog", "a cat"], "utf-8", ""),
        (["a dog", "a cat"], "utf-8-sig", ""),
        *((["a dog", "a cat"], one, one.upper()) for one in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")),
        *((["犬が走る", "一匹の猫"], one, one.upper()) for one in ("utf-16-le", "utf-16-be")),
        *((["собака бежит", "кот спит"], one, one.upper()) for one in ("utf-16-le", "utf-16-be")),
        (["a dog", "犬が走る"], "utf-16", "UTF-16-LE, as its byte order mark says"),
        (["a dog", "犬が走る"], "utf-32", "UTF-32-LE, as its byte order mark says"),
        (CITY, "cp1252", "Windows-1252, a guess"),
        (["un perro en España", "¿dónde está el niño?"], "latin-1", "Windows-1252, a guess"),
        (["à la carte", "l'été à Orléans"], "cp1252", "Windows-1252, a guess"),
    ],
)
@pytest.mark.parametrize("name", ["q.txt", "q.json"])
def test_encodings_are_found_and_said(tmp_path, caplog, lines, encoding, log, name):
    text = (
        "".join(f"{line}\n" for line in lines) if name == "q.txt" else json.dumps(lines, ensure_ascii=False, indent=1)
    )
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert texts(tmp_path / name) == set(lines)
    assert [log in one for one in caplog.messages] == ([True] if log else [])


def test_windows_1252_after_the_byte_order_mark_of_utf_8(tmp_path):
    (tmp_path / "q.txt").write_bytes(b"\xef\xbb\xbfa caf\xe9\na cat\n")
    assert texts(tmp_path / "q.txt") == {"a café", "a cat"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("собака бежит\n".encode("cp1251"), "line 1 is not UTF-8"),
        ("犬が走る\n".encode("shift_jis"), "line 1 is not UTF-8"),
        ("狗在跑\n".encode("gbk"), "line 1 is not UTF-8"),
        ("a köpek koşuyor\n".encode("cp1254"), "line 1 is not UTF-8"),
        ("a café\n".encode("mac-roman"), "line 1 is not UTF-8"),
        ("a café\n".encode("cp850"), "line 1 is not UTF-8"),
        ("a café, naïve\n".encode() + b"a caf\xe9\n", "line 2 is not UTF-8"),  # two encodings in one file
        (b"a dog\n\xff\na cat\n" + b"\xff\n" * 9, "lines 2, 4, 5 and 7 more are not UTF-8"),
        (b"a dog\r\xff\ra cat", "line 2 is not UTF-8"),
        (b"\xff\xfea\0 \xd8", "byte order mark of UTF-16-LE and is not"),
        (random.Random(1).randbytes(4000), "is not text but binary data"),
    ],
)
def test_an_encoding_that_is_not_clear_is_one_line(tmp_path, content, message):
    (tmp_path / "q.txt").write_bytes(content)
    assert message in refused(tmp_path / "q.txt")


def archive(kind):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("q.txt", "a dog\n")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as file:
            file.addfile(tarfile.TarInfo("q.txt"))
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d7a2146" * 8 + b"\nsize 12345\n"


@pytest.mark.parametrize("name", ["q.txt", "q.jsonl", "q.csv", "q.json", "q.tsv", "q.parquet"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS, "is a Git LFS pointer, not the file itself; run `git lfs pull`"),
        (b"/annex/objects/SHA256E-s3--abc.txt\n", "is a git-annex pointer"),
        (b"404: Not Found", "is a server's answer, not the file itself (404: Not Found); download it again"),
        (b"Entry not found\n", "is a server's answer"),
        (b"Invalid username or password.", "is a server's answer"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41", "is an MP4 video"),
        (b"\x1a\x45\xdf\xa3\x01\0\0\0", "is a Matroska or WebM video"),
        (b"RIFF\x10\0\0\0AVI LIST", "is a AVI file"),
        (archive("zip"), "is a zip archive or an Office document"),
        (archive("tar"), "is a tar archive"),
        (compress(b"a dog\n"), "is compressed by gzip; add .gz to its name"),
        (bz2.compress(b"a dog\n"), "is compressed by bzip2"),
        (lzma.compress(b"a dog\n"), "is compressed by xz"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a PNG picture"),
        (b"%PDF-1.7\n1 0 obj\n", "is a PDF document"),
        (b"SQLite format 3\0\x10\0", "is an SQLite database"),
        (pickle.dumps(["a dog"]), "is a Python pickle"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "is a web page or an XML document"),
        (b"<?xml version='1.0'?><q>a dog</q>", "is a web page or an XML document"),
    ],
)
def test_what_is_no_text_is_recognised(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name)
    if name != "q.parquet" and not content.startswith(b"\x1f\x8b"):
        (tmp_path / f"{name}.gz").write_bytes(content)
        assert message in refused(tmp_path / f"{name}.gz")
        (tmp_path / f"{name}.gz").write_bytes(compress(content))
        assert message in refused(tmp_path / f"{name}.gz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", parquet(FRAME), "is a Parquet file; name it .parquet"),
        ("q.parquet", b"a dog\n", "is damaged or not Parquet"),
        ("q.parquet", parquet(FRAME)[:-20], "is damaged or not Parquet"),
        ("q.parquet", parquet(FRAME.rename(columns={"query": "words"})), "has no column query, text or prompt; found id, words"),
        ("q.parquet", parquet(pandas.DataFrame({"query": [1, 2]})), "2 rows cannot be used: 2 that are no query (a text that "
         "shows something) (rows 1, 2)"),
        ("q.parquet", parquet(FRAME.assign(Query="x")), "names the column 'query' twice"),
        ("q.txt", b"\xef\xbb\xbf" + LFS, "is a Git LFS pointer"),
        ("q.csv", LFS.decode().replace("\n", "\r\n").encode("utf-16"), "is a Git LFS pointer"),  # as PowerShell's > writes it
        ("q.txt.gz", compress("<!DOCTYPE html>".encode("utf-16")), "is a web page or an XML document"),
        ("q.txt", b"", "the file is empty"),
        ("q.parquet", b"", "the file is empty"),
        ("q.txt.gz", compress(b""), "the file is empty"),
        ("q.txt", b"\xef\xbb\xbf\n \n", "no queries in it"),
        ("q.csv", b"\n\n", "no queries in it"),
        ("q.csv", b"query\n", "no queries in it"),
        ("q.jsonl", b"\n", "no queries in it"),
        ("q.txt.gz", b"a dog\n", "is not compressed by gzip; take .gz off its name"),
        ("q.txt.gz", compress(b"a dog\n" * 9)[:-5], "is damaged"),
        ("q.txt.gz", compress(b"a dog\n" * 9)[:15] + b"x" * 20, "is damaged"),
        ("q.gz", compress(b"a dog\n"), "unknown suffix '.gz'; name the file .json"),
        ("q.tar.gz", b"a dog\n", "unknown suffix '.tar.gz'; name the file .json"),
        ("q", b"a dog\n", "unknown suffix ''; name the file .json"),
        ("q.xlsx", b"\xff\xfe\xfd", "unknown suffix '.xlsx'; name the file .json"),  # before it is decoded
        # JSON
        ("q.json", b'["a dog",\n "a cat",\n]', "is not JSON (a comma too many at line 2, column 9); correct it"),
        ("q.json", b'[{"query": "a dog",}]', "is not JSON (a comma too many at line 1, column 19); correct it"),
        ("q.jsonl", b'"a dog"\n{"query": "a cat", }\n', "line 2 is not JSON (a comma too many at column 18)"),
        ("q.jsonl", b'"a dog",\n"a cat"\n', "line 1 is not JSON (a comma too many at column 8)"),
        ("q.csv", b"id,query\n1\n2,a dog\n", "line 2 is not a query (a text that shows something)"),
        ("q.csv", b"query\na dog, running\na cat, asleep\n", "2 with more columns than the header's 1 (lines 2, 3); put a query"),
        ("q.csv", b"a dog, running, fast\na cat, asleep\n", "2 of several columns, none of which is named query, text or prompt"),
        ("q.json", b'["a dog", "a c', "is not JSON (Unterminated string starting at line 1, column 11); correct it"),
        ("q.json", b"a dog\na cat\n", "is not JSON (Expecting value at line 1, column 1); correct it"),
        ("q.json", b'"a dog"\n{"query": \n"a cat\n', "2 rows cannot be used: 2 that are not JSON (lines 2, 3; line 2 is not JSON ("),
        ("q.json", b'"a dog"', "a JSON list of queries is due, found a text"),
        ("q.json", b"17", "a JSON list of queries is due, found 17"),
        ("q.json", b'{"a": [1], "b": [2]}', "a JSON list of queries is due, found an object with a, b"),
        ("q.json", b'{"query": ["a", "b"], "id": ["1"]}', "its columns query, id do not have the same rows"),
        ("q.json", b'{"columns": ["query"], "data": [["a", "b"]]}', 'every row of "data" must have the 1 cells'),
        ("q.json", b'[{"query": "a", "query": "b"}]', "entry 1 has the field 'query' twice"),
        ("q.json", b'[{"query": "a", "Query": "b"}]', "entry 1 has the field 'Query' twice"),
        # CSV
        ("q.csv", b'id,query\n1,a dog\n2,"a cat\n3,a fox\n4,a hen\n', "line 3 opens a quote that never closes; close its quotes"),
        ("q.csv", b'id,query\n1,"a dog\n2,"a cat"\n', "line 2 is not CSV"),
        ("q.csv", b'query\n"a dog" runs\n', "line 2 is not CSV"),
        ("q.csv", b"query,id,query\na,1,b\n", "names the column 'query' twice"),
        ("q.csv", b"id,query,Query \n1,a,b\n", "names the column 'query' twice"),
        ("q.csv", b"id,query,x,x\n1,a,b,c\n", "names the column 'x' twice"),
        ("q.csv", b"query\na dog\na\0 cat\n", "line 3 holds the control character U+0000"),
        ("q.csv", b"a dog\na\x1b cat\n", "line 2 holds the control character U+001B"),
        ("q.txt", b"a dog\na\0 cat\n\x08\n", "2 rows cannot be used: 2 with control characters in them (lines 2, 3)"),
        ("q.csv", b"number,words\n1,a dog\n2,a cat\n", "none of the 2 columns is named query, text or prompt"),
        ("q.csv", b"1;a dog\n2;a cat\n", "none of the 2 columns is named query, text or prompt"),
        ("q.csv", b"a dog\na cat, a fox\n", "line 2 has 2 columns, and none is named query, text or prompt; put a query"),
        ("q.csv", b"Caption\na dog\n", "its column is named 'caption'; name it query, text or prompt"),
        ("q.csv", b"User Query\na dog\n", "its column is named 'user query'; name it query, text or prompt"),
        ("q.csv", b"video_prompt\na dog\n", "its column is named 'video_prompt'"),
        ("q.csv", b"original-text-en\na dog\n", "its column is named 'original-text-en'"),
        ("q.txt", b"query|split\na dog|test\n", "starts with the names of columns; name it .csv"),
        ("q.csv", b"id,caption\n1,a dog\n", "has no column query, text or prompt; found id, caption"),
        # one format under another's name
        ("q.txt", b'{"query": "a dog"}\n{"query": "a cat"}\n', "holds JSON; name it .jsonl"),
        ("q.txt", b'["a dog",\n"a cat"]\n', "holds JSON; name it .json"),
        ("q.csv", b'[{"query": "a dog"}]', "holds JSON; name it .json"),
        ("q.txt", b"id,query\n1,a dog\n", "starts with the names of columns; name it .csv"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [False, True])
def test_what_cannot_be_read_is_one_line(tmp_path, monkeypatch, streamed, name, content, message):
    if streamed:
        monkeypatch.setattr("vpo.dataset.reading.stream.WHOLE", 0)
    (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name)


def test_real_text_that_starts_like_another_format_is_text(tmp_path):
    lines = [
        "[close-up] a dog",
        "{a dog|a cat} runs",
        "GIF of a dog",
        "RIFF",
        "<3 dogs",
        "text, then a dog",
        '"a dog" runs',
        "%PDF",
    ]
    (tmp_path / "q.txt").write_text("\n".join(lines))
    assert texts(tmp_path / "q.txt") == set(lines)
    for line in lines:
        (tmp_path / "q.txt").write_text(f"{line}\na fox\n")
        assert texts(tmp_path / "q.txt") == {line, "a fox"}


def test_a_bar_in_a_query_parts_no_columns_and_a_first_query_is_no_name(tmp_path):
    for first in ("a dog | cinematic", "text of a dog", "not found: a dog", "user dog", "404"):
        (tmp_path / "q.csv").write_text(f"{first}\na fox | close-up\n")
        assert texts(tmp_path / "q.csv") == {first, "a fox | close-up"}


def test_an_object_of_rows_gives_them_its_names_as_ids(tmp_path):
    rows = {"A": {"query": "a dog"}, "a": {"query": "a cat"}, "b": {"query": "a fox", "id": "own"}}
    (tmp_path / "q.json").write_text(json.dumps(rows))
    assert ids(tmp_path / "q.json") == {"A": "a dog", "a": "a cat", "own": "a fox"}


def test_lists_under_the_names_of_splits_are_these_splits(tmp_path):
    (tmp_path / "q.json").write_text(
        '{"train": ["a dog"], "Dev": [{"text": "a cat"}], "test": [{"query": "a fox", "split": "sft"}]}'
    )
    splits = {name: [one.text for one in rows] for name, rows in load(tmp_path / "q.json").items()}
    assert splits == {"sft": ["a dog", "a fox"], "dpo": ["a cat"], "test": []}


def test_places_that_are_no_files_are_one_line_and_nothing_hangs(tmp_path):
    os.mkfifo(tmp_path / "q.jsonl")
    assert "is a device or a pipe, not a file" in refused(tmp_path / "q.jsonl")
    assert "is a device or a pipe, not a file" in refused("/dev/null")
    (tmp_path / "q.json").mkdir()
    assert "is a folder; set dataset.path to one file in it" in refused(tmp_path / "q.json")
    (tmp_path / "q.txt").symlink_to(tmp_path / "gone.txt")
    assert "no such file or directory" in refused(tmp_path / "q.txt")
    assert "set dataset.path to a file of queries" in refused("a\0b.txt")
    assert "is a folder" in refused(".")
    for value in (None, 5, ["q.txt"]):
        assert "is no path; put it in quotes" in refused(value)


def test_urls_are_to_be_downloaded_and_their_secrets_are_not_shown(tmp_path):
    for url in ("https://example.com/q.json", "s3://bucket/q.json", "hf://datasets/x/y/q.parquet"):
        assert "is a URL; download the file first" in refused(url)
    assert "give the path alone: dataset.path=/tmp/q.json" in refused("file:///tmp/q.json")
    with pytest.raises(UserError) as error:
        load("https://me:secret@example.com/q.json?token=hidden#x")
    assert str(error.value).startswith("https://example.com/q.json: is a URL")


def test_a_tilde_is_the_home_folder_and_other_paths_are_of_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "q.txt").write_text("a dog\na cat\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert texts("~/q.txt") == ANIMALS
    monkeypatch.chdir(tmp_path)
    assert texts("q.txt") == ANIMALS
    assert "names a home folder that does not exist" in refused("~nobody-of-this-name/q.txt")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "q.txt").open("wb") as file:
        file.truncate(3 * 10**9)  # a hole: it takes no room
    assert "has 3.0 GB; at most 1 GB are read" in refused(tmp_path / "q.txt")
    (tmp_path / "q.txt").write_bytes(b"a dog\n" * 10)
    with pytest.raises(FileProblem, match=r"at most 50 bytes are read"):
        read_bytes(tmp_path / "q.txt", limit=50)
    with pytest.raises(FileProblem, match=r"unpacks to more; at most 1,000 bytes are read"):
        unpack(".txt.gz", compress(b"a" * 1001), limit=1000)
    assert unpack(".txt.gz", compress(b"a" * 1000), limit=1000) == (".txt", b"a" * 1000)
