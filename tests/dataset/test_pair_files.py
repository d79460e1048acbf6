"""Pairs as files of other trainers: what is written is what these read, and what we read back."""

import json
import random

import datasets
import pytest
from trl.data_utils import is_conversational

from vpo.cli.entry import main
from vpo.dataset.file import FileDataset
from vpo.dataset.pair_files import FORMATS, SUFFIXES, write_pairs
from vpo.feedback.given import given_pairs
from vpo.feedback.pairing import numbered
from vpo.records import Pair
from vpo.storage.rows import write_rows
from vpo.templates import read_template

WAYS = [(name, form) for name, forms in FORMATS.items() for form in forms]
ORIGIN = {
    "rule": {"name": "refined over flawed", "per_query": 1},
    "rejected": {"verdict": {"reasons": []}},
    "versions": {"vpo": "0"},
}
PIECES = [
    "a dog", "\n", '"', "{}", "[[end]]", "<|eot_id|>", "User:", "é", "犬", "\u2028", "🎬", "\\n", "-ar 16:9", "Video Prompt:", ",",
]  # fmt: skip


def some_pairs(count, seed=0):
    """Pairs of texts that files and templates could stumble over; two of a query stand together, as a run writes them."""
    rng = random.Random(seed)

    def text():
        return " ".join(rng.choices(PIECES, k=rng.randint(1, 8))).strip() or "x"

    pairs = []
    for number in range(count):
        query = f"query {number} {text()}".strip()
        for source in rng.sample(("text", "sampled", "video"), k=rng.randint(1, 3)):
            scores = (1.5, 0.25) if source == "video" else (None, None)
            pairs.append(
                Pair(f"q-{number}", query, f"good {text()}", f"bad {text()}", source, *scores, provenance=ORIGIN)
            )
    return numbered(pairs)


def read_back(path):
    data = FileDataset(str(path), sft=0, dpo=1, test=0, max_chars=10_000)
    return given_pairs(data.splits()["dpo"])


@pytest.mark.parametrize("template", [None, "optimizer", "tiny"])
@pytest.mark.parametrize(("name", "form"), WAYS)
def test_what_is_written_is_read_back(tmp_path, name, form, template):
    pairs = some_pairs(40)
    path, *_ = write_pairs(pairs, tmp_path / f"pairs{SUFFIXES[name]}", name, form, template)
    again = read_back(path)
    assert again == pairs
    assert [one.provenance for one in again] == [one.provenance for one in pairs]


def test_a_query_that_looks_like_an_instruction_stays_itself(tmp_path):
    """An export without a template takes none off when it is read."""
    (pair,) = numbered([Pair("q", read_template("tiny").format("a dog"), "good", "bad", "text", provenance=ORIGIN)])
    for template in (None, "tiny", "optimizer"):
        path, *_ = write_pairs([pair], tmp_path / "pairs.jsonl", "trl", None, template)
        assert read_back(path) == [pair]


def test_trl_takes_its_forms_for_what_they_are(tmp_path):
    pairs = some_pairs(3)
    for form, chat in (("chat", True), ("text", False)):
        (path,) = write_pairs(pairs, tmp_path / f"{form}.jsonl", "trl", form, "optimizer")
        rows = datasets.Dataset.from_list([json.loads(line) for line in path.read_text().split("\n")[:-1]])
        assert {"prompt", "chosen", "rejected"} <= {*rows.column_names}
        assert is_conversational(rows[0]) is chat
    assert rows[0]["prompt"] == read_template("optimizer").replace("{}", pairs[0].query)


@pytest.mark.parametrize(
    ("form", "row", "columns"),
    [
        ("sharegpt", {"conversations": [{"from": "human", "value": "a dog"}], "chosen": {"from": "gpt", "value": "good"},
                      "rejected": {"from": "gpt", "value": "bad"}},
         {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}),
        ("alpaca", {"instruction": "a dog", "input": "", "chosen": "good", "rejected": "bad"},
         {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"}),
    ],
)  # fmt: skip
def test_llama_factory_finds_the_file_by_its_info(tmp_path, form, row, columns):
    """Rows and info as data/README.md of LLaMA-Factory shows them for preference data sets."""
    path, info = write_pairs(
        [Pair("q", "a dog", "good", "bad", "text")], tmp_path / "mine.json", "llama_factory", form, None
    )
    (written,) = json.loads(path.read_text())
    assert {name: written[name] for name in row} == row
    assert json.loads(info.read_text()) == {
        "vpo_pairs": {"file_name": "mine.json", "ranking": True, "formatting": form, "columns": columns}
    }


@pytest.mark.parametrize(
    "odd",
    [
        {"rejected": "abc"},
        {"chosen": {"verdict": "no"}},
        {"rejected": {"verdict": {"reasons": [{"aspect": "helpful"}]}}},
        {"rejected": {"verdict": {"reasons": "none"}}},
        {"chosen": {"score": {"dimensions": {"x": "much"}}}},
        {"chosen_score": "5"},
        {"versions": []},
        {"rule": "mine"},
    ],
)
def test_a_provenance_of_another_form_is_not_ours(tmp_path, odd):
    """It is read by cards later on, which expect what an export writes."""
    told = json.dumps({"template": None, "source": "text", **odd})
    rows = [{"prompt": "a dog", "chosen": "A", "rejected": "B", "provenance": told}]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    (pair,) = read_back(tmp_path / "q.json")
    assert (pair.source, pair.chosen_score, set(pair.provenance)) == ("given", None, {"rule"})


def test_pairs_of_others_are_given_ones(tmp_path):
    rows = [
        {"prompt": "a dog", "chosen": "A", "rejected": "B", "provenance": "found in a book"},
        {"prompt": "a dog", "chosen": "C", "rejected": "D", "provenance": {"source": "text"}},
        {
            "prompt": "a cat",
            "chosen": "E",
            "rejected": "F",
            "provenance": '{"source": "mine", "template": null}',
            "id": "cat",
        },
        {"prompt": "a fox"},
    ]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    pairs = read_back(tmp_path / "q.json")
    assert [(one.chosen, one.rejected, one.source, one.number) for one in pairs] == [
        ("A", "B", "given", 0), ("C", "D", "given", 1), ("E", "F", "given", 0),
    ]  # fmt: skip
    assert len({one.id for one in pairs}) == 3
    assert all(one.provenance["rule"] == {"name": "given by the data set"} for one in pairs)
    assert pairs[2].query_id == "cat"


@pytest.fixture
def run(tmp_path):
    """A run folder and a store with pairs, as a run leaves them."""
    folder, pairs = tmp_path / "runs/x", some_pairs(4)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: 0\npaths: {{store: '{tmp_path / 'store'}'}}\n")
    add(tmp_path, "aaaa", pairs)
    (folder / "entries.json").write_text(json.dumps(["pair/aaaa", "queries/bbbb"]))
    return folder, pairs


def add(folder, key, pairs):
    made = folder / "store/pair" / key
    made.mkdir(parents=True)
    write_rows(made / "pairs.jsonl", pairs)
    (made / "manifest.json").write_text("{}")


def test_the_command_lists_and_writes_a_runs_pairs(run, tmp_path, capsys):
    folder, pairs = run
    assert main(["pairs", "ls", str(folder)]) == 0
    assert f"pair/aaaa  {len(pairs):>7} pairs: " in capsys.readouterr().out
    for place in (folder, tmp_path / "store/pair/aaaa"):
        assert main(["pairs", "export", str(place), "format=trl", f"to={tmp_path}/out/p.jsonl", "force=true"]) == 0
        assert read_back(tmp_path / "out/p.jsonl") == pairs
    assert f"{len(pairs)} pairs written: {tmp_path}/out/p.jsonl" in capsys.readouterr().out


def test_one_of_several_sets_of_pairs_is_named(run, tmp_path, capsys):
    folder, _ = run
    more = some_pairs(2, seed=1)
    add(tmp_path, "cccc", more)
    (folder / "entries.json").write_text(json.dumps(["pair/aaaa", "pair/cccc"]))
    export = ["pairs", "export", str(folder), "format=trl", f"to={tmp_path}/p.jsonl"]
    assert main(export) == 2
    assert "say which, as in result=pair/" in capsys.readouterr().err
    assert main([*export, "result=pair/cccc"]) == 0
    assert read_back(tmp_path / "p.jsonl") == more
    assert main([*export, "result=pair/dddd", "force=true"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{run}"], "say in which format, as in format=trl"),
        (["export", "{run}", "format=parquet"], "invalid choice: 'parquet'"),
        (["export", "{run}", "format=trl", "form=alpaca", "to={tmp}/p.jsonl"], "form=alpaca is none of format=trl; choose"),
        (["export", "{run}", "format=trl", "template=mine", "to={tmp}/p.jsonl"], "template 'mine' does not exist"),
        (["export", "{run}", "format=trl", "to={tmp}/p.json"], "format=trl is written as .jsonl"),
        (["export", "{run}", "format=trl", "to={run}/config.yaml"], "config.yaml is there already"),
        (["export", "{run}", "format=trl", "to={run}/config.yaml/p.jsonl"], "name another file"),
        (["export", "{run}", "format=trl", "paths.store={tmp}/gone", "to={tmp}/p.jsonl"], "its pairs are not in"),
        (["ls", "{tmp}/nowhere"], "no such folder"),
        (["ls", "{tmp}"], "is no run folder"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_done_is_one_line(run, tmp_path, capsys, arguments, message):
    folder, _ = run
    assert main(["pairs", *(one.format(run=folder, tmp=tmp_path) for one in arguments)]) == 2
    line = capsys.readouterr().err
    assert message in line
    assert line.count("\n") == 1
    assert not (tmp_path / "p.jsonl").exists()


def test_a_run_without_pairs_says_so(run, capsys):
    folder, _ = run
    (folder / "entries.json").write_text('["queries/bbbb"]')
    assert main(["pairs", "ls", str(folder)]) == 2
    assert "the run made no pairs" in capsys.readouterr().err
