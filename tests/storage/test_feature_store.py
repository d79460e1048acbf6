"""Features of frames kept between runs: whole or not at all, found by content, bounded."""

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import run_vpo
from vpo.storage.feature_store import FeatureStore, KeptFeatures, features_in


def features(seed: int, frames: int = 4, width: int = 64) -> KeptFeatures:
    random = np.random.default_rng(seed)
    return KeptFeatures(
        frames + 2, {place: random.standard_normal(width, dtype=np.float32) for place in range(1, frames + 1)}
    )


def same(one: KeptFeatures | None, other: KeptFeatures) -> bool:
    return (
        one is not None
        and one.count == other.count
        and one.frames.keys() == other.frames.keys()
        and all(np.array_equal(one.frames[place], other.frames[place]) for place in other.frames)
    )


def asked(name: str) -> dict[str, str]:
    return {"clip": name, "weights": "w"}


def test_what_was_kept_is_found_by_all_that_it_depends_on(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features", 1 << 20)
    assert store.find(asked("a")) is None
    store.keep(asked("a"), features(0))
    store.keep(asked("b"), features(1))
    for one in (store, FeatureStore(tmp_path / "features", 1 << 20)):
        assert same(one.find(asked("a")), features(0))
        assert same(one.find({"weights": "w", "clip": "b"}), features(1))
        assert one.find(asked("a") | {"weights": "v"}) is None
    store.keep(asked("a"), features(2, frames=6))
    assert same(store.find(asked("a")), features(2, frames=6))
    assert len(features_in(tmp_path / "features")) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "other"])
def test_what_is_damaged_is_computed_again(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(tmp_path, 1 << 20)
    store.keep(asked("a"), features(0))
    (file,) = features_in(tmp_path)
    content = bytearray(file.path.read_bytes())
    if damage == "other":
        np.savez(file.path.open("wb"), features=np.zeros(3), places=np.zeros(3), count=3)
    else:
        content[300] ^= 255 if damage == "changed" else 0
        file.path.write_bytes({"cut": content[:-40], "changed": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert store.find(asked("a")) is None
    assert "damaged" in caplog.text
    store.keep(asked("a"), features(1))
    assert same(store.find(asked("a")), features(1))


def test_what_was_not_read_for_the_longest_time_goes(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1 << 30)
    for number in range(10):
        store.keep(asked(str(number)), features(number))
    size = features_in(tmp_path)[0].size
    for place, one in enumerate(sorted(features_in(tmp_path), key=lambda one: one.path)):
        os.utime(one.path, (1000 + place, 1000 + place))
    oldest = [number for number in range(10) if store._path(asked(str(number))).stat().st_mtime < 1003]
    assert store.find(asked(str(oldest[0]))) is not None  # read now
    small = FeatureStore(tmp_path, int(10.5 * size))
    small.keep(asked("new"), features(11))
    left = features_in(tmp_path)
    assert sum(one.size for one in left) <= 0.9 * 10.5 * size
    assert small.find(asked("new")) is not None
    assert small.find(asked(str(oldest[0]))) is not None
    assert [small.find(asked(str(number))) for number in oldest[1:]] == [None, None]


def keep_for_ever(folder: Path) -> None:
    store = FeatureStore(folder, 60_000)
    for number in range(1_000_000):
        store.keep(asked(str(number % 40)), features(number % 40))


def test_two_processes_and_a_kill_leave_nothing_half_written(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=keep_for_ever, args=(tmp_path,)) for _ in range(2)]
    for one in workers:
        one.start()
    store, found, end = FeatureStore(tmp_path, 60_000), 0, time.monotonic() + 60
    while found < 200 and time.monotonic() < end:
        for number in range(40):
            kept = store.find(asked(str(number)))
            assert kept is None or same(kept, features(number))
            found += kept is not None
    for one in workers:
        os.kill(one.pid, signal.SIGTERM)
        one.join()
    assert found >= 200
    for number in range(40):
        kept = store.find(asked(str(number)))
        assert kept is None or same(kept, features(number))
    for part in tmp_path.glob("*/.*.part"):  # of a killed process: counted as rubbish after an hour
        os.utime(part, (1000, 1000))
        assert part in [one.path for one in features_in(tmp_path)]


def test_a_full_disk_costs_nothing_but_time(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(small_disk / "features", 1 << 30)
    with caplog.at_level(logging.WARNING):
        for number in range(20):
            store.keep(asked(str(number)), features(number, frames=16, width=512))
    assert caplog.text.count("features are not kept") == 1
    assert same(store.find(asked("0")), features(0, frames=16, width=512))
    assert not list(small_disk.glob("features/*/.*"))


def test_the_store_lists_and_deletes_them(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store/features", 1 << 20)
    for number in range(3):
        store.keep(asked(str(number)), features(number))
    listed = run_vpo("store", "ls", cwd=tmp_path)
    assert "in 3 files of features of clips' frames" in listed.stdout, listed.stderr
    kept = run_vpo("store", "prune", "yes=true", cwd=tmp_path)
    assert kept.returncode == 0, kept.stderr
    assert len(features_in(tmp_path / "store/features")) == 3
    announced = run_vpo("store", "prune", "features=true", cwd=tmp_path)
    assert "which yes=true deletes, too" in announced.stdout
    assert len(features_in(tmp_path / "store/features")) == 3
    deleted = run_vpo("store", "prune", "features=true", "yes=true", cwd=tmp_path)
    assert "deleted with 3 files of features" in deleted.stdout
    assert features_in(tmp_path / "store/features") == []
