"""Rows of training formats: the query, the given rewrite and the given pair of each."""

import json

import pandas
import pytest

from vpo.dataset.file import FileDataset
from vpo.errors import UserError
from vpo.templates import read_template

ALL = {"sft": 1, "dpo": 0, "test": 0, "max_chars": 2000}
ASK, GOOD, BAD = "a dog", "A brown dog runs over a wet field.", "Dog."
USER, BOT = {"role": "user", "content": ASK}, {"role": "assistant", "content": GOOD}
HUMAN, GPT = {"from": "human", "value": ASK}, {"from": "gpt", "value": GOOD}
WORSE = {"role": "assistant", "content": BAD}
PAIR = {"chosen": GOOD, "rejected": BAD}


def load(path, **columns):
    data = FileDataset(str(path), **ALL, columns=columns or None)
    return data, data.splits()["sft"]


def one(folder, row, **columns):
    (folder / "q.json").write_text(json.dumps([row]))
    _, (query,) = load(folder / "q.json", **columns)
    return query


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASK, "completion": GOOD},  # TRL, prompt and completion
        {"prompt": [USER], "completion": [BOT]},
        {"messages": [USER, BOT]},  # TRL and OpenAI
        {"messages": [{"role": "system", "content": "You write prompts."}, USER, BOT]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ASK}]}, BOT]},
        {"conversations": [HUMAN, GPT]},  # LLaMA-Factory, sharegpt
        {"instruction": ASK, "input": "", "output": GOOD},  # LLaMA-Factory, alpaca
        {"instruction": "Write a prompt for a video.", "input": ASK, "output": GOOD},
        {"instruction": ASK, "input": "", "output": GOOD, "text": "### Instruction: a dog"},
        {"query": ASK, "rewrite": GOOD},
        [ASK, GOOD],  # Prompt-A-Video
        {"messages": [{"role": "user", "content": read_template("optimizer").replace("{}", ASK)}, BOT]},  # VPO
    ],
)  # fmt: skip
def test_an_answer_is_the_given_rewrite(tmp_path, row):
    query = one(tmp_path, row)
    assert (query.text, dict(query.meta)) == (ASK, {"rewrite": GOOD})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASK, "chosen": GOOD, "rejected": BAD},  # TRL as texts, Prompt-A-Video
        {"prompt": [USER], "chosen": [BOT], "rejected": [WORSE]},  # TRL as chats
        {"chosen": [USER, BOT], "rejected": [USER, WORSE]},  # TRL, the prompt in both
        {"prompt": ASK, "messages": [USER, BOT], "chosen": [USER, BOT], "rejected": [USER, WORSE]},  # ultrafeedback_binarized
        {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": BAD}},  # LLaMA-Factory
        {"instruction": ASK, "input": "", "chosen": GOOD, "rejected": BAD},
        {"messages": [{"role": "user", "content": read_template("optimizer").replace("{}", ASK)}], "chosen": BOT,
         "rejected": WORSE},  # VPO, src/process_data.py
        {"Query": ASK, " Chosen": GOOD, "REJECTED": BAD},
    ],
)  # fmt: skip
def test_chosen_and_rejected_are_a_pair_and_the_chosen_one_a_draft(tmp_path, row):
    query = one(tmp_path, row)
    assert (query.text, dict(query.meta)) == (ASK, {"rewrite": GOOD, "pairs": [PAIR]})


def test_a_rewrite_of_its_own_is_the_draft_of_a_pair(tmp_path):
    query = one(tmp_path, {"query": ASK, "rewrite": "A dog.", "chosen": GOOD, "rejected": BAD})
    assert query.meta["rewrite"] == "A dog."


def test_tables_hold_pairs_too(tmp_path):
    frame = pandas.DataFrame(
        [{"prompt": ASK, "chosen": GOOD, "rejected": BAD}, {"prompt": "a cat", "chosen": None, "rejected": None}]
    )
    frame.to_csv(tmp_path / "q.csv", index=False)
    frame.to_parquet(tmp_path / "q.parquet")
    chats = pandas.DataFrame([{"prompt": [USER], "chosen": [BOT], "rejected": [WORSE]}])
    chats.to_parquet(tmp_path / "chats.parquet")
    for name in ("q.csv", "q.parquet"):
        _, (first, second) = load(tmp_path / name)
        assert (first.meta["pairs"], dict(second.meta)) == ([PAIR], {})
    _, (query,) = load(tmp_path / "chats.parquet")
    assert query.meta["pairs"] == [PAIR]


def test_several_rows_of_one_query_give_it_several_pairs(tmp_path):
    rows = [{"prompt": "A dog", **PAIR}, {"prompt": ASK, "chosen": "x", "rejected": "y"}, {"prompt": ASK, **PAIR}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, (query,) = load(tmp_path / "q.jsonl")
    assert query.meta["pairs"] == [PAIR, {"chosen": "x", "rejected": "y"}]
    assert data.left_out == {"duplicates dropped": 1}  # the third row says nothing new


def test_what_is_not_read_is_counted(tmp_path):
    system = {"role": "system", "content": "Be kind."}
    rows = [
        {"messages": [system, USER, BOT]},
        {"instruction": "Expand.", "input": "a cat", "output": "A cat sits."},
        {"prompt": "a fox", "chosen": "same", "rejected": " same "},
        {"messages": [{"role": "user", "content": read_template("fewshot").replace("{}", "a hen")}, BOT]},
        {"messages": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "an owl"}, BOT]},
        {"instruction": "a bee", "output": "A bee hums.", "system": "Be kind."},
        {"prompt": "an elk", "chosen": "An elk runs."},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data, queries = load(tmp_path / "q.jsonl")
    assert [one.text for one in queries] == [ASK, "a cat", "a fox", "a hen", "an owl", "a bee", "an elk"]
    assert "pairs" not in queries[2].meta
    assert data.changed == {
        "system turns not read": 3, "instructions not read": 1, "pairs of equal texts not used": 1,
        "instructions taken off queries": 1, "chosen or rejected answers without the other not read": 1,
    }  # fmt: skip


def test_pairs_keep_their_texts_as_they_are(tmp_path):
    """A rejected text may be rejected for what tidying would take away."""
    rejected = "Dog &amp; <b>dog</b>\n\n  again\u200b"
    assert one(tmp_path, {"prompt": ASK, "chosen": GOOD, "rejected": rejected}).meta["pairs"][0]["rejected"] == rejected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [USER, BOT, USER, BOT]}, "has a chat of several turns; give one question"),
        ({"messages": [BOT]}, "has a chat of several turns"),
        ({"conversations": [{"from": "tool", "value": "x"}, HUMAN]}, "has the turn {'from': 'tool', 'value': 'x'}"),
        ({"conversations": [{"from": "human"}]}, "has the turn {'from': 'human'}"),
        ({"instruction": ASK, "output": GOOD, "history": [["a", "b"]]}, "has a chat of several turns"),
        ({"prompt": ASK, "chosen": GOOD, "rejected": ""}, "has no text under rejected; give both sides of a pair"),
        ({"prompt": ASK, "chosen": 5, "rejected": BAD}, "has 5 under chosen, which is no text"),
        ({"prompt": ASK, "chosen": [BOT], "rejected": [USER]}, "ends with a turn of the user under rejected"),
        ({"chosen": [USER, BOT], "rejected": [{"role": "user", "content": "a cat"}, WORSE]}, "has two questions"),
        ({"prompt": ASK, "completion": BAD, "label": False}, "has an answer that its label calls a bad one"),
        ({"messages": [{"role": "user", "content": " "}, BOT]}, "is not a query"),
        ({"prompt": ASK, "completion": "\ud800"}, "half of a surrogate pair"),
        ({"prompt": ASK, "chosen": GOOD, "rejected": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line(tmp_path, row, message):
    with pytest.raises(UserError) as error:
        one(tmp_path, row)
    assert message in str(error.value)
    assert "entry 1" in str(error.value)
    assert "\n" not in str(error.value)


def test_columns_of_other_names_and_labels(tmp_path):
    row = {
        "id": 7,
        "prompt_en": ASK,
        "prompt": "not this",
        "Answer": GOOD,
        "dimension": ["color"],
        "text": "nor this",
        "n": None,
    }
    query = one(tmp_path, row, query="Prompt_EN", rewrite="answer", labels=["dimension", "text"])
    assert (query.id, query.text) == ("7", ASK)
    assert dict(query.meta) == {"rewrite": GOOD, "dimension": ["color"], "text": "nor this"}
    frame = pandas.DataFrame(
        [{"uuid": "u-1", "caption": ASK, "toxicity": 0.25, "when": pandas.Timestamp("2024-01-02"), "x": 1}]
    )
    frame.to_csv(tmp_path / "q.csv", index=False)
    frame.to_parquet(tmp_path / "q.parquet")
    frame.to_json(tmp_path / "columns.json")
    for name, score in (("q.csv", "0.25"), ("q.parquet", 0.25), ("columns.json", 0.25)):
        _, (query,) = load(tmp_path / name, query="caption", id="uuid", labels=["toxicity"])
        assert (query.id, query.text, dict(query.meta)) == ("u-1", ASK, {"toxicity": score})
    _, (query,) = load(tmp_path / "q.parquet", query="caption", labels=["when"])
    assert query.meta["when"] == "2024-01-02 00:00:00"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": "caption"}, "has no column caption; found query, n"),
        ({"labels": ["m"]}, "has no column 'm', which dataset.columns names"),
        ({"id": "uuid"}, "has no column 'uuid'"),
        ({"text": "query"}, "dataset.columns has the unknown key 'text'"),
        ({"labels": "n"}, "dataset.columns.labels=n must be a list"),
        ({"query": 5}, "5 is no name of a column"),
        ({"labels": ["rewrite"]}, "rewrite is what vpo itself puts beside a query"),
    ],
)
def test_columns_that_are_not_there_are_one_line(tmp_path, columns, message):
    (tmp_path / "q.csv").write_text("query,n\na dog,1\n")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "q.csv", **columns)


@pytest.mark.parametrize(
    ("label", "value", "read"),
    [
        ("aspects", ["gore", " public figures "], ["gore", "public figures"]),
        ("aspects", "gore", ["gore"]),  # and not g, o, r, e
        ("aspects", 3, "has aspects=3, which is not a list of names"),
        ("aspects", ["gore", 3], "which is not a list of names"),
        ("aspects", "", None),
        ("harmless", True, True),
        ("harmless", "False", False),
        ("harmless", "yes", "has harmless='yes', which is not true or false"),
        ("harmless", 1, "which is not true or false"),
        ("sounds_like", "violence", "violence"),
        ("sounds_like", ["violence"], "which is not a text"),
        ("questions", [{"kind": "spatial", "text": "Is it left?"}], [{"kind": "spatial", "text": "Is it left?"}]),
        ("questions", ["Is it left?"], "which is not a list of"),
        ("toxicity", 3, 3),
    ],
)
def test_labels_that_evaluators_read_have_one_form(tmp_path, label, value, read):
    rows = [{"query": ASK, label: value}, {"query": GOOD, label: value or "x"}]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    if isinstance(read, str) and " " in read:
        with pytest.raises(UserError) as error:
            load(tmp_path / "q.json", labels=[label])
        assert (read in str(error.value), "\n" in str(error.value)) == (True, False)
        return
    _, queries = load(tmp_path / "q.json", labels=[label])
    assert dict(queries[0].meta) == ({} if read is None else {label: read})


def test_a_label_that_no_row_has_is_one_line(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"query": "a dog", "n": 1}\n{"query": "a cat"}\n')
    _, queries = load(tmp_path / "q.jsonl", labels=["n"])
    assert [dict(one.meta) for one in queries] == [{"n": 1}, {}]
    with pytest.raises(UserError, match=r"no row has the label 'm', which dataset\.columns\.labels names"):
        load(tmp_path / "q.jsonl", labels=["m"])
