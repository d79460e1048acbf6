"""Shards of item-by-item work: each item in one of them, no file with two writers, nothing begun before all have ended."""

import json
import threading
import time

import pytest

from tests.storage.test_items import doubled, id_of, run
from tests.workers import items, task, times, work
from vpo.errors import UserError
from vpo.executor.local import LocalExecutor
from vpo.records import Failure
from vpo.stages.context import Context
from vpo.storage.items import Work, complete_shard, read_failures
from vpo.storage.partial import STATEMENT
from vpo.storage.shards import Shard, ShardDone, at_work
from vpo.storage.store import Store


def shard(text: str, tmp_path, todo, call=work, batch_size=3) -> int:
    job = Work(tmp_path / "rows.jsonl", dict, task(tmp_path / "notes", call), id_of, batch_size, "test")
    return complete_shard(todo, job, LocalExecutor(), Shard.parse(text))


@pytest.mark.parametrize("count", [1, 3, 64])
def test_every_item_is_in_one_shard_and_none_is_far_larger(count):
    names = [f"query {number}" for number in range(1600)]
    sizes = [sum(Shard(number, count).has(name) for name in names) for number in range(1, count + 1)]
    assert sum(sizes) == 1600
    assert all(abs(size - 1600 / count) < 5 * (1600 / count) ** 0.5 for size in sizes)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "a/4", "-1/4", "3/4/5", "1.0/4", "3 / 4", "٣/٤"])
def test_what_names_no_shard_is_a_line(text):
    with pytest.raises(UserError, match=r"config: shard=.* counted from 1, as in shard=3/64"):
        Shard.parse(text)


def test_gathered_shards_are_byte_for_byte_what_one_process_does(tmp_path):
    todo = items(20, _3="refuse", _7="raise")
    plain, parts = tmp_path / "plain", tmp_path / "parts"
    plain.mkdir(), parts.mkdir()
    run(plain, todo)
    own = [shard(f"{number}/3", parts, todo) for number in (3, 1, 2)]
    assert sum(own) == 20
    assert min(own) > 0
    assert not (parts / "rows.jsonl").exists()  # no shard finishes the work
    done = run(parts, todo, gathered=True)
    for name in ("rows.jsonl", "rows.failures.jsonl"):
        assert (parts / name).read_bytes() == (plain / name).read_bytes()
    assert done.failures == {"3": Failure("refused", "no"), "7": Failure("KeyError", "'no such word'")}
    assert sorted(path.name for path in parts.iterdir()) == ["notes", "rows.failures.jsonl", "rows.jsonl"]
    assert [times(parts / "notes", f"item-{number}") for number in (0, 3, 19)] == [1, 1, 1]


@pytest.mark.slow
def test_a_shard_that_lacks_items_is_named(tmp_path):
    todo = items(20)
    own = {number: [one.id for one in todo if Shard(number, 4).has(one.id)] for number in range(1, 5)}
    assert all(own.values())
    for number in (1, 3, 4):
        shard(f"{number}/4", tmp_path, todo)
    torn = tmp_path / "rows.shard-3-of-4.journal.jsonl"
    torn.write_bytes(torn.read_bytes()[:-2])  # killed in the middle of its last line
    message = rf"test: {len(own[2]) + 1} of 20 items are not there, of shards 2/4, 3/4; start these again"
    with pytest.raises(UserError, match=message):
        run(tmp_path, todo, gathered=True)
    assert not (tmp_path / "rows.jsonl").exists()
    shard("2/4", tmp_path, todo)
    shard("3/4", tmp_path, todo)
    assert run(tmp_path, todo, gathered=True).records == doubled(*range(20))


def test_a_run_without_shard_does_what_shards_have_left(tmp_path):
    todo = items(20)
    shard("1/2", tmp_path, todo, batch_size=1)
    assert run(tmp_path, todo, batch_size=1).records == doubled(*range(20))
    assert {times(tmp_path / "notes", f"item-{number}") for number in range(20)} == {1}


def test_gathering_what_no_shard_has_begun_is_an_ordinary_run(tmp_path):
    assert run(tmp_path, items(4), gathered=True).records == doubled(*range(4))


def test_a_killed_shard_does_what_it_lacks_and_what_only_failed_ends_it(tmp_path):
    todo = items(12)
    shard("1/1", tmp_path, todo, batch_size=1)
    journal = tmp_path / "rows.shard-1-of-1.journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:5]))
    shard("1/1", tmp_path, todo, batch_size=1)
    assert [times(tmp_path / "notes", f"item-{number}") for number in range(12)] == [1] * 5 + [2] * 7
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UserError, match="test: 4 of 4 failed"):
        shard("1/1", other, items(4, _0="refuse", _1="refuse", _2="refuse", _3="refuse"))
    assert not list(other.glob("*.jsonl"))


def stage_work(context: Context, todo, call=work, **options):
    """The work of a stage, as `Store.get` calls it."""

    def do(folder):
        done = context.complete(
            todo, folder / "rows.jsonl", kind=dict, make=task(folder, call).make, call=call, item_id=id_of, batch_size=3,
            label="test", **options,
        )  # fmt: skip
        return {"rows": len(done.records)}

    return do


def started(tmp_path, text: str | None, todo=None, node=None, **options):
    context = Context(Store(tmp_path, shard=text and Shard.parse(text)), gathered=text is None)
    return context.store.get("render", node or {"a": 1}, {}, stage_work(context, todo or items(20), **options))


def test_shards_of_a_stage_work_at_the_same_time_and_are_gathered_when_all_have_ended(tmp_path, caplog):
    caplog.set_level("INFO", logger="vpo")
    todo = items(8, **{f"_{number}": "slow" for number in range(8)})

    def one(text):
        with pytest.raises(ShardDone, match=rf"test: shard {text} is done, \d+ of 8 items"):
            started(tmp_path, text, todo)

    threads = [threading.Thread(target=one, args=(f"{number}/2",)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    while len(list(tmp_path.glob("render/*.shard-*.lock"))) < 2:
        time.sleep(0.01)
    folder = next(tmp_path.glob("render/*.partial"))
    assert {str(one) for one in at_work(folder)} == {"1/2", "2/2"}
    entry = started(tmp_path, None, todo)  # waits for both
    for thread in threads:
        thread.join()
    assert entry.rows("rows.jsonl", dict) == doubled(*range(8))
    waited = [line for line in caplog.messages if "works on it; waiting" in line]
    assert waited
    assert "test: 2 shards gathered, each of 8 items is there once" in caplog.messages
    assert not list(tmp_path.glob("render/*.shard-*.lock"))
    assert [times(entry.folder, f"item-{number}") for number in range(8)] == [1] * 8
    assert started(tmp_path, "1/2", todo).folder == entry.folder  # a finished result is taken as it is


def test_the_same_shard_twice_is_a_line(tmp_path, monkeypatch):
    todo = items(4, **{f"_{number}": "slow" for number in range(4)})

    def first():
        with pytest.raises(ShardDone):
            started(tmp_path, "1/1", todo)

    thread = threading.Thread(target=first)
    thread.start()
    while not list(tmp_path.glob("render/*.shard-*.lock")):
        time.sleep(0.01)
    import filelock

    monkeypatch.setattr(filelock.FileLock, "acquire", impatient(filelock.FileLock.acquire))
    with pytest.raises(UserError, match="render: another process works on shard=1/1; give this one another shard"):
        started(tmp_path, "1/1", todo)
    thread.join()


def impatient(acquire):
    """Waits of seconds become a moment."""

    def quick(self, timeout=None, **more):
        return acquire(self, timeout=0.05 if timeout == 5 else timeout, **more)

    return quick


def test_shards_of_another_count_are_refused(tmp_path):
    with pytest.raises(ShardDone):
        started(tmp_path, "1/4")
    with pytest.raises(UserError, match=r"test: shards of 4 have begun it, so shard=1/3 would do items again"):
        started(tmp_path, "1/3")
    with pytest.raises(ShardDone):
        started(tmp_path, "2/4")


def test_what_needs_all_items_in_one_batch_is_not_shared_out(tmp_path):
    entry = started(tmp_path, "1/4", whole=True)
    assert entry.rows("rows.jsonl", dict) == doubled(*range(20))


def test_shards_go_on_from_what_a_killed_run_has_done(tmp_path):
    """A plain run's journal counts for every shard."""

    class Killed(LocalExecutor):
        def run(self, *given):
            for done, one in enumerate(super().run(*given)):
                if done == 2:
                    raise KeyboardInterrupt
                yield one

    context = Context(Store(tmp_path), executor=Killed())
    with pytest.raises(KeyboardInterrupt):
        context.store.get("render", {"a": 1}, {}, stage_work(context, items(20)))
    for number in (1, 2):
        with pytest.raises(ShardDone):
            started(tmp_path, f"{number}/2")
    entry = started(tmp_path, None)
    assert entry.rows("rows.jsonl", dict) == doubled(*range(20))
    assert not read_failures(entry.folder / "rows.jsonl")
    # Six were done by the killed run (and a third batch, which it did not write). Nobody does them a third time.
    assert max(times(entry.folder, f"item-{number}") for number in range(20)) <= 2


def test_what_was_made_from_other_inputs_is_discarded_only_when_no_shard_works_on_it(tmp_path):
    todo = items(4, **{f"_{number}": "slow" for number in range(4)})

    def first():
        with pytest.raises(ShardDone):
            started(tmp_path, "1/2", todo)

    thread = threading.Thread(target=first)
    thread.start()
    while not list(tmp_path.glob("render/*.shard-*.lock")):
        time.sleep(0.01)
    partial = next(tmp_path.glob("render/*.partial"))
    statement = json.loads((partial / STATEMENT).read_text())
    (partial / STATEMENT).write_text(json.dumps({**statement, "code": "of yesterday"}))
    with pytest.raises(ShardDone):
        started(tmp_path, "2/2", todo)
    thread.join()
    assert json.loads((partial / STATEMENT).read_text()) == statement
    assert [path.name for path in partial.glob("*.journal.jsonl")] == ["rows.shard-2-of-2.journal.jsonl"]
