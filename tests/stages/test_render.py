"""What surrounds every video model: checks, one retry, descriptions, and clips that are never rendered twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, SEES_TESTS
from tests.painters import fill_disk
from vpo import targets
from vpo.errors import UserError
from vpo.executor.processes import ProcessExecutor
from vpo.records import Clip, Prompt
from vpo.seeding import seed_of
from vpo.stages.context import Context
from vpo.stages.render import Render
from vpo.storage.clip_store import ClipStore
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Entry, Store
from vpo.video import clips


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(targets, "_trusted", ("tests.",))


def prompts(*texts: str, method: str = "m") -> list[Prompt]:
    return [Prompt(f"{method}-{n}", f"q{n}", f"query {n}", text, method) for n, text in enumerate(texts)]


def entry_of(folder: Path, todo: list[Prompt]) -> Entry:
    """A finished result with prompts."""
    key = todo[0].method
    place = folder / "store/optimize" / key
    place.mkdir(parents=True, exist_ok=True)
    write_rows(place / "prompts.jsonl", todo)
    (place / "manifest.json").write_text(json.dumps({"stamp": key, "stamps": {}, "created": "", "code": ""}))
    return Entry("optimize", key, place)


def node(folder: Path, kind: str = "Painter", **values) -> dict:
    return {"_target_": f"tests.painters.{kind}", "log": str(folder / "log"), **values}


def render(folder: Path, *texts: str, method: str = "m", executor=None, generator=None, **options) -> Path:
    """The folder of the clips of these texts."""
    recompute = options.pop("recompute", ())
    context = Context(
        Store(folder / "store", recompute=recompute), **({"executor": executor} if executor else {}), **options
    )
    stage = Render(
        generator=generator or node(folder), prompts=entry_of(folder, prompts(*texts, method=method)), seed=0
    )
    return context.make(stage).folder / "clips"


def records(folder: Path) -> list[Clip]:
    return read_rows(folder.parent / "clips.jsonl", Clip)


def failures(folder: Path) -> dict[str, str]:
    path = folder.parent / "clips.failures.jsonl"
    return {row["id"]: row["failure"]["kind"] for row in read_rows(path, dict)} if path.exists() else {}


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


def rendered(folder: Path) -> list[str]:
    return [line.removeprefix("render ") for line in log(folder) if line.startswith("render ")]


SEED = [seed_of("clip", 0, f"q{n}", 0) for n in range(9)]

# By hand: what a clip of 8 frames, 48 x 32, is found to be.
FAULTS = {
    "black": "black",
    "frozen": "frozen",
    "short": "it has 4 frames, not 8",
    "small": "its frames are 48x16, not 48x32",
    "nan": "non-finite",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_clip_is_rendered_once_more_with_another_seed(tmp_path, fault):
    folder = render(tmp_path, "a dog", f"a cat {fault} once", f"a cow {fault}")
    good, retried, bad = records(folder)
    assert (good.status, good.seed, good.faults) == ("ok", SEED[0], ())
    assert (retried.status, retried.seed) == ("ok", seed_of("retry", SEED[1]))
    assert retried.faults == (f"seed {SEED[1]}: {FAULTS[fault]}",)
    assert (bad.status, bad.seed) == (FAULTS[fault], seed_of("retry", SEED[2]))
    assert bad.faults == (f"seed {SEED[2]}: {FAULTS[fault]}",)
    assert sorted(rendered(tmp_path)) == sorted(["a dog", *[f"a cat {fault} once"] * 2, *[f"a cow {fault}"] * 2])
    assert (folder / retried.path).exists()
    assert not (folder / bad.path).exists()
    # For people to look at; frames that are no numbers have made no file.
    assert (folder / "broken" / bad.path).exists() == (fault != "nan")
    assert json.loads((folder.parent / "manifest.json").read_text())["counts"] == {
        "clips": 3, "broken": 1, "retried": 2, "failed": 0,
    }  # fmt: skip


def test_a_file_that_was_cut_is_found(tmp_path):
    (bad,) = records(render(tmp_path, "a cow cut"))
    assert bad.status.startswith("unreadable: ")
    assert str(tmp_path) not in bad.status


def test_a_clip_of_one_frame_and_a_model_that_may_stand_still_are_not_frozen(tmp_path):
    still = node(tmp_path, "Sketcher")
    assert records(render(tmp_path, "a cow frozen", generator=still))[0].status == "ok"
    from vpo.video.checks import problem_of

    clips.write_mp4(clips.read_mp4(next(tmp_path.glob("store/render/*/clips/*.mp4")))[0][:1], 8, tmp_path / "one.mp4")
    one = Clip("p", "p", "q", "query", "text", "one.mp4", 0, 1, 8.0, 32, 48)
    assert problem_of(one, tmp_path) == "ok"


def test_a_sidecar_says_what_made_the_clip(tmp_path):
    folder = render(tmp_path, "a dog", generator=node(tmp_path, "Describer"))
    content = json.loads((folder / "m-0.json").read_text())
    assert {key: content[key] for key in ("id", "query", "prompt", "seed", "frames", "fps", "height", "width", "faults")} == {
        "id": "m-0", "query": "query 0", "prompt": "a dog", "seed": SEED[0], "frames": 8, "fps": 8.0, "height": 32, "width": 48,
        "faults": [],
    }  # fmt: skip
    assert content["generator"] == {"model": "painter-1", "revision": "abc", "scheduler": "none", "api_key": "***"}
    assert content["revision"] == "abc"
    assert content["versions"]["python"] == sys.version.split()[0]
    assert content["versions"]["av"]
    assert content["seconds"] > 0
    assert content["peak_memory"]["of"] == "process"
    assert 10**7 < content["peak_memory"]["bytes"] < 10**11
    assert sorted(path.name for path in folder.iterdir()) == ["m-0.json", "m-0.mp4"]


def test_without_a_description_a_sidecar_holds_the_node(tmp_path):
    folder = render(tmp_path, "a dog", generator=node(tmp_path, size=12))
    assert json.loads((folder / "m-0.json").read_text())["generator"]["size"] == 12


def test_another_method_and_run_take_the_clip_and_build_no_model(tmp_path):
    one = render(tmp_path, "a dog", "a cat black once")
    before = log(tmp_path)
    other = render(tmp_path, "a dog", "a cat black once", method="other")
    assert log(tmp_path) == before
    assert one != other
    for mine, theirs in zip(records(other), records(one), strict=True):
        assert (mine.id, mine.prompt_id) == (theirs.id.replace("m", "other"),) * 2
        assert (mine.seed, mine.status, mine.faults) == (theirs.seed, theirs.status, theirs.faults)
        assert (other / mine.path).samefile(one / theirs.path)
    sidecar = json.loads((other / "other-1.json").read_text())
    assert (sidecar["id"], sidecar["from_store"]) == ("other-1", True)


def test_only_what_is_new_is_rendered(tmp_path):
    render(tmp_path, "a dog", "a cat")
    render(tmp_path, "a dog", "a cow", "a cat", method="other")
    assert rendered(tmp_path) == ["a dog", "a cat", "a cow", "a cat"]  # the cat is of another query now: another seed


@pytest.mark.parametrize("change", ["setting", "seed", "content"])
def test_another_setting_seed_or_local_model_is_another_clip(tmp_path, change):
    (tmp_path / "model/unet").mkdir(parents=True)
    (tmp_path / "model/unet/config.json").write_text("{}")
    generator = node(tmp_path, path=str(tmp_path / "model"))
    # The class stands in a package of ours only where its node names a class of vpo; the painter stands for one here.
    render(tmp_path, "a dog", generator=generator)
    stage = Render(generator=generator | ({"size": 12} if change == "setting" else {}),
                   prompts=entry_of(tmp_path, prompts("a dog", method="other")), seed=int(change == "seed"))  # fmt: skip
    Context(Store(tmp_path / "store")).make(stage)
    assert rendered(tmp_path) == ["a dog"] * (1 if change == "content" else 2)


def test_the_content_of_a_local_model_is_part_of_a_key(tmp_path):
    (tmp_path / "model/unet").mkdir(parents=True)
    keys = []
    for text in ("{}", "{ }"):
        (tmp_path / "model/unet/config.json").write_text(text)
        generator = {"_target_": "vpo.sketch.generator.SketchGenerator", "path": str(tmp_path / "model")}
        stage = Render(generator=generator, prompts=entry_of(tmp_path, prompts("a dog")), seed=0)
        keys.append(Context(Store(tmp_path / "store", dry=True)).make(stage).key)
        assert "path_content" in stage.node()["generator"]
    assert keys[0] != keys[1]


def test_what_cannot_change_a_clip_is_not_in_its_key(monkeypatch, tmp_path):
    for reads in ("vpo.stages.stage.declared", "vpo.stages.rendering.declared"):
        monkeypatch.setattr(reads, lambda target, name: ("size",))
    render(tmp_path, "a dog", generator=node(tmp_path, size=1))
    render(tmp_path, "a dog", method="other", generator=node(tmp_path, size=2))
    assert rendered(tmp_path) == ["a dog"]


@pytest.mark.slow
def test_who_allows_still_clips_takes_those_that_move_and_the_other_way_round(tmp_path):
    """Only what stands still is rendered again, though the results are other ones."""
    texts = ("a dog", "a cow frozen")
    render(tmp_path, *texts, generator=node(tmp_path, still_is_fine=False))
    assert rendered(tmp_path) == ["a dog", "a cow frozen", "a cow frozen"]
    fine = render(tmp_path, *texts, generator=node(tmp_path, still_is_fine=True))
    assert [clip.status for clip in records(fine)] == ["ok", "ok"]
    assert rendered(tmp_path)[3:] == ["a cow frozen"]
    again = render(tmp_path, *texts, method="other", generator=node(tmp_path, still_is_fine=False))
    assert [clip.status for clip in records(again)] == ["ok", "frozen"]
    assert rendered(tmp_path)[4:] == ["a cow frozen", "a cow frozen"]


def test_recompute_renders_anew_and_replaces_what_is_stored(tmp_path):
    old = render(tmp_path, "a dog")
    inode = os.stat(old / "m-0.mp4").st_ino
    new = render(tmp_path, "a dog", recompute=("render",))
    assert rendered(tmp_path) == ["a dog"] * 2
    assert os.stat(new / "m-0.mp4").st_ino != inode
    again = render(tmp_path, "a dog", method="other")
    assert (again / "other-0.mp4").samefile(new / "m-0.mp4")


def test_a_damaged_clip_of_the_store_is_rendered_again(tmp_path):
    one = render(tmp_path, "a dog")
    content = (one / "m-0.mp4").read_bytes()
    with (one / "m-0.mp4").open("r+b") as file:  # in place: the same file as the store's
        file.write(b"damage")
    other = render(tmp_path, "a dog", method="other")
    assert rendered(tmp_path) == ["a dog"] * 2
    assert (other / "other-0.mp4").read_bytes() == content


def test_a_clip_of_older_code_is_used_with_a_warning(tmp_path, caplog, monkeypatch):
    render(tmp_path, "a dog")
    monkeypatch.setattr("vpo.stages.rendering.class_hash", lambda node: "newer")
    render(tmp_path, "a dog", method="other")
    assert rendered(tmp_path) == ["a dog"]
    assert "recompute=[render]" in caplog.text


def test_broken_clips_and_those_of_a_cheap_model_are_not_stored(tmp_path):
    render(tmp_path, "a cow black")
    render(tmp_path, "a dog", method="other", generator=node(tmp_path, "Sketcher"))
    assert not list((tmp_path / "store/clips").glob("*/*.mp4"))


def test_two_equal_requests_in_one_batch_are_rendered_once(tmp_path):
    todo = prompts("a dog", "a dog")
    todo[1] = Prompt("m-1", "q0", "query 0", "a dog", "m")
    stage = Render(generator=node(tmp_path), prompts=entry_of(tmp_path, todo), seed=0)
    folder = Context(Store(tmp_path / "store")).make(stage).folder / "clips"
    assert rendered(tmp_path) == ["a dog"]
    assert [clip.id for clip in records(folder)] == ["m-0", "m-1"]
    assert (folder / "m-0.mp4").samefile(folder / "m-1.mp4")


def test_one_item_without_memory_fails_and_the_others_are_rendered(tmp_path):
    folder = render(tmp_path, "a dog", "a cat large", "a cow huge", "a fox", "an owl refused")
    assert [(clip.id, clip.status) for clip in records(folder)] == [(f"m-{n}", "ok") for n in (0, 1, 3)]
    assert failures(folder) == {"m-2": "out_of_memory", "m-4": "refused"}
    assert sorted(rendered(tmp_path)) == ["a cat large", "a dog", "a fox", "an owl refused"]


def test_a_full_disk_ends_the_stage_with_one_line_and_leaves_nothing_half_written(small_disk, tmp_path):
    generator = node(tmp_path)  # its log lies elsewhere
    fill_disk(small_disk)
    with pytest.raises(UserError, match="no space left on device while writing render"):
        render(small_disk, *(f"a dog {n}" for n in range(12)), generator=generator)
    (partial,) = small_disk.glob("store/render/*.partial")
    assert not [path for path in (partial / "clips").iterdir() if path.suffix not in (".mp4", ".json")]
    whole = sorted(path for path in (partial / "clips").glob("*.mp4"))
    assert all(len(clips.read_mp4(path)[0]) == 8 for path in whole)
    done = rendered(tmp_path)
    (small_disk / "filler").unlink()
    folder = render(small_disk, *(f"a dog {n}" for n in range(12)), generator=generator)
    assert len(records(folder)) == 12
    assert not failures(folder)
    # What was stored before the disk was full is not rendered again.
    assert len(rendered(tmp_path)) < len(done) + 12


def test_processes_that_need_the_same_clips_render_each_once(tmp_path):
    texts = [f"a dog {n} slow" for n in range(6)]
    script = f"""
import sys
from pathlib import Path
from tests.stages.test_render import node, render
from vpo import targets
targets._trusted = ("tests.",)
folder = Path({str(tmp_path)!r})
render(folder, *{texts!r}, method=sys.argv[1], generator=node(folder, batch_size=2))
"""
    others = [
        subprocess.Popen([sys.executable, "-c", script, name], cwd=ROOT, env=SEES_TESTS) for name in ("one", "two")
    ]
    assert [one.wait(60) for one in others] == [0, 0]
    assert sorted(rendered(tmp_path)) == texts
    assert len(list(tmp_path.glob("store/render/*/clips/*.mp4"))) == 12


def test_after_a_kill_a_clip_that_was_rendered_is_not_rendered_again(tmp_path):
    texts = [f"a dog {n} slow" for n in range(6)]
    script = f"""
from pathlib import Path
from tests.stages.test_render import render
from vpo import targets
targets._trusted = ("tests.",)
render(Path({str(tmp_path)!r}), *{texts!r})
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, env=SEES_TESTS)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("store/clips/*/*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = rendered(tmp_path)
    folder = render(tmp_path, *texts)
    assert [clip.status for clip in records(folder)] == ["ok"] * 6
    assert (
        len(rendered(tmp_path)) <= 6 + len(done) - 4
    )  # the first batch of four was stored, the one under way is done again


def test_workers_give_the_same_records_as_this_process(tmp_path):
    texts = ["a dog", "a cat black once", "a cow frozen", "a fox refused", "an owl", "a pig large"]
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = render(tmp_path / "here", *texts)
    there = render(tmp_path / "there", *texts, executor=ProcessExecutor(workers=2))
    assert records(there) == records(here)
    assert failures(there) == failures(here) == {"m-3": "refused"}


def test_a_store_that_cannot_link_has_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    render(tmp_path, "a dog")
    other = render(tmp_path, "a dog", method="other")
    assert rendered(tmp_path) == ["a dog"]
    assert len(clips.read_mp4(other / "other-0.mp4")[0]) == 8
    assert ClipStore(tmp_path / "store/clips").folder.is_dir()
