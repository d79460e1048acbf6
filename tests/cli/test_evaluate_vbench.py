"""`vpo evaluate export` and `import`: to VBench's own code and back."""

import json
import shutil

import pytest

from tests.external.clips import write_clip
from vpo.cli.entry import main
from vpo.errors import UserError
from vpo.external.run_clips import write_folder
from vpo.external.vbench_folder import plan_export
from vpo.results.run_folder import Run
from vpo.runs import write_again
from vpo.storage.rows import read_rows, write_rows
from vpo.workers.vbench.script import expected_names, read_official

SUITE = [
    {"prompt_en": "A Cat", "dimension": ["scene", "color"]},
    {"prompt_en": "the sea", "dimension": ["scene"]},
    {"prompt_en": "never rendered", "dimension": ["scene"]},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of two methods: five clips of "a cat", two of the sea, one of a prompt that no file can be called by."""
    place = tmp_path_factory.mktemp("made")
    rows = []
    for method in ("ours", "theirs"):
        for query, count in (("a cat", 5), ("the sea", 2), ("a 16/9 picture", 1)):
            files = [write_clip(place / f"clips/{method}-{query[:3]}-{n}.mp4", frames=2, step=n) for n in range(count)]
            prompt = f"{query}, by {method}"
            rows.append({"query": query, "prompt": prompt, "method": method, "clips": [str(one) for one in files]})
    write_rows(place / "rows.jsonl", rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["evaluate", "prompts=rows.jsonl", "evaluator=[flicker]", "logger=[csv]"]) == 0
    (run,) = (place / "runs/evaluate").iterdir()
    return place, run


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of the run that a test may change; its clips are those of `made`."""
    place, folder = made
    copy = place / "runs/evaluate" / tmp_path.name
    shutil.copytree(folder, copy)
    monkeypatch.chdir(tmp_path)
    yield copy
    shutil.rmtree(copy)


def test_clips_are_called_by_the_original_prompt_as_the_suite_spells_it(run, tmp_path, capsys):
    (tmp_path / "full.json").write_text(json.dumps(SUITE))
    words = ["format=vbench", f"run={run}", "method=ours", "suite=full.json", "out=videos"]
    assert main(["evaluate", "export", *words]) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    there = {file.name for file in (tmp_path / "videos").iterdir()}
    assert there == {*(f"A Cat-{n}.mp4" for n in range(5)), "the sea-0.mp4", "the sea-1.mp4"}
    # the worker that runs VBench's own code expects these and no others
    assert there < set(expected_names(SUITE, "scene"))
    (item,) = [
        one for one in read_rows(run / "items.jsonl", dict) if (one["query"], one["method"]) == ("a cat", "ours")
    ]
    for number, path in enumerate(item["clips"]):
        assert (tmp_path / f"videos/A Cat-{number}.mp4").read_bytes() == (run / path).read_bytes()
    assert "videos: 7 clips of ours" in said.out
    assert "2 prompts have fewer than 5 clips, as 'the sea', which has 2" in said.err
    assert "1 queries are not in the suite, and not written, such as 'a 16/9 picture'" in said.err


def test_without_a_suite_queries_name_the_clips_and_names_that_no_file_has_are_refused(run, tmp_path, capsys):
    assert main(["evaluate", "export", "format=vbench", f"run={run}", "out=videos", "copy=true"]) == 0
    said = capsys.readouterr()
    for method in ("ours", "theirs"):
        there = sorted(file.name for file in (tmp_path / "videos" / method).iterdir())
        assert there == [*(f"a cat-{n}.mp4" for n in range(5)), "the sea-0.mp4", "the sea-1.mp4"]
    assert "1 clips are not written" in said.err
    assert "'a 16/9 picture-0.mp4': it has a / in it" in said.err
    (tmp_path / "videos/ours/a cat-0.mp4").write_bytes(b"changed")  # of a copy the run sees nothing
    (item,) = [
        one for one in read_rows(run / "items.jsonl", dict) if (one["query"], one["method"]) == ("a cat", "ours")
    ]
    assert (run / item["clip"]).read_bytes() != b"changed"
    assert main(["evaluate", "export", "format=vbench", f"run={run}", "out=videos"]) == 2
    assert "is there already; set out=" in capsys.readouterr().err
    assert (tmp_path / "videos/ours/a cat-0.mp4").read_bytes() == b"changed"


def test_clips_of_five_seconds_and_more_and_other_containers_are_said(tmp_path):
    for name, frames in (("long", 49), ("short", 39)):
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.json").write_text(json.dumps({"frames": frames, "fps": 8.0}))
    (tmp_path / "other.gif").touch()
    items = [{"query": f"a {name}", "clip": f"{name}.mp4"} for name in ("long", "short")]
    plan = plan_export(items, tmp_path)
    assert plan.long == ["a long-0.mp4"]  # 49 frames at 8 a second are 6.1 seconds, 39 are 4.9
    assert any("1 of 2 clips take 5 seconds or more" in line and "never mix" in line for line in plan.notes)
    assert not any("never mix" in line for line in plan_export(items[:1], tmp_path).notes)
    assert plan_export([{"query": "x", "clip": "other.gif"}], tmp_path).other == ["x-0.gif"]


def test_a_name_of_the_longest_length_is_written_and_a_clip_that_is_gone_is_said(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    name = f"{'x' * 249}-0.mp4"
    write_folder([(clip, name), (clip, name.replace("-0", "-1"))], tmp_path / "out")
    assert (tmp_path / "out" / name).samefile(clip)
    with pytest.raises(UserError, match=r"gone\.mp4: no such file; give the run's command again"):
        write_folder([(clip, "a-0.mp4"), (tmp_path / "gone.mp4", "a-1.mp4")], tmp_path / "other")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clip.mp4", "out"]


def official(**dimensions):
    """A file as VBench writes it: by dimension its score and (name, value, what stands beside it) of videos."""
    return {
        name: [
            score,
            [{"video_path": f"/videos/{video}", "video_results": value, **more} for video, value, more in videos],
        ]
        for name, (score, videos) in dimensions.items()
    }


def imported(run, content, *words):
    (run.parent / "result.json").write_text(json.dumps(content))
    code = main(["evaluate", "import", "format=vbench", f"run={run}", f"file={run.parent / 'result.json'}", *words])
    (run.parent / "result.json").unlink()
    return code, json.loads((run / "results.json").read_text())


def test_a_result_file_becomes_metrics_of_a_method(run, capsys):
    # scene: 10 of 16, 16 of 16 and 4 of 16 frames; the dimension is 30 of 48 frames. color drops a video: the mean of the others.
    content = official(
        scene=(30 / 48, [("A Cat-0.mp4", 10 / 16, {"success_frame_count": 10, "frame_count": 16}),
                         ("A Cat-1.mp4", 1.0, {"success_frame_count": 16, "frame_count": 16}),
                         ("the sea-0.mp4", 4 / 16, {"success_frame_count": 4, "frame_count": 16})]),
        color=(0.5, [("A Cat-0.mp4", 1.0, {}), ("A Cat-3.mp4", 0.0, {})]),
        imaging_quality=(0.61, [("A Cat-0.mp4", 60.0, {}), ("the sea-1.mp4", 62.0, {})]),
        dynamic_degree=(1.0, [("the sea-1.mp4", True, {})]),
    )  # fmt: skip
    code, results = imported(run, content, "method=ours")
    assert code == 0, capsys.readouterr().err
    ours = results["methods"]["ours"]
    expected = {"scene": 30 / 48, "color": 0.5, "imaging_quality": 0.61, "dynamic_degree": 1.0}
    assert {name: ours[f"official_{name}"]["mean"] for name in expected} == pytest.approx(expected)
    assert (ours["official_scene"]["n"], ours["official_color"]["n"]) == (2, 1)
    assert "official_scene" not in results["methods"]["theirs"]
    assert "flicker" in ours
    items = {(one["query"], one["method"]): one for one in read_rows(run / "items.jsonl", dict)}
    cat = items["a cat", "ours"]
    assert cat["metrics"]["official_scene"] == pytest.approx(26 / 32)
    assert cat["weights"]["official_scene"] == 2  # of as many frames each, so that two videos count alike
    assert "VBench scene" in (run / "table.md").read_text(encoding="utf-8")
    # once more, with another number: it replaces the first one and leaves the other dimensions
    code, results = imported(run, official(scene=(0.25, [("the sea-0.mp4", 0.25, {})])), "method=ours")
    assert code == 0
    assert results["methods"]["ours"]["official_scene"]["mean"] == 0.25
    assert results["methods"]["ours"]["official_color"]["mean"] == 0.5


def test_the_same_command_again_keeps_what_was_imported(made, monkeypatch, capsys):
    place, run = made
    monkeypatch.chdir(place)
    assert imported(run, official(scene=(0.25, [("the sea-0.mp4", 0.25, {})])), "method=theirs")[0] == 0
    assert main(["evaluate", "prompts=rows.jsonl", "evaluator=[flicker]", "logger=[csv]"]) == 0
    results = json.loads((run / "results.json").read_text())
    assert results["methods"]["theirs"]["official_scene"]["mean"] == 0.25
    shutil.rmtree(run / "added")
    write_again(run)  # what is not there any more leaves nothing behind
    assert "official_scene" not in json.loads((run / "results.json").read_text())["methods"]["theirs"]
    assert not any("official_scene" in one["metrics"] for one in read_rows(run / "items.jsonl", dict))


def test_a_run_with_and_a_run_without_imported_numbers_share_a_table(made, run):
    """Each is measured by the same evaluators; what was added stands in a column of its own."""
    _, other = made
    assert imported(run, official(scene=(0.25, [("the sea-0.mp4", 0.25, {})])), "method=ours")[0] == 0
    found = [Run(folder).measured_by() for folder in (run, other)]
    assert found[0] == found[1]


def test_frames_weigh_where_the_file_s_score_says_so(run, capsys):
    videos = [("A Cat-0.mp4", 0.9, {"cnt_per_video": 30}), ("the sea-0.mp4", 0.5, {"cnt_per_video": 10})]
    code, results = imported(run, official(subject_consistency=(0.8, videos)), "method=ours")
    assert code == 0
    assert results["methods"]["ours"]["official_subject_consistency"]["mean"] == pytest.approx(0.8)
    code, results = imported(run, official(subject_consistency=(0.7, videos)), "method=ours")  # as when distributed
    assert results["methods"]["ours"]["official_subject_consistency"]["mean"] == pytest.approx(0.7)
    assert "gives" not in capsys.readouterr().err


def test_vbench_long_has_columns_of_its_own(run, capsys):
    """Its files have the segments' values and then the videos', or, of consistency, videos whose value is fused of two."""
    segments = [
        {"video_path": f"/videos/split_clip/{name}/{name}_{number:03d}.mp4", "video_results": value}
        for name, values in {"A Cat-0": (60.0, 70.0, 80.0), "the sea-1": (40.0,)}.items()
        for number, value in enumerate(values)
    ]
    # As `reorganize_clips_results` names videos: by the segment's path, so that each segment has a row.
    whole = [row | {"video_path": f"{row['video_path']}/{row['video_path'].split('/')[-2]}.mp4"} for row in segments]
    fused = {"inclip_score": 0.9, "clip2clip_score": 0.5, "mapped_clip2clip_score": 0.93}
    steady = [{"video_path": "/videos/A Cat-0.mp4", "video_results": 0.97}, {"long_video_cnt": 1}]
    content = {
        "imaging_quality": [2.5 / 4, segments, whole],
        "subject_consistency": [
            (0.91 + 0.93) / 2,
            [fused | {"video_path": whole[n]["video_path"], "video_results": (0.91, 0.93)[n]} for n in range(2)],
        ],
        "temporal_flickering": [0.97, segments[:2], steady],
    }
    code, results = imported(run, content, "method=ours")
    assert code == 0, capsys.readouterr().err
    ours = results["methods"]["ours"]
    expected = {"imaging_quality": 0.625, "subject_consistency": 0.92, "temporal_flickering": 0.97}
    assert {name: ours[f"official_long_{name}"]["mean"] for name in expected} == pytest.approx(expected)
    assert not any(f"official_{name}" in ours for name in expected)
    assert ours["official_long_imaging_quality"]["n"] == 2
    assert "gives" not in capsys.readouterr().err  # videos weigh by their segments, which gives the file's score
    assert "VBench-Long imaging quality" in (run / "table.md").read_text(encoding="utf-8")
    about = {name: results["evaluators"][name]["about"] for name in ("vbench_long_import",)}
    assert about["vbench_long_import"].startswith("VBench-Long's own code")
    # of consistency, where no video has two segments: a score and the segments
    alone = {"subject_consistency": [0.8, [segments[3] | {"video_results": 0.8}]]}
    assert imported(run, alone, "method=ours")[0] == 2  # names of segments are no videos' names
    # VBench's own numbers of the same dimension stand beside them, and replace nothing
    code, results = imported(run, official(imaging_quality=(0.7, [("A Cat-0.mp4", 70.0, {})])), "method=ours")
    assert code == 0
    both = [results["methods"]["ours"][f"official_{name}imaging_quality"]["mean"] for name in ("", "long_")]
    assert both == pytest.approx([0.7, 0.625])


def test_prompts_of_the_suite_that_the_file_lacks_have_failed(run, tmp_path, capsys):
    """The sea is to be measured on scene, and the file has no video of it; of color VBench itself drops videos, and whole prompts."""
    (tmp_path / "full.json").write_text(json.dumps(SUITE))
    content = official(
        scene=(0.5, [("A Cat-0.mp4", 0.25, {}), ("A Cat-1.mp4", 0.75, {}), ("A Cat-2.mp4", float("nan"), {})]),
        color=(0.5, [("the sea-0.mp4", 0.5, {})]),
    )
    code, results = imported(run, content, "method=ours", f"suite={tmp_path / 'full.json'}")
    said = capsys.readouterr().err
    assert code == 0, said
    assert "scene: 1 prompts have no number, and are counted as failed" in said
    scene, color = (results["methods"]["ours"][f"official_{name}"] for name in ("scene", "color"))
    assert {key: scene[key] for key in ("mean", "n", "n_failed", "n_clips", "n_clips_failed")} == {
        "mean": 0.5, "n": 1, "n_failed": 1, "n_clips": 2, "n_clips_failed": 3,  # one has no number, two are lacking
    }  # fmt: skip
    assert (color["n"], color["n_failed"]) == (1, 0)
    assert "scene: the file lacks 2 clips of the run, which are counted as failed" in said
    # without the suite nobody knows that the sea was to be measured: this run's queries have no labels
    assert imported(run, content, "method=ours")[1]["methods"]["ours"]["official_scene"]["n_failed"] == 0


def test_all_dimensions_of_result_files_give_the_totals(run, capsys):
    """VBench's own test vector (82.76, 77.04, 81.61), one video a dimension, from two files; they are a part of the suite."""
    from tests.evaluator.test_vbench_formulas import COGVIDEOX

    videos = {
        name: (value, [("A Cat-0.mp4", value * 100 if name == "imaging_quality" else value, {})])
        for name, value in COGVIDEOX.items()
    }
    last = videos.pop("scene")
    code, results = imported(run, official(**videos), "method=ours")
    assert code == 0, capsys.readouterr().err
    names = [f"official_{name}" for name in ("quality", "semantic", "total")]
    assert [name in results["methods"]["ours"] for name in names] == [True, False, False]
    _, results = imported(run, official(scene=last), "method=ours")
    found = [results["methods"]["ours"][name] for name in names]
    assert [one["mean"] for one in found] == pytest.approx([0.8276, 0.7704, 0.8161], abs=1e-4)
    assert [one["n"] for one in found] == [1, 1, 1]
    assert found[2]["part"] == pytest.approx(14 / 1199)
    assert "VBench Total (imported)" in (run / "table.md").read_text(encoding="utf-8")


def test_what_does_not_fit_is_said_and_the_rest_is_imported(run, capsys):
    videos = [("the sea-0.mp4", 0.5, {}), ("a stranger-0.mp4", 0.9, {}), ("A Cat-0.mp4", float("nan"), {})]
    code, results = imported(run, official(scene=(0.6, videos)), "method=ours")
    said = capsys.readouterr().err
    assert code == 0
    scene = results["methods"]["ours"]["official_scene"]
    assert (scene["mean"], scene["n"], scene["n_failed"]) == (0.5, 1, 1)
    assert "scene: 1 videos have no number" in said
    assert "scene: 1 videos are of no query of the run, as 'a stranger-0.mp4'" in said
    assert "the file's score is 0.60000, and its videos give 0.70000" in said


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (official(scene=(1.0, [("a cat-0.mp4", 1.0, {})])), [], "say of which method"),
        (official(scene=(1.0, [("a cat-0.mp4", 1.0, {})])), ["method=x"], "no method 'x'; it has ours, theirs"),
        (
            official(scene=(1.0, [("a dog-0.mp4", 1.0, {})])),
            ["method=ours"],
            "none of its videos, such as 'a dog-0.mp4',",
        ),
        (official(scene=(1.0, [("a dog.mp4", 1.0, {})])), ["method=ours"], "scene is not as VBench writes it"),
        (
            official(scene=(1.9, [("a cat-0.mp4", 1.0, {})])),
            ["method=ours"],
            "result.json: scene: the score is 1.9, and must be 0 to 1",
        ),
        (
            official(imaging_quality=(0.6, [("a cat-0.mp4", 700.0, {})])),
            ["method=ours"],
            "imaging_quality: the value of 'a cat-0.mp4' is 700, and must be 0 to 100",
        ),
        ({"scene": 0.5}, ["method=ours"], "scene is not as VBench writes it"),
        ({"taste": [0.5, []]}, ["method=ours"], "'taste'"),
        ([], ["method=ours"], "no mapping"),
    ],
)
def test_what_is_no_result_file_is_one_line_and_changes_nothing(run, capsys, content, words, said):
    before = (run / "results.json").read_text()
    code, _ = imported(run, content, *words)
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert (run / "results.json").read_text() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "format=vbench", "run=gone", "out=x"], "gone/results.json"),
        (["export", "format=cvbench", "run=gone", "out=x"], "invalid choice"),
        (["export", "run=gone", "out=x"], "required: --format"),
        (["import", "format=vbench", "run=gone", "file=x"], "gone/results.json"),
    ],
)
def test_bad_words_are_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_worker_reads_the_same_file(run):
    """What the import takes for VBench's form is what the worker's own reading takes for it."""
    content = official(scene=(0.25, [("the sea-0.mp4", 0.25, {"frame_count": 16})]))
    assert read_official(content, "scene", ["the sea-0.mp4"], [])["score"] == 0.25
