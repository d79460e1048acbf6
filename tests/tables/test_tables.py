"""Tables of one run and over several, and their refusals."""

import csv
import io
import json

import pytest
import yaml

from vpo.cards import WEIGHTED_MEAN, EvaluatorCard, Metric
from vpo.cli.table import table_command
from vpo.errors import UserError
from vpo.evaluator.alignment import Alignment
from vpo.evaluator.flicker import Flicker
from vpo.evaluator.motion import Motion
from vpo.evaluator.reward import RewardScore
from vpo.evaluator.safety import Safety
from vpo.results.gains import measured
from vpo.results.metrics import Metrics
from vpo.sketch.evaluator import SceneAccuracy
from vpo.tables.comparison import compare
from vpo.tables.formats import Cell, Table, TableRow, to_csv, to_latex, to_markdown, to_text
from vpo.tables.run_tables import run_tables, write


def result(mean, n=4, n_failed=0, ci95=0.1):
    return {"mean": mean, "n": n, "n_failed": n_failed, "ci95": ci95}


EVALUATORS = {
    "alignment": Alignment, "safety": Safety, "reward": RewardScore, "scene": SceneAccuracy, "flicker": Flicker,
    "motion": Motion,
}  # fmt: skip
CARDS = {name: one.card.to_json() for name, one in EVALUATORS.items()}


def cards(*names):
    return {name: CARDS[name] for name in names}


RESULTS = {
    "evaluators": cards("alignment", "reward", "motion"),
    "methods": {
        "sft": {"aligned": result(0.5), "unsafe": result(0.25), "motion": result(1.0), "reward_Quality": result(1.0)},
        "dpo": {
            "aligned": result(0.75),
            "unsafe": result(0.25),
            "reward": result(None, 0, 4, None),
            "mine": result(0.125),
        },
    },
    "run": {"experiment": "smoke", "seed": 3},
}


def cells(table):
    return {row.label: dict(zip(table.keys, (cell.text for cell in row.cells), strict=True)) for row in table.rows}


def test_metrics_are_printed_in_their_own_unit_and_direction():
    metrics = Metrics(json.loads(json.dumps(CARDS)))
    assert metrics["aligned"].number(0.947) == "94.7"
    assert metrics["aligned"].heading == "Aligned % ↑"
    assert metrics["unsafe"].heading == "Unsafe % ↓"
    assert metrics["motion"].heading == "Motion px"
    assert metrics["reward_Stability"].heading == "Reward: stability ↑"
    assert metrics["scene_colour"].number(0.5) == "50.0"
    assert metrics["novel"] == Metric("novel", "novel")
    assert metrics["novel"].better is None
    assert metrics["novel"].number(0.12345) == "0.123"
    assert metrics["aligned"].number(-0.0001, sign=True) == "0.0"
    assert metrics["aligned"].number(0.05, sign=True) == "+5.0"


def test_metrics_come_in_the_order_of_the_cards_with_their_parts():
    shuffled = {"zzz", "scene_count", "reward_Quality", "scene", "words", "reward", "aligned"}
    assert Metrics(CARDS).in_order(shuffled) == [
        "aligned", "words", "reward", "reward_Quality", "scene", "scene_count", "zzz",
    ]  # fmt: skip
    turned = dict(reversed(CARDS.items()))
    assert Metrics(turned).in_order(shuffled) == [
        "scene", "scene_count", "reward", "reward_Quality", "aligned", "words", "zzz",
    ]  # fmt: skip


def test_a_metric_of_its_own_is_no_part_of_another_one():
    card = EvaluatorCard("a", "1", (Metric("scene", "Scene", parts=True), Metric("scene_cut", "Cuts", better="lower")))
    metrics = Metrics({"a": card.to_json()})
    assert metrics["scene_cut"].heading == "Cuts ↓"
    assert metrics.whole_of("scene_cut") is None
    assert metrics.whole_of("scene_light") == metrics["scene"]
    assert metrics.whole_of("aligned_x") is None


def test_the_main_table_has_the_known_metrics_and_a_dash_where_nothing_was_measured():
    main, detail = run_tables(RESULTS, {"dpo": "VPO"})
    assert main.keys == ["aligned", "unsafe", "reward", "motion"]
    assert cells(main)["sft"] == {
        "aligned": "50.0 ± 10.0",
        "unsafe": "25.0 ± 10.0",
        "reward": "-",
        "motion": "1.00 ± 0.10",
    }
    assert cells(main)["VPO"]["reward"] == "-"
    assert not main.complete
    assert [row.label for row in detail.rows] == ["Reward: quality ↑", "mine"]
    assert main.title == "Results of smoke, seed 3"


def test_an_evaluator_that_could_measure_nothing_keeps_its_column():
    methods = {"a": {"aligned": result(0.5)}, "b": {"aligned": result(0.25)}}
    (main,) = run_tables({"methods": methods, "evaluators": cards("alignment", "scene")})
    assert main.keys == ["aligned", "scene"]
    assert [row.cells[1].text for row in main.rows] == ["-", "-"]
    assert main.notes[1:] == ["n = 4 (Scene 0).", "Failed measurements: none."]
    assert "| a      | **50.0 ± 10.0** |         - |" in to_markdown(main)


def test_results_of_an_older_version_are_printed_under_plain_names():
    """They hold no cards, so neither unit nor direction is known, and nothing is best."""
    (main,) = run_tables({"methods": RESULTS["methods"]})
    assert main.headings == ["aligned", "unsafe", "motion", "reward_Quality", "reward", "mine"]
    assert cells(main)["dpo"]["aligned"] == "0.750 ± 0.100"
    assert not any(cell.bold for row in main.rows for cell in row.cells)


def test_columns_follow_the_evaluators_of_the_config():
    (main,) = run_tables(
        {"methods": {"a": {"aligned": result(0.5), "motion": result(1)}}, "evaluators": cards("motion", "alignment")}
    )
    assert main.keys == ["motion", "aligned"]


def test_the_best_is_bold_in_its_direction_and_a_tie_of_all_is_not():
    main, _ = run_tables(RESULTS)
    bold = {row.label: [cell.bold for cell in row.cells] for row in main.rows}
    assert bold == {"sft": [False, False, False, False], "dpo": [True, False, False, False]}
    methods = {"a": {"unsafe": result(0.1)}, "b": {"unsafe": result(0.2)}}
    lower = run_tables({"methods": methods, "evaluators": cards("alignment")})[0]
    assert [row.cells[0].bold for row in lower.rows] == [True, False]


def test_the_footer_tells_n_and_what_failed():
    main, _ = run_tables(RESULTS)
    assert main.notes[1:] == ["n = 4 (Reward 0).", "Failed measurements: Reward of dpo 4."]


TABLE = Table(
    "A & B", "Method", ["Aligned % ↑"], ["aligned"],
    [TableRow("sft_more", [Cell("50.0 ± 1.0", {"mean": 0.5, "n": 4}, bold=True)]), TableRow("x|y", [Cell()])],
    notes=["Mean ± half of something; bold: best."], sources=["a/b (12ab)"],
)  # fmt: skip


def test_markdown():
    assert to_markdown(TABLE) == (
        "**A & B**\n\n"
        "| Method   |    Aligned % ↑ |\n"
        "|----------|---------------:|\n"
        "| sft_more | **50.0 ± 1.0** |\n"
        "| x\\|y     |              - |\n\n"
        "Mean ± half of something; bold: best.  \n\n"
        "<sub>From a/b (12ab).</sub>\n"
    )


def test_latex_escapes_what_tex_would_read():
    text = to_latex(TABLE)
    assert r"\caption{A \& B. Mean $\pm$ half of something; bold: best.}" in text
    assert r"Method & Aligned \% $\uparrow$ \\" in text
    assert r"sft\_more & \textbf{50.0 $\pm$ 1.0} \\" in text
    assert text.startswith("% a/b (12ab)\n")


def test_csv_holds_the_unrounded_numbers():
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == {"method": "sft_more", "aligned_mean": "0.5", "aligned_n": "4"}
    assert rows[1] == {"method": "x|y", "aligned_mean": "", "aligned_n": ""}


def test_plain_text_prints_the_means_alone():
    lines = to_text(TABLE).splitlines()
    assert lines[2].split() == ["Method", "Aligned"]
    assert lines[5].split() == ["sft_more", "50.0*"]
    assert lines[-1] == "Mean; *: best."


def test_write_gives_every_format(tmp_path):
    names = {path.name for path in write(run_tables(RESULTS), tmp_path, "table")}
    assert names == {"table.md", "table.tex", "table.csv", "table.png", "table_detail.csv", "table_detail.png"}
    assert (tmp_path / "table_detail.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "table.md").read_text().count("| Metric") == 1


# Tables over several runs: three queries, two seeds, one value a query, so that every mean can be seen at a glance.

SPEC = {
    "title": "Feedback",
    "columns": ["aligned", {"metric": "scene", "label": "Scene accuracy"}],
    "rows": [
        {"label": "SFT", "method": "sft", "where": {"feedback.video": True}},
        {"label": "DPO", "method": "dpo", "where": {"feedback.video": True}, "paper": {"aligned": 94.8}},
    ],
    "gain": {"metrics": ["aligned"], "pairs": [["DPO", "SFT"]]},
}


def make_run(root, name, seed, values, video=True, queries=("q1", "q2", "q3"), evaluators=None, **config):
    """`values`: {method: one `aligned` per query}; None is a failure. `evaluators`: cards, where they are not the usual ones."""
    folder = root / "ablation" / name
    folder.mkdir(parents=True)
    config = {"seed": seed, "feedback": {"video": video}, "judge": {"lexicon": "a"}, "dataset": {"seed": seed}} | config
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    items = [
        {"query_id": query, "query": f"text of {query}", "method": method, "metrics": {"aligned": value}}
        for method, aligned in values.items()
        for query, value in zip(queries, aligned, strict=True)
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    methods = {}
    for method, aligned in values.items():
        read = [value for value in aligned if value is not None]
        mean = sum(read) / len(read) if read else None
        methods[method] = {"aligned": result(mean, n=len(read), n_failed=len(aligned) - len(read))}
    results = {"methods": methods, "evaluators": cards("alignment", "scene") if evaluators is None else evaluators}
    (folder / "results.json").write_text(json.dumps({**results, "run": {"experiment": "ablation"}}))
    return folder


def write_spec(root, **changes):
    path = root / "table.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}))
    return path


@pytest.fixture
def runs(tmp_path):
    return [
        make_run(tmp_path, "s0", 0, {"sft": [0, 0, 1], "dpo": [1, 1, 1]}),
        make_run(tmp_path, "s1", 1, {"sft": [0, 1, 1], "dpo": [1, 1, 1]}),
    ]


def test_a_row_averages_over_seeds_beside_the_papers_number(runs, tmp_path):
    main, gain = compare(runs, write_spec(tmp_path, seeds=3, note="Sketch world."))
    # sft: 1/3 and 2/3, mean 1/2, sample deviation (1/3) / sqrt(2) = 0.2357
    # "≈": of three queries no difference is distinguishable
    assert cells(main)["SFT"] == {"aligned": "50.0 ± 23.6 ≈", "scene": "-", "seeds": "2"}
    assert cells(main)["DPO"]["aligned"] == "100.0 ± 0.0 (94.8)"
    assert main.headings == ["Aligned % ↑", "Scene accuracy % ↑", "Seeds"]
    assert "Incomplete: 3 seeds are due, SFT has 2, DPO has 2." in main.notes
    assert main.sources[0].startswith("ablation/s0 (")
    assert len(main.sources) == 2
    # per query, over the seeds: 1, 1/2, 0, so the mean gain is 1/2; seed 0 has +2/3 and seed 1 has +1/3
    fields = gain.rows[0].cells[0].fields
    assert (fields["mean"], fields["seeds"], fields["same_sign"], fields["n"]) == (0.5, 2, 2, 3)
    assert gain.rows[0].label == "DPO − SFT"
    # the deviation is 1/2, so Student's t gives 4.303 / (2 sqrt(3)) = 1.242 to both sides; a share gains 1 at the most
    assert gain.rows[0].cells[0].text == "+50.0 [-74.2, +100.0] 2/2 ≈"


def test_a_table_says_how_it_was_made_and_what_each_stage_took(runs, tmp_path):
    stages = {
        "s0": [("sft/a", "", 100.4), ("sft/b", "sft_more", 20.0), ("optimize/c", "sft", 7.0), ("queries/d", "", 0.2)],
        "s1": [("sft/e", "", 1200.6), ("evaluate/f", "sft scene", 2.0), ("evaluate/g", "dpo scene", 3.0)],
        "s2": [("sft/a", "", 100.4), ("start/h", "", 0.9)],  # another run of seed 0, which found its SFT in the store
    }
    other = make_run(tmp_path, "s2", 0, {"grpo": [1, 1, 1]})
    for folder in [*runs, other]:
        results = json.loads((folder / "results.json").read_text())
        results["run"]["stages"] = [
            {"entry": entry, "label": label, "seconds": seconds} for entry, label, seconds in stages[folder.name]
        ]
        (folder / "results.json").write_text(json.dumps(results))
    rows = [{"label": label, "method": label.lower()} for label in ("SFT", "DPO", "GRPO")]
    main, _, times = compare([*runs, other], write_spec(tmp_path, rows=rows, command="vpo run -m seed=0,1", times=True))
    assert "Made by: vpo run -m seed=0,1" in main.notes
    assert cells(times) == {
        "sft": {"seed_0": "100", "seed_1": "1,201"},
        "sft sft_more": {"seed_0": "20", "seed_1": "-"},
        "optimize sft": {"seed_0": "7", "seed_1": "-"},
        "evaluate scene": {"seed_0": "-", "seed_1": "5"},
        "Stages of at most a second": {"seed_0": "1", "seed_1": "-"},  # 0.2 and 0.9
        "All": {"seed_0": "128", "seed_1": "1,206"},  # 100.4 + 20 + 7 + 1.1; 1200.6 + 5
    }
    assert times.rows[-1].cells[0].fields == {"seconds": 128.5}
    assert times.suffix == "times"


def test_one_seed_shows_the_interval_over_the_queries(runs, tmp_path):
    main, _ = compare(runs[:1], write_spec(tmp_path))
    assert cells(main)["SFT"]["aligned"] == "33.3 ± 10.0 ≈"
    assert "interval" in main.notes[0]


def test_differences_that_chance_explains_are_marked(tmp_path):
    """A difference on ten, on seven and on one query."""
    queries = [f"q{number}" for number in range(10)]
    values = {"sft": [0] * 10, "worse": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "dpo": [1] * 10, "other": [1] * 9 + [0]}
    runs = [make_run(tmp_path, "s0", 0, values, queries=queries)]
    rows = [{"label": name, "method": name, "where": {}} for name in values]
    pairs = [["dpo", "sft"], ["dpo", "worse"], ["dpo", "other"]]
    spec = write_spec(tmp_path, rows=rows, columns=["aligned"], gain={"metrics": ["aligned"], "pairs": pairs})
    main, gain = compare(runs, spec)
    marked = {row.label: "≈" in row.cells[0].text for row in main.rows}
    assert marked == {"sft": False, "worse": False, "dpo": False, "other": True}
    fields = [row.cells[0].fields for row in gain.rows]
    exact = [
        2 / 2**10,
        2 / 2**7,
        1.0,
    ]  # of all choices of signs the two that reach the sum; the one query alone tells nothing
    assert [one["p"] for one in fields] == pytest.approx(exact, abs=0.004)
    assert [one["p_holm"] for one in fields] == pytest.approx([3 * exact[0], 2 * exact[1], 1.0], abs=0.01)
    assert ["≈" in row.cells[0].text for row in gain.rows] == [False, False, True]
    assert any("Holm" in note for note in gain.notes)


def test_a_mean_of_which_many_measurements_failed_is_marked(tmp_path):
    values = {"sft": [0.5] * 98 + [None] * 2, "dpo": [0.5] * 97 + [None] * 3}  # 2 % and 3 %
    queries = [f"q{number}" for number in range(100)]
    main, _ = compare([make_run(tmp_path, "s0", 0, values, queries=queries)], write_spec(tmp_path))
    assert cells(main)["SFT"]["aligned"] == "50.0 ± 10.0"
    assert cells(main)["DPO"]["aligned"] == "50.0† ± 10.0 (94.8)"
    assert "†: over 2% of the measurements failed." in main.notes


def test_failures_are_counted_in_the_table_and_in_the_gains(tmp_path):
    runs = [
        make_run(tmp_path, "s0", 0, {"sft": [0, None, 1], "dpo": [1, 1, None]}),
        make_run(tmp_path, "s1", 1, {"sft": [None, None, None], "dpo": [1, 0, 1]}),
    ]
    main, gain = compare(runs, write_spec(tmp_path))
    assert "Failed measurements, over all seeds: Aligned of SFT 4, Aligned of DPO 1." in main.notes
    assert main.rows[0].cells[0].fields["n_failed"] == 4  # the seed without any mean included
    # of six (query, seed) both sides measured one, q1 of seed 0
    assert "Left out, as a measurement failed on either side: Aligned of DPO − SFT 5." in gain.notes
    assert gain.rows[0].cells[0].fields["n_failed"] == 5
    assert gain.rows[0].cells[0].fields["n"] == 1


def test_a_gain_of_what_is_no_mean_over_queries_is_refused(runs, tmp_path):
    card = EvaluatorCard("a", "1", (Metric("aligned", "A", aggregate="torchmetrics.SumMetric"),)).to_json()
    runs = [make_run(tmp_path / "weighted", "s0", 0, {"sft": [0, 0, 1], "dpo": [1, 1, 1]}, evaluators={"a": card})]
    with pytest.raises(UserError, match=r"gain.metrics has 'aligned', which is no mean over the queries"):
        compare(runs, write_spec(tmp_path, columns=["aligned"]))
    spec = write_spec(tmp_path, columns=["aligned"], gain={"metrics": [], "pairs": []})
    (main,) = compare(runs, spec)
    assert cells(main)["SFT"]["aligned"] == "0.333 ± 0.100"


def test_a_gain_of_weighted_means_weighs_the_queries(tmp_path):
    card = EvaluatorCard("a", "1", (Metric("aligned", "A", aggregate=WEIGHTED_MEAN),)).to_json()
    run = make_run(tmp_path, "s0", 0, {"sft": [0, 0, 1], "dpo": [1, 0, 1]}, evaluators={"a": card})
    items = [json.loads(line) for line in (run / "items.jsonl").read_text().splitlines()]
    for item in items:
        item["weights"] = {"aligned": {"q1": 2.0, "q2": 1.0, "q3": 1.0}[item["query_id"]]}
    (run / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    _, gain = compare([run], write_spec(tmp_path, columns=["aligned"]))
    assert gain.rows[0].cells[0].fields["mean"] == 0.5  # 3/4 - 1/4


def test_runs_by_another_version_of_an_evaluator_are_refused(runs, tmp_path):
    newer = {**cards("alignment", "scene")}
    newer["alignment"] = {**newer["alignment"], "version": "2"}
    other = make_run(tmp_path, "s2", 2, {"sft": [0, 0, 0], "dpo": [1, 0, 1]}, evaluators=newer)
    with pytest.raises(UserError, match="differ in evaluator versions"):
        compare([*runs, other], write_spec(tmp_path))


def test_runs_of_an_older_version_are_compared_under_plain_names(tmp_path):
    runs = [make_run(tmp_path, "s0", 0, {"sft": [0, 0, 1], "dpo": [1, 1, 1]}, evaluators={})]
    main, gain = compare(runs, write_spec(tmp_path, columns=["aligned"]))
    assert main.headings == ["aligned", "Seeds"]
    assert cells(main)["DPO"]["aligned"] == "1.000 ± 0.100 (94.800)"
    assert gain.headings == ["aligned"]


def test_a_row_without_runs_prints_a_dash_and_the_papers_number(runs, tmp_path):
    rows = [*SPEC["rows"], {"label": "GRPO", "method": "grpo", "paper": {"aligned": 90.0}}]
    main, gain = compare(
        runs, write_spec(tmp_path, rows=rows, gain={"metrics": ["aligned"], "pairs": [["GRPO", "SFT"]]})
    )
    assert cells(main)["GRPO"] == {"aligned": "- (90.0)", "scene": "-", "seeds": "0"}
    assert cells(gain)["GRPO − SFT"] == {"aligned": "-"}
    assert not main.complete


def test_runs_that_no_row_asks_for_may_differ(runs, tmp_path):
    other = make_run(tmp_path, "text", 0, {"sft": [0, 0, 0]}, video=False, judge={"lexicon": "b"})
    main, _ = compare([*runs, other], write_spec(tmp_path))
    assert cells(main)["SFT"]["seeds"] == "2"


@pytest.mark.parametrize(
    ("change", "named"),
    [({"judge": {"lexicon": "b"}}, "judge"), ({"queries": ("q1", "q2", "q4")}, "test queries")],
)
def test_runs_that_were_not_measured_alike_are_refused(runs, tmp_path, change, named):
    other = make_run(tmp_path, "s2", 2, {"sft": [0, 0, 0], "dpo": [1, 0, 1]}, **change)
    with pytest.raises(UserError, match=f"differ in {named}"):
        compare([*runs, other], write_spec(tmp_path))


def test_another_number_of_measurements_is_refused(runs, tmp_path):
    results = json.loads((runs[1] / "results.json").read_text())
    results["methods"]["dpo"]["aligned"]["n"] = 2
    (runs[1] / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="aligned was measured on 3 queries"):
        compare(runs, write_spec(tmp_path))


def test_two_runs_with_one_seed_are_refused(runs, tmp_path):
    again = make_run(tmp_path, "again", 1, {"sft": [0, 0, 0], "dpo": [1, 0, 1]})
    with pytest.raises(UserError, match="two runs with seed 1"):
        compare([*runs, again], write_spec(tmp_path))


def test_an_unfinished_run_is_named(runs, tmp_path):
    (runs[0] / "results.json").unlink()
    with pytest.raises(UserError, match=r"s0/results\.json"):
        compare(runs, write_spec(tmp_path))


def test_a_damaged_run_that_no_row_takes_is_a_warning(runs, tmp_path, caplog):
    other = make_run(tmp_path, "text", 0, {"sft": [0, 0, 0]}, video=False)
    (other / "results.json").write_text('{"methods": ')
    main, _ = compare([*runs, other], write_spec(tmp_path))
    assert cells(main)["SFT"]["seeds"] == "2"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{other}/results.json is damaged (Expecting value")
    assert line.endswith("no row takes it, so it is left out")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("results.json", "{"),
        ("results.json", '{"run": {}}'),
        ("results.json", '{"methods": {"sft": {"aligned": {"mean": 1}}}}'),
        ("results.json", '{"methods": {}, "evaluators": {"alignment": {"metrics": ["aligned"]}}}'),
        ("config.yaml", "a: [1"),
        ("config.yaml", "no seed"),
        ("items.jsonl", '{"query'),
    ],
)
def test_a_damaged_run_that_a_row_takes_is_named(runs, tmp_path, file, content):
    (runs[1] / file).write_text(content)
    with pytest.raises(UserError) as raised:
        compare(runs, write_spec(tmp_path))
    assert str(raised.value).startswith(f"{runs[1] / file} is damaged (")
    assert "\n" not in str(raised.value)


def test_part_of_a_metric_that_no_run_has_yet_may_be_asked_for_while_no_row_has_a_run(runs, tmp_path):
    rows = [{"label": "GRPO", "method": "grpo"}]
    (main,) = compare(
        runs, write_spec(tmp_path, rows=rows, columns=["reward_Stability"], gain={"metrics": [], "pairs": []}, seeds=3)
    )
    assert cells(main)["GRPO"] == {"reward_Stability": "-", "seeds": "0"}
    assert "Incomplete: 3 seeds are due, GRPO has 0." in main.notes


def test_a_table_that_cannot_be_written_is_one_line(runs, tmp_path):
    with pytest.raises(UserError, match=r"table: /proc/x: .*; set out="):
        table_command([str(write_spec(tmp_path)), f"paths.runs={tmp_path}", "out=/proc/x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titel": "x"}, r"table\.yaml: the file has an unknown key 'titel'"),
        ({"columns": [{"metric": "aligned", "unit": "%"}]}, r"columns\[0\] has an unknown key 'unit'"),
        ({"rows": [{"label": "SFT"}]}, r"rows\[0\] lacks the key 'method'"),
        ({"seeds": "five"}, "seeds of the file must be a int"),
        ({"rows": [SPEC["rows"][0], SPEC["rows"][0]]}, "two rows have the label 'SFT'"),
        ({"gain": {"metrics": [], "pairs": [["DPO", "GRPO"]]}}, "not two labels"),
        ({"rows": [{"label": "SFT", "method": "sft", "paper": {"safe": 1}}], "gain": None}, "which is no column"),
        ({"rows": [{"label": "SFT", "method": "sft", "where": {"feedbak": 1}}], "gain": None}, "no run's config has"),
        (
            {"rows": [{"label": "SFT", "method": "dop"}], "gain": None},
            "no run has the method 'dop' of row 'SFT'; did you mean dpo",
        ),
        ({"columns": ["aligned", "alignd"]}, "no run has the metric 'alignd'; did you mean aligned. known are aligned"),
        ({"gain": {"metrics": ["alignd"], "pairs": []}}, "no run has the metric 'alignd'"),
        ({"gain": {"metrics": [], "pairs": [1]}}, "gain.pairs has 1, which are not two labels"),
        ({"times": "yes"}, "times of the file must be a bool"),
        ({"seeds": True}, "seeds of the file must be a int"),
        ({"gain": {"metrics": [1], "pairs": []}}, "gain.metrics has 1, which is no metric"),
        ({"rows": [{"label": "SFT", "method": "sft", "where": {1: 1}}], "gain": None}, "has the key 1"),
        (
            {"rows": [{"label": "SFT", "method": "sft", "paper": {"aligned": "x"}}], "gain": None},
            "aligned: 'x', which is no",
        ),
    ],
)
def test_a_malformed_declaration_is_one_line_with_file_and_key(runs, tmp_path, changes, message):
    changes = {key: value for key, value in {**SPEC, **changes}.items() if value is not None}
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(changes))
    with pytest.raises(UserError, match=message) as raised:
        compare(runs, path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_interval_that_lies_unevenly_is_printed_by_its_ends():
    """100 % safe of 100 queries: Wilson's interval goes from 96.3 % to 100 %, so that "± 1.8" would say too much below."""
    every = {"mean": 1.0, "n": 100, "n_failed": 0, "ci95": 0.0185, "low": 0.963, "high": 1.0}
    half = {"mean": 0.55, "n": 100, "n_failed": 0, "ci95": 0.096, "low": 0.452, "high": 0.644}
    (main,) = run_tables({"methods": {"a": {"safe": every}, "b": {"safe": half}}, "evaluators": cards("safety")})
    assert [row.cells[0].text for row in main.rows] == ["100.0 [96.3, 100.0]", "55.0 ± 9.6"]
    assert "[ends]: where they lie unevenly, as those of a share near 0 or 100 % do." in main.notes
    assert "100.0*" in to_text(main)
    assert "96.3" not in to_text(main)
    assert "[ends]" not in to_text(main)
    gain = Table("T", "D", ["A"], ["a"], [TableRow("x − y", [Cell("+5.0 [+1.0, +9.0] 4/5 ≈")])])
    assert "+5.0 [+1.0, +9.0] 4/5 ≈" in to_text(gain)


def trained_results(**trained_on):
    methods = {
        "original": {"aligned": result(0.5), "reward": result(1.0), "scene": result(0.5)},
        "dpo": {"aligned": result(0.7), "reward": result(2.0), "scene": result(0.25)},
    }
    run = {"trained_on": trained_on}
    return {"methods": methods, "evaluators": cards("alignment", "reward", "scene"), "run": run}


def test_what_a_method_was_trained_on_is_marked_and_the_held_out_metric_named():
    (main,) = run_tables(trained_results(alignment=["dpo"], reward=["dpo"]), {"dpo": "VPO"})
    assert main.headings == ["Aligned % ↑ ‡", "Reward ↑ ‡", "Scene % ↑"]
    assert main.notes[-1] == "‡: by the judge or reward that trained VPO, or chose among its prompts; held out: Scene."
    assert r"\ddag{}" in to_latex(main)
    (main,) = run_tables(trained_results(alignment=["dpo"], reward=["dpo"], scene=["dpo"]))
    assert main.notes[-1].endswith("; no ranked metric of this table is held out.")
    for older in ({}, {"trained_on": {}}):
        (main,) = run_tables(trained_results() | {"run": older})
        assert not any("‡" in text for text in [*main.headings, *main.notes])


def test_rows_of_one_query_are_one_in_a_comparison():
    """Two clips of the first query, of 2 and 6 frames; the second query's one clip failed in the second run."""

    def item(query, value, weight=None):
        return {"query_id": query, "method": "m", "metrics": {"x": value}, "weights": {"x": weight} if weight else {}}

    runs = [
        [item("a", 1.0, 2.0), item("a", 0.5, 6.0), item("b", 4.0), item("b", None)],
        [item("a", 3.0), item("b", None)],
    ]
    # (2 * 1 + 6 * 0.5) / 8
    assert measured(runs, "m", "x") == {"a": [(0.625, 8.0), (3.0, 1.0)], "b": [(4.0, 1.0), None]}
