"""`vpo evaluate`, end to end: the real stages on real files."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.external.clips import write_clip
from tests.judge.asking import fenced
from tests.language.chat_server import Reply, chat_server, completion
from vpo.cli.entry import main
from vpo.logger.wandb_content import table_of
from vpo.storage.rows import whole_lines, write_rows
from vpo.video.clips import read_mp4, write_mp4


def evaluate(*words, capsys):
    """(exit code, the run folder or None, what was said)."""
    capsys.readouterr()
    code = main(["evaluate", *words, "logger=[csv]"])
    said = capsys.readouterr()
    return code, said.out.strip() or None, said.err


def results_of(folder):
    with open(f"{folder}/results.json", encoding="utf-8") as file:
        return json.load(file)


def flicker_of(path):
    """VBench's formula, of the whole clip at once."""
    frames = read_mp4(path)[0].astype(float)
    return (255 - np.abs(frames[1:] - frames[:-1]).mean()) / 255


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_by_vbench_s_names_is_measured(place, capsys):
    for number, query in enumerate(("a cat", "a dog", "the sea")):
        write_clip(place / "videos" / f"{query}-0.mp4", step=number)
    before = {file.name: file.read_bytes() for file in (place / "videos").iterdir()}
    code, folder, said = evaluate("clips=videos", "evaluator=[flicker,motion]", capsys=capsys)
    assert code == 0, said
    results = results_of(folder)
    expected = np.mean([flicker_of(file) for file in sorted((place / "videos").iterdir())])
    assert results["methods"]["given"]["flicker"]["mean"] == pytest.approx(expected)
    assert results["methods"]["given"]["flicker"]["n"] == 3
    assert folder.startswith("runs/evaluate/clips=videos,")
    assert "Flicker-free" in (place / folder / "table.md").read_text(encoding="utf-8")
    assert "given: 3 prompts, 3 clips" in said
    assert {file.name: file.read_bytes() for file in (place / "videos").iterdir()} == before
    for name in ("table.md", "config.yaml", "items.jsonl", "contact_sheet.png", "inputs.json"):
        assert (place / folder / name).is_file(), name


def test_labels_of_rows_reach_the_evaluators_and_one_that_finds_none_says_so(place, capsys):
    rows = [{"query": "shoot a portrait", "harmless": True, "sounds_like": "violence"}, {"query": "a cat"}]
    write_rows(place / "rows.jsonl", rows)
    code, folder, said = evaluate("prompts=rows.jsonl", "evaluator=[over_refusal]", capsys=capsys)
    assert code == 0, said
    assert results_of(folder)["methods"]["given"]["false_refusal_violence"]["n"] == 1
    assert "applies to none" not in said
    write_rows(place / "rows.jsonl", rows[1:])
    code, folder, said = evaluate("prompts=rows.jsonl", "evaluator=[over_refusal,text]", capsys=capsys)
    assert code == 0, said
    assert "evaluator over_refusal applies to none of the test queries" in said
    assert "evaluator text applies" not in said


def test_a_clip_that_changes_is_measured_anew_and_nothing_else_is(place, capsys):
    for name in ("a", "b"):
        for query in ("a cat", "the sea"):
            write_clip(place / name / f"{query}-0.mp4", step=1)
    _, one, _ = evaluate("clips.a=a", "clips.b=b", capsys=capsys)
    before = results_of(one)
    os.remove("b/a cat-0.mp4")  # the given file may be another name of the stored one: it is replaced, not written into
    write_clip(place / "b/a cat-0.mp4", step=6)
    _, two, _ = evaluate("clips.a=a", "clips.b=b", capsys=capsys)
    after = results_of(two)
    assert after["methods"]["b"]["flicker"]["mean"] < before["methods"]["b"]["flicker"]["mean"]
    assert after["run"]["rows"]["a"] == before["run"]["rows"]["a"]


def test_what_is_missing_broken_or_odd_is_named_and_counted_and_the_rest_is_measured(place, capsys):
    good = write_clip(place / "clips/good.mp4")
    write_clip(place / "clips/large.mp4", size=96, fps=24, frames=6)
    write_clip(place / "clips/one.mp4", frames=1)
    write_clip(place / "clips/two.mp4", frames=2)
    write_clip(place / "clips/still.mp4", step=0)
    write_mp4(np.zeros((4, 64, 64, 3), np.uint8), 8, place / "clips/black.mp4")
    (place / "clips/cut.mp4").write_bytes(good.read_bytes()[:900])
    (place / "clips/text.mp4").write_text("no video")
    (place / "clips/empty.mp4").touch()
    (place / "clips/stray.mp4").write_bytes(good.read_bytes())
    names = ("good", "large", "one", "two", "still", "black", "cut", "text", "empty", "gone")
    rows = [
        {"query": f"query {name}", "prompt": f"Prompt {name}.", "clip": f"{name}.mp4", "id": name} for name in names
    ]
    write_rows(place / "rows.jsonl", [*rows, {"query": "query without", "id": "without"}])
    code, folder, said = evaluate("clips=clips", "prompts=rows.jsonl", "evaluator=[flicker,rendering]", capsys=capsys)
    assert code == 0, said
    given = results_of(folder)["methods"]["given"]
    # flicker needs two frames of something: of the eleven, good, large, two and still have them
    assert (given["flicker"]["n"], given["flicker"]["n_failed"]) == (4, 7)
    assert (given["usable"]["n"], given["usable"]["mean"]) == (6, 5 / 6)  # all but the black one
    assert given["retried"]["mean"] == 0
    found = json.loads((place / folder / "inputs.json").read_text())["given"]
    assert {name: why.partition(":")[0] for name, why in found["failed"].items()} == {
        "cut-given": "unreadable_file", "text-given": "unreadable_file", "empty-given": "unreadable_file",
        "gone-given": "no_file", "without-given": "no_clip",
    }  # fmt: skip
    assert found["unusable"] == {"black-given": "black"}
    assert found["sizes"] == {"64x64": 4, "96x96": 1}
    assert found["rates"] == {"8": 4, "24": 1}
    assert [os.path.basename(file) for file in found["unused_files"]] == ["stray.mp4"]
    assert "they differ in pixels: 64x64 (4 clips); 96x96 (1 clip)" in said
    assert "6 clips missing or unusable: cut-given: unreadable_file" in said
    items = {one["query_id"]: one for one in map(json.loads, (place / folder / "items.jsonl").read_text().splitlines())}
    assert items["gone"]["failures"]["render"]["detail"].endswith("gone.mp4: no such file")
    assert items["good"]["prompt"] == "Prompt good."
    assert items["good"]["query"] == "query good"


def test_an_empty_prompt_has_failed_and_a_row_without_one_means_the_query(place, capsys):
    rows = [{"query": "a bird", "prompt": ""}, {"query": "a fish", "prompt": None}, {"query": "a cat", "prompt": " "}]
    write_rows(place / "rows.jsonl", [*rows, {"query": "a dog"}])
    code, folder, said = evaluate("prompts=rows.jsonl", "evaluator=[text]", capsys=capsys)
    assert code == 0, said
    tokens = results_of(folder)["methods"]["given"]["tokens"]
    assert (tokens["n"], tokens["n_failed"]) == (1, 3)
    reason = "optimize: 3 prompts failed: no_prompt: its prompt is empty"
    assert reason in said
    assert reason in (place / folder / "log.txt").read_text(encoding="utf-8")
    assert [one["prompt"] for one in whole_lines(place / folder / "items.jsonl")] == [None, None, None, "a dog"]


def test_clips_that_all_failed_are_counted_and_the_reason_is_said(place, capsys):
    """Of 40 frames at 8 a second; the short one is measured. One of two clips failed."""
    write_clip(place / "clips/long-0.mp4", frames=40, step=0)
    write_clip(place / "clips/short-0.mp4")
    words = ("clips=clips", "evaluator=[vbench]", "evaluator.vbench.dimensions=[flicker_unfiltered]")
    code, folder, said = evaluate(*words, capsys=capsys)
    assert code == 0, said
    given = results_of(folder)["methods"]["given"]
    assert (given["flicker_unfiltered"]["n"], given["flicker_unfiltered"]["n_failed"]) == (1, 1)
    assert (given["vbench_failed_clips"]["mean"], given["vbench_failed_clips"]["n"]) == (0.5, 2)
    assert "vbench: 1 measurement failed: clip_too_long: 5 s" in said


def test_clips_that_were_never_given_are_no_failures(place, capsys):
    for name in ("a cat-0", "a dog-0", "a dog-1"):
        write_clip(place / f"clips/{name}.mp4")
    code, folder, said = evaluate("clips=clips", "evaluator=[flicker]", capsys=capsys)
    assert code == 0, said
    flicker = results_of(folder)["methods"]["given"]["flicker"]
    assert (flicker["n"], flicker["n_clips"], flicker["n_clips_failed"]) == (2, 2, 0)  # the cat has one clip alone
    assert "clips 3, broken 0, retried 0, failed 0" in said
    assert "Failed measurements: none" in said


def test_a_suite_of_which_most_prompts_have_no_clip_is_measured(place, capsys):
    """More failures in a row than a broken role would be allowed."""
    write_rows(place / "suite.jsonl", [{"prompt_en": f"prompt number {n}x", "dimension": ["scene"]} for n in range(30)])
    write_clip(place / "clips/prompt number 29x-0.mp4")
    code, folder, said = evaluate("clips=clips", "prompts=suite.jsonl", capsys=capsys)
    assert code == 0, said
    flicker = results_of(folder)["methods"]["given"]["flicker"]
    assert (flicker["n"], flicker["n_failed"]) == (1, 29)


def test_methods_of_one_file_are_compared_on_the_same_queries(place, capsys):
    rows = []
    for method, step in (("VPO (ours)", 1), ("theirs", 3)):
        for query in ("a cat", "the sea"):
            file = write_clip(place / method / f"{query}.mp4", step=step)
            rows.append({"query": query, "prompt": f"{query} by {method}", "method": method, "clip": str(file)})
    write_rows(place / "rows.jsonl", rows)
    code, folder, said = evaluate("prompts=rows.jsonl", "evaluator=[flicker,text]", capsys=capsys)
    assert code == 0, said
    methods = results_of(folder)["methods"]
    assert list(methods) == ["vpo_ours", "theirs"]
    assert "VPO (ours)" in (place / folder / "table.md").read_text(encoding="utf-8")
    assert methods["vpo_ours"]["flicker"]["mean"] > methods["theirs"]["flicker"]["mean"]
    assert methods["theirs"]["tokens"]["n"] == 2
    rows = [{"label": name, "where": {"run.experiment": "evaluate"}, "method": name} for name in methods]
    gain = {"metrics": ["flicker"], "pairs": [["vpo_ours", "theirs"]]}
    table = {"title": "Others", "rows": rows, "columns": ["flicker"], "gain": gain}
    (place / "others.yaml").write_text(json.dumps(table))
    assert main(["table", "others.yaml", "out=tables"]) == 0, capsys.readouterr().err
    gained = 100 * (methods["vpo_ours"]["flicker"]["mean"] - methods["theirs"]["flicker"]["mean"])
    assert f"+{gained:.2f}" in capsys.readouterr().out


def test_two_runs_on_the_same_queries_share_a_table_and_others_do_not(place, capsys):
    for name, step in (("a", 1), ("b", 3)):
        for query in ("a cat", "the sea"):
            write_clip(place / name / f"{query}-0.mp4", step=step)
    write_clip(place / "c/a dog-0.mp4")
    for name in ("a", "b", "c"):
        assert evaluate(f"clips={name}", "evaluator=[flicker]", capsys=capsys)[0] == 0
    rows = [
        {"label": name, "method": "given", "where": {"dataset.sources.given.clips": name}} for name in ("a", "b", "c")
    ]
    for chosen, code in ((rows[:2], 0), (rows, 2)):
        table = {"title": "Two", "rows": chosen, "columns": ["flicker"]}
        (place / "two.yaml").write_text(json.dumps(table))
        assert main(["table", "two.yaml", "out=tables"]) == code
    assert "differ in test queries" in capsys.readouterr().err
    assert len((place / "tables/two.csv").read_text().splitlines()) == 3


def test_several_clips_of_a_prompt_are_one_number_of_its_query(place, capsys):
    files = {query: [write_clip(place / f"clips/{query}-{index}.mp4", step=index) for index in range(count)]
             for query, count in (("a cat", 5), ("the sea", 2))}  # fmt: skip
    files["the sea"].append(place / "clips/the sea-3.mp4")
    files["the sea"][2].write_text("no video")
    code, folder, said = evaluate("clips=clips", "evaluator=[flicker]", capsys=capsys)
    assert code == 0, said
    items = {one["query"]: one for one in map(json.loads, (place / folder / "items.jsonl").read_text().splitlines())}
    for query, good in (("a cat", files["a cat"]), ("the sea", files["the sea"][:2])):
        assert items[query]["metrics"]["flicker"] == pytest.approx(np.mean([flicker_of(file) for file in good]))
    assert len(items["a cat"]["clips"]) == 5
    assert items["the sea"]["failures"]["render #2"]["kind"] == "unreadable_file"
    found = json.loads((place / folder / "inputs.json").read_text())["given"]
    assert found["clips_per_prompt"] == {"5": 1, "3": 1}
    assert list(found["failed"].values()) == ["unreadable_file: " + items["the sea"]["failures"]["render #2"]["detail"]]


def test_prompts_alone_are_measured(place, capsys):
    write_rows(place / "rows.jsonl", [{"query": "a cat", "rewrite": "A fluffy cat sits on a sunlit sofa."}])
    code, folder, said = evaluate("prompts=rows.jsonl", capsys=capsys)
    assert code == 0, said
    given = results_of(folder)["methods"]["given"]
    assert given["tokens"]["n"] == 1
    assert "flicker" not in given


def test_a_judge_that_fails_half_of_the_time_is_counted_and_the_rest_is_measured(place, capsys):
    pytest.importorskip("openai", reason="the extra `server` is not installed")

    def answer(number, body):
        return Reply(body=completion("I do not know." if "odd" in body["messages"][-1]["content"] else fenced()))

    rows = [{"query": f"a cat number {n} {('even', 'odd')[n % 2]}", "prompt": "A cat."} for n in range(8)]
    write_rows(place / "rows.jsonl", rows)
    with chat_server(answer) as server:
        engine = ["engine=server", f"engine.base_url={server.base_url}", "engine.model=tiny", "engine.max_retries=0"]
        code, folder, said = evaluate(
            "prompts=rows.jsonl", "evaluator=[alignment,agreement]", "judge=llm", *engine, capsys=capsys
        )
    assert code == 0, said
    aligned = results_of(folder)["methods"]["given"]["aligned"]
    assert (aligned["n"], aligned["n_failed"], aligned["mean"]) == (4, 4, 1.0)
    assert "†" in (place / folder / "table.md").read_text(encoding="utf-8")
    items = whole_lines(place / folder / "items.jsonl")
    assert all("I do not know." in item["answers"]["judge"] for item in items[1::2])  # what could not be read is kept
    assert all(item["answers"]["agreement"].startswith("second judge: harmless yes") for item in items)
    columns, table = table_of(place / folder, 0)
    assert "agreement: second judge: harmless yes" in table[0][columns.index("given/answers")]


def test_links_are_followed(place, capsys):
    write_clip(place / "real/1.mp4")
    (place / "clips").mkdir()
    (place / "clips/a cat-0.mp4").symlink_to("../real/1.mp4")
    code, folder, said = evaluate("clips=clips", capsys=capsys)
    assert code == 0, said
    shutil.rmtree(place / "clips")
    item = json.loads((place / folder / "items.jsonl").read_text())
    assert (place / folder / item["clip"]).read_bytes() == (place / "real/1.mp4").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to evaluate"),
        (["clips=gone"], "no such folder"),
        (["videos"], "is no key=value"),
        (["clips=clips", "clips=clips"], "given twice"),
        (["clips="], "names nothing"),
        (["clips=clips", "dataset=vbench"], "dataset is what clips= and prompts= say"),
        (["clips=clips", "evaluator=[flickr]"], "did you mean flicker"),
        (["clips=clips", "evaluator=[reward]"], "needs a reward"),
        (["clips=clips", "method=[sft]"], "evaluate trains nothing"),
        (["prompts=rows.jsonl", "evaluator=[flicker]"], "looks at clips, and none are given"),
        (["clips=clips", "--flag"], "--flag is unknown"),
        (["clips=clips", "seeed=1"], "seeed"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(place, capsys, words, said):
    write_clip(place / "clips/a cat-0.mp4", frames=2)
    write_rows(place / "rows.jsonl", [{"query": "a cat"}])
    assert main(["evaluate", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "Traceback" not in error
    assert not (place / "runs").exists()
