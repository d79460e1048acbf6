import pytest

from vpo.errors import UserError
from vpo.records import Prompt, Reason, Score, Usage, Verdict, from_json, to_json
from vpo.storage.rows import read_rows, write_rows


@pytest.mark.parametrize(
    "record",
    [
        Prompt("p", "q", "a dog", "A dog \u00e9 runs.", "sft", 2),
        Prompt("p", "q", "a\u2028dog\u0085runs", "a\nb", "sft"),
        Verdict("p", True, None, False, reasons=(Reason("helpful", "missing", "light"),)),
        Verdict("p", True, True, True, judge="llm", raw="{}", usage=Usage(10, 2, 0.5)),
        Score("c", "p", "q", 1.5, {"Alignment": 0.5}, (True, None, False)),
        Score("c", "p", "q", None),
    ],
)
def test_records_come_back_from_disk_as_they_went(tmp_path, record):
    assert from_json(type(record), to_json(record)) == record
    write_rows(tmp_path / "rows.jsonl", [record])
    assert read_rows(tmp_path / "rows.jsonl", type(record)) == [record]


def test_a_broken_stored_line_is_named(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a":\n')
    with pytest.raises(UserError, match=r"rows.jsonl: line 2"):
        read_rows(tmp_path / "rows.jsonl", dict)
