"""Item-by-item work: what a kill leaves is kept, other items are not met, failures are records."""

import json

import pytest

from tests.workers import Item, items, task, times, work
from vpo.errors import UserError
from vpo.executor.local import LocalExecutor
from vpo.records import Failure, Verdict
from vpo.storage.items import ItemResults, Work, complete, read_failures


def run(tmp_path, todo, call=work, executor=None, batch_size=3, **options) -> ItemResults:
    job = Work(tmp_path / "rows.jsonl", dict, task(tmp_path / "notes", call), id_of, batch_size, "test")
    return complete(todo, job, executor or LocalExecutor(), **options)


def id_of(item: Item) -> str:
    return item.id


def doubled(*numbers: int) -> list[dict]:
    return [{"id": str(number), "value": 2 * number} for number in numbers]


def test_records_come_in_the_order_of_the_items(tmp_path):
    assert run(tmp_path, items(7)).records == doubled(*range(7))
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == doubled(*range(7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "rows.jsonl"]


def journal(tmp_path, todo) -> str:
    """The journal of a work that was killed before it wrote its records: what a whole work writes, taken from a failing executor."""

    class KilledAtTheEnd(LocalExecutor):
        def run(self, *given):
            yield from super().run(*given)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, todo, executor=KilledAtTheEnd())
    return (tmp_path / "rows.journal.jsonl").read_text()


def test_a_torn_line_is_done_again_and_nothing_else_is_written_twice(tmp_path):
    lines = journal(tmp_path, items(10)).splitlines(keepends=True)
    (tmp_path / "rows.journal.jsonl").write_text("".join(lines[:4]) + lines[4][:9])  # a kill in the middle of line 5
    assert run(tmp_path, items(10)).records == doubled(*range(10))
    # Batches of three are done whole, so that an item meets the same others before and after the kill.
    assert [times(tmp_path / "notes", f"item-{number}") for number in range(10)] == [1, 1, 1, 2, 2, 2, 2, 2, 2, 2]


def test_finished_work_is_not_done_again(tmp_path):
    run(tmp_path, items(4))
    assert run(tmp_path, items(4)).records == doubled(*range(4))
    assert times(tmp_path / "notes", "built") == 1


def test_a_line_counts_only_for_the_item_it_was_written_for(tmp_path):
    """The same ids with other texts, as after a recomputed input."""
    journal(tmp_path, [Item("0", "slow"), Item("1", "double"), Item("2", "slow")])
    run(tmp_path, items(3), batch_size=1)
    assert [times(tmp_path / "notes", f"item-{number}") for number in range(3)] == [2, 1, 2]


def test_items_are_found_by_id_whatever_their_order(tmp_path):
    journal(tmp_path, items(3))
    assert run(tmp_path, list(reversed(items(3)))).records == doubled(2, 1, 0)
    assert times(tmp_path / "notes", "built") == 1


def test_a_failure_is_a_record_of_its_own(tmp_path):
    done = run(tmp_path, items(5, _1="refuse", _3="raise"))
    assert done.records == doubled(0, 2, 4)
    assert done.failures == {"1": Failure("refused", "no"), "3": Failure("KeyError", "'no such word'")}
    assert read_failures(tmp_path / "rows.jsonl") == done.failures
    assert run(tmp_path, items(5, _1="refuse", _3="raise")).failures == done.failures  # and stays one
    assert times(tmp_path / "notes", "item-1") == 1


def test_retry_failed_does_exactly_the_failures_again(tmp_path):
    todo = items(5, _1="busy", _3="refuse")
    job_of = {"executor": Quick()}
    assert run(tmp_path, todo, **job_of).failures["1"] == Failure("busy", "come again", attempts=3, retryable=True)
    before = {number: times(tmp_path / "notes", f"item-{number}") for number in range(5)}
    (tmp_path / "notes" / "item-1").unlink()

    def mended(role, some):
        return work(role, [Item(item.id) for item in some])

    done = run(tmp_path, todo, mended, retry_failed=True, **job_of)
    assert done.records == doubled(*range(5))
    assert not done.failures
    assert not read_failures(tmp_path / "rows.jsonl")
    after = {number: times(tmp_path / "notes", f"item-{number}") for number in range(5)}
    assert {number for number in after if after[number] != before[number]} == {1, 3}


class Quick(LocalExecutor):
    """Waits for nothing between attempts."""

    def run(self, work_task, batches):
        from vpo.executor.worker import Worker

        worker = Worker(work_task, sleep=lambda seconds: None)
        for number, batch in enumerate(batches):
            yield number, worker.work(batch)


def test_nothing_but_failures_ends_the_work_with_one_line_and_the_next_start_tries_again(tmp_path):
    with pytest.raises(UserError, match=r"test: 3 of 3 failed, the first by refused \(no\); correct the cause"):
        run(tmp_path, items(3, _0="refuse", _1="refuse", _2="refuse"))
    assert run(tmp_path, items(3)).records == doubled(0, 1, 2)


def refusing(kind):
    return lambda role, some: [Failure(kind, "6.1 s") for _ in some]


def test_what_items_are_not_fit_for_says_nothing_of_the_role(tmp_path):
    """25 clips that are all too long are 25 failures, and the work is done."""
    done = run(tmp_path, items(25), call=refusing("clip_too_long"))
    assert [one.kind for one in done.failures.values()] == ["clip_too_long"] * 25
    assert done.records == []


def test_a_prompt_that_is_too_long_may_be_the_roles_fault(tmp_path):
    with pytest.raises(UserError, match="the first by too_long"):
        run(tmp_path, items(25), call=refusing("too_long"))


def test_a_long_work_that_only_fails_is_given_up_early(tmp_path):
    with pytest.raises(UserError, match=r"test: 21 of 21 failed"):
        run(tmp_path, [Item(str(number), "refuse") for number in range(300)])
    assert not (tmp_path / "notes" / "item-21").exists()


def test_a_call_that_loses_items_is_noticed(tmp_path):
    with pytest.raises(UserError, match="2 results for 3 items"):
        run(tmp_path, items(3), call=lambda role, some: work(role, some)[:2])


def test_two_items_of_one_id_are_noticed(tmp_path):
    with pytest.raises(RuntimeError, match="same id"):
        run(tmp_path, [Item("1"), Item("1", "slow")])


def verdicts(role, todo) -> list:
    """What a judge says of items, each with its own id, unless the item's text names something else to give."""
    odd = {
        "nothing": None,
        "a text": "fine",
        "nobody's": Verdict("", True, True, True),
        "swapped": Verdict("0", 1, 1, 1),
    }
    return [odd.get(one.text, Verdict(one.id, True, True, True)) for one in todo]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "test: NoneType for item 4; the role must give a Verdict, or a Failure"),
        ("a text", "test: str for item 4; the role must give a Verdict, or a Failure"),
        ("nobody's", "test: the Verdict for item 4 has prompt_id=''"),
        ("swapped", "test: the Verdict for item 4 has prompt_id='0'"),
    ],
)
def test_what_a_role_gives_must_be_a_record_of_its_item(text, message, tmp_path):
    job = Work(tmp_path / "rows.jsonl", Verdict, task(tmp_path / "notes", verdicts), id_of, 3, "test")
    with pytest.raises(UserError, match=message):
        complete(items(7, _4=text), job, LocalExecutor())
    assert not job.path.exists()
    assert [one.prompt_id for one in complete(items(7), job, LocalExecutor()).records] == [*"0123456"]


def half_an_emoji(role, todo) -> list:
    return [{"id": one.id, "value": "smile \ud83d cut"} for one in todo]


def test_half_a_surrogate_pair_in_an_answer_is_stored_as_the_replacement_character(tmp_path):
    assert run(tmp_path, items(2), half_an_emoji).records == [
        {"id": "0", "value": "smile \ufffd cut"},
        {"id": "1", "value": "smile \ufffd cut"},
    ]


def test_one_item_that_fails_alone_is_counted_and_does_not_end_the_run(tmp_path):
    done = run(tmp_path, items(1, _0="refuse"))
    assert (done.records, done.failures) == ([], {"0": Failure("refused", "no")})
