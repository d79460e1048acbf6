import pytest

from vpo.errors import UserError
from vpo.executor.local import LocalExecutor
from vpo.executor.processes import ProcessExecutor
from vpo.records import Prompt, Reason, Score, Verdict, from_json, to_json
from vpo.rows import complete, read_rows, write_rows


def doubled(items):
    return [{"value": 2 * item} for item in items]


def run(path, items, work=doubled, executor=None):
    return complete(items, work, path, kind=dict, chunk=3, executor=executor or LocalExecutor(), label="test")


def test_work_resumes_behind_the_last_whole_line(tmp_path):
    path, seen = tmp_path / "rows.jsonl", []

    def work(items):
        seen.append(list(items))
        return doubled(items)

    whole = run(tmp_path / "whole.jsonl", list(range(10)))
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:4]) + lines[4][:5])  # a kill in the middle of line 5
    assert run(path, list(range(10)), work) == whole
    assert seen == [[3, 4, 5], [6, 7, 8], [9]]  # whole chunks, so that batches are those of an unbroken run
    assert path.read_text() == "".join(lines)


def test_finished_work_is_not_redone(tmp_path):
    run(tmp_path / "rows.jsonl", list(range(7)))
    assert run(tmp_path / "rows.jsonl", list(range(7)), work=None) == doubled(range(7))


def test_processes_give_the_same_rows_in_the_same_order(tmp_path):
    here = run(tmp_path / "a.jsonl", list(range(8)))
    there = run(tmp_path / "b.jsonl", list(range(8)), executor=ProcessExecutor(workers=2))
    assert here == there


def test_a_worker_that_loses_items_is_noticed(tmp_path):
    with pytest.raises(RuntimeError, match="2 results for 3 items"):
        run(tmp_path / "rows.jsonl", [1, 2, 3], work=lambda items: doubled(items)[:2])


@pytest.mark.parametrize(
    "record",
    [
        Prompt("p", "q", "a dog", "A dog \u00e9 runs.", "sft", 2),
        Prompt("p", "q", "a\u2028dog\u0085runs", "a\nb", "sft"),
        Verdict("p", True, None, False, reasons=(Reason("helpful", "missing", "light"),)),
        Score("c", "p", "q", (True, None, False), 1.5, {"Alignment": 0.5}),
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
