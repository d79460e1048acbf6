"""Rewrites that others wrote, as drafts and as rows."""

import json
from pathlib import Path

import pytest

from tests.checking.test_config import composed, keys_of
from tests.conftest import OWN, SHARED
from vpo.build import build
from vpo.checking.rules import check
from vpo.errors import UserError
from vpo.method.file import FileRewrites
from vpo.method.given import Given
from vpo.records import Failure, Prompt, Query
from vpo.stages.optimize import write_prompts


def queries(*texts, **meta):
    return [Query(f"q-{number}", text, meta=meta) for number, text in enumerate(texts)]


def test_given_rewrites_are_the_queries_own_and_a_missing_one_is_a_failure():
    asked = [
        Query("a", "a dog", meta={"rewrite": "A brown dog runs."}),
        Query("b", "a cat"),
        Query("c", "a hen", meta={"rewrite": ""}),
    ]
    first, second, third = write_prompts(Given(), asked, name="draft", seed=0)
    assert first == Prompt("a-draft", "a", "a dog", "A brown dog runs.", "draft")
    assert [one.kind for one in (second, third)] == ["no_rewrite", "no_rewrite"]


def test_a_query_is_found_whatever_its_case_space_and_entities(tmp_path):
    (tmp_path / "q.txt").write_text("A  dog\nLily&#39;s cat\na fox\na dog\n")
    (tmp_path / "r.txt").write_text("The dog.\nThe  cat.\n\nAnother dog.\n")
    method = FileRewrites(str(tmp_path / "r.txt"), str(tmp_path / "q.txt"))
    found = method.optimize(queries("a dog", "LILY'S CAT", "a fox", "an owl"), 0)
    assert found[:2] == ["The dog.", "The cat."]
    assert [isinstance(one, Failure) and one.kind for one in found[2:]] == ["no_rewrite", "no_rewrite"]


def test_json_lines_bring_both_texts(tmp_path):
    rows = [
        {"query": "a dog\u2028here", "rewrite": "The dog.\nIt runs."},
        {"query": "a cat", "rewrite": "The cat.", "more": 1},
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in rows) + "\n\n")
    method = FileRewrites(str(tmp_path / "r.jsonl"), None)
    assert method.optimize(queries("a dog here", "a cat"), 0) == ["The dog. It runs.", "The cat."]


@pytest.mark.parametrize(
    ("files", "path", "asked", "message"),
    [
        ({"r.txt": "one\n", "q.txt": "one\ntwo\n"}, "r.txt", "q.txt", "has 1 lines and .*q.txt has 2"),
        ({"r.txt": "one\n"}, "r.txt", None, r"give JSON lines \(.jsonl\) with queries=null, or rewrites as plain text"),
        ({"r.jsonl": "{}\n", "q.txt": "one\n"}, "r.jsonl", "q.txt", "give JSON lines"),
        ({"r.jsonl": '{"query": "a"}\n'}, "r.jsonl", None, "line 1 needs the texts query and rewrite"),
        ({"r.jsonl": '{"query": "a", "rewrite": "b"}\nx\n'}, "r.jsonl", None, "line 2 is not JSON"),
        ({"r.jsonl": "[" * 100_000 + "\n"}, "r.jsonl", None, "line 1 is not JSON"),
        ({}, "r.jsonl", None, "r.jsonl: No such file or directory; give a file of rewrites"),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_one_line(tmp_path, files, path, asked, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        FileRewrites(str(tmp_path / path), asked and str(tmp_path / asked))


def test_the_published_rewrites_are_found_for_every_prompt_of_vbench():
    config = composed(
        "method=[published_gpt4o,published_wan,published_hunyuan]", "dataset=vbench", f"paths.data={OWN / 'english'}",
        "dataset.sources.vbench.splits={test: 14, validation: 0, dpo: 1, sft: rest}",
    )  # fmt: skip
    asked = build(config["dataset"]).splits()["test"]
    written = {}
    for name, node in config["method"].items():
        method = build({key: value for key, value in node.items() if key != "label"})
        written[name] = method.optimize(asked, 0)
        assert all(isinstance(one, str) for one in written[name])
    assert len({tuple(texts) for texts in written.values()}) == 3
    assert written["published_gpt4o"] == Given().optimize(asked, 0)


VBENCH = SHARED / "data/vbench"


@pytest.mark.skipif(not VBENCH.is_dir(), reason="needs VBench's prompts in ../shared/data/vbench")
@pytest.mark.parametrize("name", ["gpt4o", "wan", "hunyuan"])
def test_the_published_rewrites_are_complete(name):
    """All 946 prompts (944 different ones) have a rewrite, the file's line word for word; of a prompt that stands twice the first."""
    node = composed(f"method=[published_{name}]", f"paths.data={SHARED / 'data'}")["method"][f"published_{name}"]
    asked = (VBENCH / "all_dimension.txt").read_text(encoding="utf-8").splitlines()
    lines = Path(node["path"]).read_text(encoding="utf-8").splitlines()
    assert (len(asked), len(set(asked)), len(lines)) == (946, 944, 946)
    written = build({key: value for key, value in node.items() if key != "label"}).optimize(queries(*asked), 0)
    first = {query.lower(): line for query, line in reversed(list(zip(asked, lines, strict=True)))}
    assert written == [" ".join(first[query.lower()].split()) for query in asked]
    assert min(map(len, written)) > 20
    listed = json.loads((VBENCH / "VBench_full_info.json").read_text(encoding="utf-8"))
    assert {one["prompt_en"] for one in listed} == set(asked)


def test_the_content_of_the_file_is_in_the_key(tmp_path):
    def key(text):
        (tmp_path / "r.jsonl").write_text(json.dumps({"query": "a dog", "rewrite": text}))
        return {
            one
            for one in keys_of(composed("method=[file]", f"method.file.path={tmp_path / 'r.jsonl'}"))
            if one.startswith("optimize")
        }

    assert key("one") != key("two")
    assert key("one") == key("one")


@pytest.mark.parametrize("key", ["path", "queries"])
def test_a_missing_file_is_found_before_anything_is_trained(tmp_path, key):
    (tmp_path / "there.txt").write_text("x\n")
    files = dict.fromkeys(("path", "queries"), tmp_path / "there.txt") | {key: tmp_path / "no-such.txt"}
    config = composed("method=[file]", *(f"method.file.{name}={file}" for name, file in files.items()))
    with pytest.raises(UserError, match=rf"method.file.{key}=.*no-such.txt: no such file; set it"):
        check(config)
