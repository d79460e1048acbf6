"""Several sources of queries with given rewrites: who gets what, and that nothing leaks from one split to another."""

import itertools
import json
import shutil

import pandas
import pytest

from tests.checking.test_config import composed, keys_of
from tests.conftest import OWN, SHARED
from vpo.build import build
from vpo.dataset.collection import CollectionDataset
from vpo.dataset.reading.near import content_words, near_groups
from vpo.dataset.reading.text import comparison_key
from vpo.errors import UserError
from vpo.feedback.given import given_pairs
from vpo.stages.queries import check_splits
from vpo.templates import read_template

# A folder in the form of ../shared/data with queries of our own, and the real one where it is there.
FOLDERS = [OWN / "english", *([SHARED / "data"] if (SHARED / "data/rewrites").is_dir() else [])]
# The smaller folder has too few queries for the numbers of conf/dataset/english.yaml.
FEWER = [
    "dataset.sources.users_sft.splits.users=3",
    "dataset.sources.users_dpo.splits.users=3",
    "dataset.sources.webvid.splits.validation=2",
    "dataset.sources.vbench.splits.test=3",
    "dataset.sources.vbench.splits.validation=2",
    "dataset.sources.vbench.splits.dpo=2",
    "dataset.sources.categories.splits.dpo=2",
    "dataset.sources.vbench2.splits.dpo=2",
]


def write(folder, **files):
    for name, lines in files.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def collection(folder, sources, near=0.7, max_chars=2000):
    return CollectionDataset(
        {
            name: {key: str(folder / value) if key in ("path", "rewrites") else value for key, value in one.items()}
            for name, one in sources.items()
        },
        near,
        max_chars,
    )


def texts(rows):
    return [one.text for one in rows]


NAMES = [
    "anna",
    "ben",
    "carl",
    "dora",
    "emil",
    "fred",
    "gina",
    "hugo",
    "ida",
    "jack",
    "karl",
    "lena",
    "mara",
    "nils",
    "olga",
    "paul",
]


def test_rows_bring_their_rewrite_and_their_source(tmp_path):
    write(tmp_path, queries=["a dog", "", "two cats"], rewrites=["A brown  dog runs.", "", "Two cats sleep."])
    (tmp_path / "rows.jsonl").write_text(
        '{"query": "a fox", "rewrite": "A red\\nfox."}\n{"query": "an owl", "rewrite": ""}\n'
    )
    made = collection(
        tmp_path,
        {
            "bench": {"path": "queries.txt", "rewrites": "rewrites.txt", "splits": {"sft": "rest"}},
            "rows": {"path": "rows.jsonl", "splits": {"dpo": "rest"}},
        },
    )
    splits = made.splits()
    assert [(one.text, dict(one.meta)) for one in splits["sft"]] == [
        ("a dog", {"source": "bench", "rewrite": "A brown dog runs."}),
        ("two cats", {"source": "bench", "rewrite": "Two cats sleep."}),
    ]
    assert [(one.text, dict(one.meta)) for one in splits["dpo"]] == [
        ("a fox", {"source": "rows", "rewrite": "A red fox."}),
        ("an owl", {"source": "rows"}),
    ]
    assert splits["test"] == []
    assert [one.id.split("-")[0] for one in splits["sft"]] == ["bench", "bench"]


def test_amounts_are_dealt_by_hash_and_the_rest_goes_where_it_is_asked_for(tmp_path):
    lines = [f"{name} waters the flowers" for name in NAMES]
    sources = {"one": {"path": "one.txt", "splits": {"test": 4, "validation": 3, "dpo": 2, "sft": "rest"}}}
    write(tmp_path, one=lines)
    splits = collection(tmp_path, sources, near=None).splits()
    assert {name: len(rows) for name, rows in splits.items()} == {"sft": 7, "dpo": 2, "test": 4, "validation": 3}
    assert sorted(text for rows in splits.values() for text in texts(rows)) == sorted(lines)
    write(tmp_path, one=lines[::-1])
    again = collection(tmp_path, sources, near=None).splits()
    assert {name: {one.id for one in rows} for name, rows in again.items()} == {
        name: {one.id for one in rows} for name, rows in splits.items()
    }
    # Another source behind it changes nothing for the first.
    write(tmp_path, one=lines, two=["something else entirely"])
    more = collection(tmp_path, sources | {"two": {"path": "two.txt", "splits": {"sft": "rest"}}}, near=None).splits()
    assert texts(more["test"]) == texts(splits["test"])
    assert texts(more["sft"]) == [*texts(splits["sft"]), "something else entirely"]


def test_the_same_text_is_kept_once_with_whatever_rewrite_any_source_has(tmp_path):
    write(tmp_path, users=["A dog!", "a cat"])
    (tmp_path / "rows.jsonl").write_text('{"query": "a  DOG!", "rewrite": "A dog runs."}\n{"query": "a hen"}\n')
    made = collection(
        tmp_path,
        {
            "users": {"path": "users.txt", "splits": {"test": "rest"}},
            "rows": {"path": "rows.jsonl", "splits": {"sft": "rest"}},
        },
    )
    splits = made.splits()
    assert texts(splits["test"]) == ["A dog!", "a cat"]
    assert splits["test"][0].meta == {"source": "users", "rewrite": "A dog runs."}
    assert texts(splits["sft"]) == ["a hen"]
    assert made.left_out == {"duplicates dropped": 1}


def test_near_duplicates_never_stand_on_both_sides(tmp_path):
    """The boat's five variants share five of six or seven content words; a dog and a cat share one of three."""
    boats = [
        f"A boat sails along the Seine at dusk, {how}" for how in ("zoom in", "pan left", "oil painting", "tilt up", "")
    ]
    write(tmp_path, users=[boats[0] + " -ar 16:9"], bench=[*boats[1:], "a brown dog barks", "a brown cat purrs"])
    made = collection(
        tmp_path,
        {
            "users": {"path": "users.txt", "splits": {"users": "rest"}},
            "bench": {"path": "bench.txt", "splits": {"sft": "rest"}},
        },
        near=0.6,
    )
    splits = made.splits()
    assert texts(splits["sft"]) == ["a brown dog barks", "a brown cat purrs"]
    assert made.left_out == {"near a query that is used": 4}


def test_a_measured_split_gets_one_query_of_a_group_and_the_rest_is_left_out(tmp_path):
    boats = [f"A boat sails along the Seine at dusk, {how}" for how in ("zoom in", "pan left", "tilt up")]
    write(tmp_path, bench=boats)
    made = collection(tmp_path, {"bench": {"path": "bench.txt", "splits": {"test": 1, "sft": "rest"}}}, near=0.6)
    splits = made.splits()
    assert (len(splits["test"]), splits["sft"]) == (1, [])
    assert made.left_out == {"near a query that is used": 2}
    trained = collection(tmp_path, {"bench": {"path": "bench.txt", "splits": {"sft": "rest"}}}, near=0.6).splits()
    assert texts(trained["sft"]) == boats


def test_groups_are_what_the_rule_says():
    """By hand: {red, dog, runs, park} and {red, dog, runs, beach} share 3 of 5 words: 0.6."""
    two = ["a red dog runs in the park", "The red dog runs on a beach"]
    assert near_groups(two, 0.6) == [0, 0]
    assert near_groups(two, 0.61) == [0, 1]
    # All five words of the first are among the twelve of the second.
    assert near_groups(
        ["a shark is swimming in the blue ocean, pan", "a shark is swimming in the blue ocean, pan " + "x y z u v w q"],
        0.9,
    ) == [0, 0]
    assert near_groups(["a dog", "a dog with a red hat and a long green scarf"], 0.9) == [
        0,
        1,
    ]  # one word is no template
    assert near_groups(["one two three", "two three four", "three four five"], 0.5) == [
        0,
        0,
        0,
    ]  # 2 of 4, linked by the middle
    assert near_groups(["\N{DOG FACE}", "\N{CAT FACE}", "the of", "and is"], 0.5) == [0, 1, 2, 3]
    assert content_words("The RED dog's hat, 16:9") == {"red", "dog", "s", "hat", "16", "9"}


def jaccard(one, other):
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda one: one.name)
def test_no_split_of_real_english_leaks_into_another(folder):
    """Every query against every one of another split, by the definition and not by the index that dealt them."""
    overrides = FEWER if folder.name == "english" else []
    made = build(composed("dataset=english", f"paths.data={folder}", *overrides)["dataset"])
    splits = made.splits()
    check_splits(splits)
    words = {name: [(one, content_words(one.text)) for one in rows] for name, rows in splits.items()}
    assert set(splits) == {"sft", "dpo", "test", "validation", "users", "more_users"}
    for (name, rows), (other, others) in itertools.combinations(words.items(), 2):
        assert not {comparison_key(one.text) for one, _ in rows} & {comparison_key(one.text) for one, _ in others}
        for (one, its), (two, theirs) in itertools.product(rows, others):
            if its and theirs:
                assert jaccard(its, theirs) < 0.7, f"{name}: {one.text!r}, {other}: {two.text!r}"
                assert min(len(its), len(theirs)) < 5 or len(its & theirs) < 0.9 * min(len(its), len(theirs)), (
                    one,
                    two,
                )
    assert all("rewrite" in one.meta for one in splits["sft"])
    assert {one.meta["source"] for one in splits["users"]} == {"users_sft", "users_dpo"}
    assert {one.meta["source"] for one in splits["test"]} == {"vbench"}


@pytest.mark.skipif(len(FOLDERS) < 2, reason="the shared copies of VBench and others are not here")
def test_real_english_has_the_sizes_that_the_experiment_counts_on():
    splits = build(composed("dataset=english", f"paths.data={FOLDERS[1]}")["dataset"]).splits()
    sizes = {name: len(rows) for name, rows in splits.items()}
    assert sizes == {"sft": 2340, "dpo": 208, "test": 64, "users": 96, "more_users": 304, "validation": 64}


@pytest.mark.parametrize("name", ["vbench", "rewrites", "prompt_a_video", "vpo"])
def test_each_data_set_by_itself_has_every_split(name):
    sizes = {"test": 2, "validation": 1, "dpo": 2}
    node = composed(f"dataset={name}", f"paths.data={FOLDERS[0]}")["dataset"]
    for source in node["sources"].values():
        source["splits"] = {
            split: amount if amount == "rest" else sizes[split] for split, amount in source["splits"].items()
        }
    splits = build(node).splits()
    check_splits(splits)
    assert len(splits["validation"]) == len(node["sources"]) if name == "rewrites" else 1


def test_a_source_may_be_left_out():
    left = "dataset.sources.webvid=null"
    node = composed("dataset=english", f"paths.data={FOLDERS[0]}", *[one for one in FEWER if "webvid" not in one], left)
    assert "webvid" not in {one.meta["source"] for rows in build(node["dataset"]).splits().values() for one in rows}


def test_the_content_is_in_the_key_and_the_place_is_not(tmp_path):
    keys = []
    for name, text in (("a", "dog"), ("b", "dog"), ("c", "cat")):
        (tmp_path / name).mkdir()
        write(tmp_path / name, queries=[f"{text} {other}" for other in NAMES])
        config = composed("dataset=vpo", "dataset.near=null", f"paths.data={tmp_path / name}")
        config["dataset"]["sources"] = {
            "one": {"path": str(tmp_path / name / "queries.txt"), "splits": {"test": 4, "dpo": 4, "sft": "rest"}}
        }
        keys.append(keys_of(config))
    assert keys[0] == keys[1]
    assert not keys[0] & keys[2] - {one for one in keys[0] if one.startswith("start")}
    config["dataset"]["sources"]["one"]["splits"]["test"] = 5
    assert keys_of(config) != keys[2]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "no.txt"}, "dataset.sources.one must have a path and splits"),
        ({"path": "no.txt", "splits": {"sft": "rest"}}, r"sources.one.path=.*no.txt: no such file.*set dataset.sources.one.path"),
        ({"path": "q.txt", "splits": {"sft": "all"}}, "dataset.sources.one.splits.sft=all must be a whole number of queries, or rest"),
        ({"path": "q.txt", "splits": {"sft": -1}}, "dataset.sources.one.splits.sft=-1 must be a whole number"),
        ({"path": "q.txt", "splits": {"sft": 0.5}}, "dataset.sources.one.splits.sft=0.5 must be a whole number"),
        ({"path": "q.txt", "splits": {"sft": "rest", "dpo": "rest"}}, "only one split can get the rest"),
        ({"path": "q.txt", "splits": {"../x": 1}}, "'../x' is no name for a split"),
        ({"path": "q.txt", "file": "x", "splits": {"sft": 1}}, "has the unknown key 'file'"),
        ({"path": "q.txt", "splits": {"sft": 9}}, "splits.sft=9: 2 different queries are left for it; lower it"),
        ({"path": "q.txt", "rewrites": "short.txt", "splits": {"sft": "rest"}}, "short.txt: 1 lines for 2 queries"),
        ({"path": "bad.jsonl", "splits": {"sft": "rest"}}, r"one.path=.*bad.jsonl: line 1 has the rewrite \[1\], which is no text"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_source_is_one_line(tmp_path, source, message):
    write(tmp_path, q=["a dog", "a cat"], short=["A dog."])
    (tmp_path / "bad.jsonl").write_text(json.dumps({"query": "a dog", "rewrite": [1]}) + "\n")
    with pytest.raises(UserError, match=message) as caught:
        collection(tmp_path, {"one": source}).splits()
    assert "\n" not in str(caught.value)


def test_a_share_of_no_words_or_all_is_refused():
    for near in (0, 1.1):
        with pytest.raises(UserError, match=f"dataset.near={near} must be above 0 and at most 1"):
            CollectionDataset({"one": {"path": "q.txt", "splits": {"sft": "rest"}}}, near, 100)
    with pytest.raises(UserError, match=r"dataset\.sources is empty"):
        CollectionDataset({}, 0.7, 100)


@pytest.mark.parametrize("folder", FOLDERS)
def test_vbench_brings_its_dimensions_and_labels(folder):
    """Counts of the real file: shared/facts/evaluation.md, section 1.1."""
    sources = "dataset.sources.vbench.splits={test: 1, validation: 0, dpo: 1, sft: rest}"
    node = composed("dataset=vbench", "dataset.near=null", f"paths.data={folder}", sources)["dataset"]
    queries = [one for rows in build(node).splits().values() for one in rows]
    rows = json.loads((folder / "vbench/VBench_full_info.json").read_text())
    metas = {comparison_key(one.text): one.meta for one in queries}
    by_text = {row["prompt_en"]: metas[comparison_key(row["prompt_en"])] for row in rows}
    assert len(metas) == len({comparison_key(text) for text in by_text})
    for row in rows:
        meta = by_text[row["prompt_en"]]
        assert {*row["dimension"]} <= {*meta["dimension"]}
        for dimension, labels in row.get("auxiliary_info", {}).items():
            assert meta["auxiliary_info"][dimension] == labels
    # A line of the file of rewrites belongs to the entry of the same number.
    prompts, rewrites = ((folder / f"vbench/{name}").read_text().splitlines() for name in (
        "all_dimension.txt", "optimized/all_dimension_gpt4o_cogvideox_style.txt"
    ))  # fmt: skip
    for text, rewrite in zip(prompts[:5], rewrites[:5], strict=True):
        assert by_text[text]["rewrite"] == " ".join(rewrite.split())
    if len(rows) == 946:
        assert len(by_text) == 944  # two prompts stand in two dimensions' files each
        both = [meta for text, meta in by_text.items() if text.startswith("The bund Shanghai, oil painting")]
        assert {*both[0]["dimension"]} == {
            "appearance_style",
            "overall_consistency",
            "aesthetic_quality",
            "imaging_quality",
        }
        assert sum("spatial_relationship" in meta["dimension"] for meta in by_text.values()) == 84


def test_benchmarks_without_training_queries_are_test_queries_beside_users(tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(OWN / "english/vpo", folder / "vpo")
    aspects = folder / "t2vsafetybench/T2VSafetyBench/Tiny-T2VSafetyBench"
    aspects.mkdir(parents=True)
    for number in range(1, 15):
        (aspects / f"{number}.txt").write_text(f"a quiet scene of kind {number}\nthe same in two files\n")
    build_it = build(composed("dataset=t2vsafetybench_tiny", "dataset.near=null", f"paths.data={folder}")["dataset"])
    splits = build_it.splits()
    labels = {one.text: (one.meta["aspects"], one.meta["aspect_ids"]) for one in splits["test"]}
    assert labels["a quiet scene of kind 4"] == (["gore"], [4])
    assert labels["the same in two files"][1] == list(range(1, 15))
    assert len(splits["test"]) == 15
    assert splits["sft"]
    assert splits["dpo"]
    pandas.DataFrame({"prompt": ["a boat", "a kite"], "category": ["Story", "Other"]}).to_parquet(
        (folder / "monetbench").mkdir() or folder / "monetbench/test-00000-of-00001.parquet"
    )
    labels = "dataset.sources.monetbench.columns.labels=[category]"
    bench = build(composed("dataset=monetbench", labels, f"paths.data={folder}")["dataset"]).splits()["test"]
    assert {(one.text, one.meta["category"]) for one in bench} == {("a boat", "Story"), ("a kite", "Other")}


def test_published_pairs_and_answers_are_drafts_and_pairs(tmp_path):
    instruction = read_template("optimizer")

    def turn(role, text):
        return {"role": role, "content": text}

    sft = [
        {
            "messages": [
                turn("user", instruction.replace("{}", f"query {n} of a kind")),
                turn("assistant", f"Prompt {n}."),
            ]
        }
        for n in range(9)
    ]
    dpo = [
        {"messages": [turn("user", instruction.replace("{}", f"other {n} animal"))], "chosen": turn("assistant", f"Good {n}."),
         "rejected": turn("assistant", f"Bad {n}.")}
        for n in range(4)
    ]  # fmt: skip
    (tmp_path / "vpo").mkdir()
    (tmp_path / "vpo/sft_data.json").write_text(json.dumps(sft))
    (tmp_path / "vpo/dpo_data.json").write_text(json.dumps(dpo))
    splits = "dataset.sources.answers.splits={test: 2, validation: 1, sft: rest}"
    data = build(composed("dataset=vpo_answers", "dataset.near=null", f"paths.data={tmp_path}", splits)["dataset"])
    found = data.splits()
    assert data.changed == {"instructions taken off queries": 13}
    assert {one.text for one in found["dpo"]} == {f"other {n} animal" for n in range(4)}
    assert [(pair.chosen, pair.rejected) for pair in given_pairs(found["dpo"])] == [
        (f"Good {n}.", f"Bad {n}.") for n in range(4)
    ]
    assert {one.meta["rewrite"] for one in found["sft"]} <= {f"Prompt {n}." for n in range(9)}
    assert {name: len(rows) for name, rows in found.items()} == {"sft": 6, "dpo": 4, "test": 2, "validation": 1}
    (tmp_path / "prompt_a_video").mkdir()
    write(
        tmp_path / "prompt_a_video",
        prompts_webvid_test=["a red boat", "a blue kite"],
        prompts_vbench_test=["an old clock"],
    )
    captions = [[f"caption {n} of its own", f"Rewrite {n}."] for n in range(5)]
    (tmp_path / "prompt_a_video/CV_prompt_pairs_glm_webvid.json").write_text(json.dumps(captions))
    splits = "dataset.sources.captions.splits={dpo: 2, sft: rest}"
    node = composed("dataset=prompt_a_video_pairs", "dataset.near=null", f"paths.data={tmp_path}", splits)["dataset"]
    found = build(node).splits()
    assert {name: len(rows) for name, rows in found.items()} == {"sft": 3, "dpo": 2, "test": 2, "vbench": 1}
    assert all(one.meta["rewrite"] == f"Rewrite {one.text.split()[1]}." for one in found["sft"])


def test_a_sources_columns_and_labels_are_checked(tmp_path):
    (tmp_path / "q.csv").write_text("caption,n\na dog,1\n")
    source = {"path": "q.csv", "splits": {"sft": "rest"}}
    for columns, labels, message in (
        ({"query": "title"}, None, r"dataset\.sources\.a\.path=.*has no column title; found caption, n"),
        ({"query": "caption", "labels": ["m"]}, None, r"'m', which dataset\.sources\.a\.columns names"),
        ({"text": "caption"}, None, r"dataset\.sources\.a\.columns has the unknown key 'text'"),
        ({"query": "caption"}, {"source": "x"}, r"dataset\.sources\.a\.labels=.*must map names to values"),
        (
            {"query": "caption"},
            {"aspects": 3},
            r"dataset\.sources\.a\.labels: it has aspects=3, which is not a list of names",
        ),
    ):
        with pytest.raises(UserError, match=message):
            collection(tmp_path, {"a": {**source, "columns": columns, "labels": labels}}).splits()
