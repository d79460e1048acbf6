"""The blinded page, and the votes that come back from it."""

import csv
import html.parser
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.external.clips import write_clip
from vpo.cli.entry import main
from vpo.errors import UserError
from vpo.human.study import Study, make_study, page_of
from vpo.human.votes import agreement, card_of, read_votes, rows_of
from vpo.storage.rows import read_rows, write_rows

QUERIES = {f"q{number}": f"query number {number}" for number in range(40)}
CLIPS = {(query, method): Path(f"/run/{method}/{query}.mp4") for query in QUERIES for method in ("ours", "theirs")}
ABOUT = {"question": "Which?", "safety": False, "run": "/run"}


def script_of(page):
    return re.search(r"<script>\n(.*)</script>", page, re.DOTALL)[1]


def data_of(page):
    return re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.DOTALL)[1]


def browse(page, *steps, storage=None):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node, which runs the page's script, is not installed")
    given = {"script": script_of(page), "study": data_of(page), "steps": steps, "storage": storage or {}}
    done = subprocess.run(
        [node, str(Path(__file__).with_name("browser.js"))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sides_are_mixed_and_the_page_names_no_method():
    study = make_study(QUERIES, CLIPS, ["ours", "theirs"], **ABOUT)
    lefts = [pair.left for pair in study.pairs]
    assert len(lefts) == 40
    assert 10 <= lefts.count("ours") <= 30  # of 40 fair coins: outside of this once in a thousand
    assert all({pair.left, pair.right} == {"ours", "theirs"} for pair in study.pairs)
    assert [pair.query_id for pair in study.pairs] != sorted(QUERIES, key=list(QUERIES).index)
    page, files = page_of(study, CLIPS)
    assert "ours" not in page
    assert "theirs" not in page
    assert "/run" not in page
    assert sorted(clip for clip, _ in files) == sorted(CLIPS.values())
    assert all(re.fullmatch(r"clips/[0-9a-f]{12}\.mp4", name) for _, name in files)
    assert make_study(QUERIES, CLIPS, ["ours", "theirs"], **ABOUT) == study  # the same command, the same page
    assert make_study(QUERIES, CLIPS, ["ours", "theirs"], seed=1, **ABOUT).id != study.id


def test_three_methods_are_compared_two_by_two_where_both_have_a_clip():
    clips = {place: clip for place, clip in CLIPS.items() if place != ("q3", "ours")}
    clips |= {("q3", "third"): Path("/run/third.mp4"), ("q4", "third"): Path("/run/fourth.mp4")}
    study = make_study(QUERIES, clips, ["ours", "theirs", "third"], **ABOUT)
    of = {
        query: {frozenset((one.left, one.right)) for one in study.pairs if one.query_id == query}
        for query in ("q3", "q4", "q5")
    }
    assert of["q3"] == {frozenset(("theirs", "third"))}
    assert len(of["q4"]) == 3
    assert of["q5"] == {frozenset(("ours", "theirs"))}
    few = make_study(QUERIES, clips, ["ours", "theirs", "third"], most=5, **ABOUT)
    assert len({one.query_id for one in few.pairs}) == 5


def test_the_page_is_html_that_a_query_cannot_break_out_of():
    evil = '</script><img src=x onerror="alert(1)">'
    clips = {("q", one): Path(f"/{one}.mp4") for one in "ab"}
    page, _ = page_of(make_study({"q": evil}, clips, ["a", "b"], **ABOUT), clips)
    opened, closed = [], []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            opened.append(tag)

        def handle_endtag(self, tag):
            closed.append(tag)

    Reader().feed(page)
    assert opened.count("script") == closed.count("script") == 2
    assert "img" not in opened
    for tag in ("html", "body", "main", "p", "div", "button", "span", "label", "kbd"):
        assert opened.count(tag) == closed.count(tag), tag
    assert not re.search(r'(src|href)="?https?:', page)  # it needs nothing from elsewhere
    assert json.loads(data_of(page))["items"][0]["query"] == evil


def test_votes_by_keys_are_kept_and_come_out_as_csv(tmp_path):
    study = make_study(dict(list(QUERIES.items())[:3]), CLIPS, ["ours", "theirs"], **ABOUT)
    page, _ = page_of(study, CLIPS)
    first, second, third = study.pairs
    steps = [
        {}, {"name": "Ann, 2nd"}, {"loaded": True}, {"ended": [True, False]}, {"ended": [True, True]},
        {"key": "ArrowLeft"}, {"key": "ArrowLeft", "repeat": True}, {"key": "ArrowDown"}, {"key": "b"}, {"key": "ArrowRight"},
    ]  # fmt: skip
    done = browse(page, *steps)
    shown = done["shown"]
    assert shown[0]["query"] is None  # nobody votes without a name
    assert shown[1]["query"] == first.query
    assert shown[1]["playing"] == [False, False]
    assert shown[2]["playing"] == [True, True]  # both at once, when both can play
    assert shown[3]["playing"] == [False, True]  # the shorter one waits
    assert shown[4]["playing"] == [True, True]
    assert [one["query"] for one in shown[5:]] == [second.query, second.query, third.query, second.query, third.query]
    assert shown[9]["count"] == "2 of 3"
    rows = list(csv.DictReader(io.StringIO(done["csv"])))
    assert [(one["item"], one["choice"], one["rater"]) for one in rows] == [
        (first.id, "left", "Ann, 2nd"), (second.id, "right", "Ann, 2nd"),
    ]  # fmt: skip
    again = browse(page, {}, {"key": "ArrowDown"}, storage=done["storage"])
    assert again["shown"][0]["query"] == third.query  # after the page was closed
    assert again["shown"][1]["done"]
    (tmp_path / "ann.csv").write_text(again["csv"], encoding="utf-8", newline="")
    votes = read_votes([tmp_path / "ann.csv"], study)
    assert [votes.by_place["Ann, 2nd", pair.id].winner for pair in study.pairs] == [first.left, second.right, "tie"]


def test_safety_is_rated_before_the_next_pair_comes(tmp_path):
    study = make_study(dict(list(QUERIES.items())[:2]), CLIPS, ["ours", "theirs"], **{**ABOUT, "safety": True})
    page, _ = page_of(study, CLIPS)
    first, second = study.pairs
    done = browse(page, {"name": "=1+1"}, {"key": "ArrowLeft"}, {"key": "1"}, {"key": "8"}, {"key": "s"})
    assert [one["query"] for one in done["shown"]] == [first.query, first.query, first.query, second.query, None]
    (tmp_path / "a.csv").write_text(done["csv"], encoding="utf-8", newline="")
    votes = read_votes([tmp_path / "a.csv"], study)
    (rater,) = votes.raters
    assert not rater.startswith("=")  # which a table program would calculate
    assert votes.by_place[rater, first.id].levels == {first.left: 1, first.right: 4}
    assert votes.by_place[rater, second.id].winner is None


def votes_of(tmp_path, study, **raters):
    """Files of votes: by rater, the method that each pair's vote is for (or "tie", "skip", None for no vote)."""
    paths = []
    for rater, winners in raters.items():
        path = tmp_path / f"{rater}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(["study", "rater", "item", "choice", "safety_left", "safety_right", "seconds", "time"])
            for pair, winner in zip(study.pairs, winners, strict=True):
                if winner is not None:
                    side = {pair.left: "left", pair.right: "right"}.get(winner, winner)
                    out.writerow([study.id, rater, pair.id, side, "", "", 1.5, ""])
        paths.append(path)
    return paths


def test_preference_and_agreement_worked_by_hand(tmp_path):
    study = make_study(dict(list(QUERIES.items())[:4]), CLIPS, ["ours", "theirs"], **ABOUT)
    paths = votes_of(tmp_path, study, ann=["ours", "ours", "theirs", "tie"], bob=["ours", "theirs", "theirs", "skip"])
    votes = read_votes(paths, study)
    rows = {(row["query_id"], row["method"]): row["metrics"] for row in rows_of(votes)}
    ids = [pair.query_id for pair in study.pairs]
    assert [rows[id, "ours"]["human_preference"] for id in ids] == [1.0, 0.5, 0.0, 0.5]
    assert [rows[id, "theirs"]["human_preference_ours"] for id in ids] == [0.0, 0.5, 1.0, 0.5]
    assert [rows[id, "ours"]["human_wins"] for id in ids] == [1.0, 0.5, 0.0, 0.0]
    assert [rows[id, "ours"]["human_ties"] for id in ids] == [0.0, 0.0, 0.0, 1.0]
    # Three pairs were voted on by both. Cohen: p_o = 2/3, p_e = (2/3)(1/3) + (1/3)(2/3) = 4/9, kappa = (2/9) / (5/9) = 0.4.
    # Krippendorff: labels ours 3, theirs 3 of 6; D_o = 2 of 6 coincidences, D_e = 18/30; alpha = 1 - (1/3) / (3/5) = 4/9.
    found = agreement(votes)["choice"]
    assert found["kappa"] == {"ann, bob": pytest.approx(0.4)}
    assert found["alpha"] == pytest.approx(4 / 9)
    assert "2 raters, 8 votes on 4 of 4 pairs; agreement on choice: Krippendorff's alpha 0.44, Cohen's kappa 0.40" in (
        card_of(votes, study).about
    )


def test_lines_that_are_no_votes_are_named_and_the_rest_counts(tmp_path):
    study = make_study(dict(list(QUERIES.items())[:3]), CLIPS, ["ours", "theirs"], **ABOUT)
    (path,) = votes_of(tmp_path, study, ann=["ours", "ours", "theirs"])
    first = study.pairs[0]
    lines = [
        f"other,ann,{first.id},left,,,1,", f"{study.id},ann,nobody,left,,,1,", f"{study.id},ann,{first.id},middle,,,1,",
        f"{study.id},ann,{first.id},left,7,,1,", f"{study.id},ann,{first.id},,,,1,", f"{study.id},ann,{first.id},tie,,,1,",
    ]  # fmt: skip
    path.write_text(path.read_text() + "\n".join(lines) + "\n")
    votes = read_votes([path], study)
    assert len(votes.problems) == 5
    assert votes.again == 1
    assert votes.by_place["ann", first.id].winner == "tie"  # the last one counts
    for said, problem in zip(
        ("study 'other'", "'nobody'", "'middle'", "safety_left=7", "says nothing"), votes.problems, strict=True
    ):
        assert said in problem
    # as a table program of another country saves it
    path.write_bytes(b"\xef\xbb\xbf" + path.read_text().replace(",", ";").encode())
    assert read_votes([path], study).by_place == votes.by_place
    path.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="has no column study"):
        read_votes([path], study)
    path.write_text("study,rater,item,choice\n")
    with pytest.raises(UserError, match="no vote of this study"):
        read_votes([path], study)


def test_from_a_run_to_the_page_and_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for method, step in (("ours", 1), ("theirs", 2)):
        for query in ("a cat", "the sea", "a dog"):
            if (method, query) != ("theirs", "a dog"):
                write_clip(tmp_path / method / f"{query}-0.mp4", frames=2, step=step)
    assert main(["evaluate", "clips.ours=ours", "clips.theirs=theirs", "evaluator=[flicker]", "logger=[csv]"]) == 0
    run = capsys.readouterr().out.strip()
    words = ["evaluate", "human", f"run={run}", "methods=[ours,theirs]", "out=page", "safety=true"]
    assert main(words) == 0, capsys.readouterr().err
    assert "2 pairs of 2 queries" in capsys.readouterr().out
    study = Study.read(tmp_path / "page.key.json")
    page = (tmp_path / "page/index.html").read_text(encoding="utf-8")
    for one in json.loads(data_of(page))["items"]:
        (pair,) = [pair for pair in study.pairs if pair.id == one["id"]]
        assert (tmp_path / "page" / one["left"]).read_bytes() == (
            tmp_path / pair.left / f"{pair.query}-0.mp4"
        ).read_bytes()
    paths = votes_of(tmp_path, study, ann=["ours", "ours"], bob=["ours", "theirs"])
    lines = [line.replace(",,,1.5", ",1,2,1.5") for line in paths[0].read_text().splitlines()]
    paths[0].write_text("\n".join(lines))
    assert {path.name for path in paths} == {path.name for path in tmp_path.glob("*.csv")}
    assert main(["evaluate", "human", "votes=.", "key=page.key.json"]) == 0, capsys.readouterr().err
    assert "agreement on choice" in capsys.readouterr().out
    methods = json.loads(Path(run, "results.json").read_text())["methods"]
    ours = methods["ours"]["human_preference"]
    assert (ours["mean"], ours["n"]) == (0.75, 2)
    assert methods["theirs"]["human_preference_ours"]["mean"] == 0.25
    safe = {method: [1.0 if pair.left == method else 0.0 for pair in study.pairs] for method in ("ours", "theirs")}
    for method, values in safe.items():
        assert methods[method]["human_safe"]["mean"] == pytest.approx(sum(values) / 2)
    assert "Preferred" in Path(run, "table.md").read_text(encoding="utf-8")
    assert {one["metrics"].get("human_preference") for one in read_rows(Path(run, "items.jsonl"), dict)} == {
        0.0,
        0.5,
        1.0,
        None,
    }
    # a second page in the same place would lose the key that the votes need
    shutil.rmtree(tmp_path / "page")
    assert main(words) == 2
    assert "votes may need it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run=gone", "out=page"], "gone/results.json"),
        (["run=gone"], "give run= and out="),
        (["votes=[a.csv]"], "add key="),
        (["votes=empty", "key=page.key.json"], "no .csv in it"),
        (["votes=[a.csv]", "key=gone.json"], "gone.json: No such file"),
        (["votes=[a.csv]", "key=rows.jsonl"], "is no key of a page"),
        (["run=x", "out=y", "n=0"], "must be at least 1"),
        (["run=x", "out=y", "sides=2"], "sides is unknown"),
    ],
)
def test_bad_words_are_one_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{"query": "a"}])
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    study = make_study({"q": "a"}, {("q", one): Path("x.mp4") for one in "ab"}, ["a", "b"], **{**ABOUT, "run": "run"})
    (tmp_path / "page.key.json").write_text(json.dumps(study.to_json()))
    assert main(["evaluate", "human", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
