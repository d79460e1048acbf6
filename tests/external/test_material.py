"""Which clip belongs to which prompt."""

import json

import pytest

from vpo.errors import UserError
from vpo.external.asked import methods_of
from vpo.external.clip_names import NamedClips, clip_files, problem_of_name, split_name
from vpo.external.material import Source, read_material
from vpo.storage.rows import write_rows


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def matched(source):
    return {one.query.text: [file.name for file in one.clips] for one in read_material(source).by_key.values()}


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("a cat-0", ("a cat", 0)),
        ("a black-and-white cat-12", ("a black-and-white cat", 12)),
        ("a cat", ("a cat", None)),
        ("a well-known cat", ("a well-known cat", None)),
        ("-3", ("-3", None)),
    ],
)
def test_a_name_is_a_prompt_and_an_index(stem, expected):
    assert split_name(stem) == expected


def test_names_alone_give_queries_with_their_clips_by_index(tmp_path):
    touch(
        tmp_path,
        "a cat-2.mp4",
        "a cat-0.mp4",
        "a cat-10.mp4",
        "the sea.gif",
        "scene/an alley-0.mp4",
        ".hidden-0.mp4",
        "notes.txt",
    )
    assert matched(Source(clips=str(tmp_path))) == {
        "a cat": ["a cat-0.mp4", "a cat-2.mp4", "a cat-10.mp4"], "an alley": ["an alley-0.mp4"], "the sea": ["the sea.gif"],
    }  # fmt: skip


def test_clips_are_found_by_query_by_prompt_and_by_id_whatever_the_case(tmp_path):
    touch(tmp_path / "clips", "A Cat-0.mp4", "the sea at dawn-0.mp4", "s7-0.mp4", "stray-0.mp4", "sub/a cat-0.mp4")
    rows = [
        {"query": "a cat", "prompt": "A fluffy cat."},
        {"query": "the sea", "prompt": "The sea at dawn"},
        {"query": "a ship", "prompt": "A ship.", "id": "s7"},
        {"query": "a bird"},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    source = Source(prompts=str(tmp_path / "rows.jsonl"), clips=str(tmp_path / "clips"))
    assert matched(source) == {
        "a cat": ["A Cat-0.mp4"], "the sea": ["the sea at dawn-0.mp4"], "a ship": ["s7-0.mp4"], "a bird": [],
    }  # fmt: skip
    material = read_material(source)
    assert [file.name for file in material.unused] == ["stray-0.mp4"]
    assert [file.name for file in material.again] == ["a cat-0.mp4"]  # the other one, of the same text and index
    assert material.of_query("A  CAT").prompt == "A fluffy cat."
    assert material.of_query("a bird").prompt == "a bird"


def test_a_prompt_that_ends_in_a_number_is_found_whole(tmp_path):
    touch(tmp_path / "clips", "apollo-11.mp4")
    write_rows(tmp_path / "rows.jsonl", [{"query": "Apollo-11"}])
    assert matched(Source(str(tmp_path / "rows.jsonl"), str(tmp_path / "clips"))) == {"Apollo-11": ["apollo-11.mp4"]}


def test_rows_name_their_clips_relative_to_the_folder_and_without_one_to_the_file(tmp_path):
    touch(tmp_path, "clips/1.mp4", "clips/2.mp4", "1.mp4", "beside.mp4")
    rows = [
        {"query": "a cat", "clips": ["1.mp4", "2.mp4"]},
        {"query": "the sea", "clip": "beside.mp4"},
        {"query": "the sea", "clip": str(tmp_path / "clips/1.mp4")},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    for folder, expected in (
        (
            str(tmp_path / "clips"),
            {"a cat": ["clips/1.mp4", "clips/2.mp4"], "the sea": ["clips/beside.mp4", "clips/1.mp4"]},
        ),
        (None, {"a cat": ["1.mp4", "2.mp4"], "the sea": ["beside.mp4", "clips/1.mp4"]}),
    ):
        material = read_material(Source(str(tmp_path / "rows.jsonl"), folder))
        found = {
            one.query.text: [file.relative_to(tmp_path).as_posix() for file in one.clips]
            for one in material.by_key.values()
        }
        assert found == expected


def test_tables_and_lists_of_queries_are_rows_too(tmp_path):
    touch(tmp_path, "1.mp4")
    (tmp_path / "rows.csv").write_text("video,prompt_en,notes\n1.mp4,a cat,x\n,the sea,y\n")
    (tmp_path / "rows.txt").write_text("a cat\nthe sea\n")
    assert matched(Source(str(tmp_path / "rows.csv"))) == {"a cat": ["1.mp4"], "the sea": []}
    assert matched(Source(str(tmp_path / "rows.txt"))) == {"a cat": [], "the sea": []}


def test_a_second_prompt_of_a_query_is_named(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"query": "a cat", "prompt": text} for text in ("One.", "Two.", "One.")])
    material = read_material(Source(str(tmp_path / "rows.jsonl")))
    assert material.of_query("a cat").prompt == "One."
    assert material.other_prompts == ["a cat"]


def test_vbench_s_own_list_gives_queries_with_their_dimensions(tmp_path):
    touch(tmp_path / "clips", *(f"an alley-{index}.mp4" for index in range(5)))
    rows = [
        {"prompt_en": "an alley", "dimension": ["scene"], "auxiliary_info": {"scene": {"scene": {"scene": "alley"}}}},
        {"prompt_en": "an alley", "dimension": ["overall_consistency"]},
    ]
    (tmp_path / "VBench_full_info.json").write_text(json.dumps(rows))
    (given,) = read_material(Source(str(tmp_path / "VBench_full_info.json"), str(tmp_path / "clips"))).by_key.values()
    assert given.query.meta == {
        "dimension": ["scene", "overall_consistency"],
        "auxiliary_info": rows[0]["auxiliary_info"],
    }
    assert given.prompt == "an alley"
    assert len(given.clips) == 5


def test_the_hash_changes_with_a_prompt_and_with_a_clip_s_bytes_and_not_with_their_place(tmp_path):
    touch(tmp_path / "a", "x-0.mp4", "y-0.mp4")
    touch(tmp_path / "b", "x-0.mp4", "y-0.mp4")
    hashes = [read_material(Source(clips=str(tmp_path / folder))).contents() for folder in "ab"]
    assert hashes[0] == hashes[1]
    (tmp_path / "b/y-0.mp4").write_bytes(b"other")
    assert read_material(Source(clips=str(tmp_path / "b"))).contents() != hashes[0]
    write_rows(tmp_path / "rows.jsonl", [{"query": "x", "prompt": "X!"}, {"query": "y"}])
    assert read_material(Source(str(tmp_path / "rows.jsonl"), str(tmp_path / "a"))).contents() != hashes[0]


def test_methods_are_those_of_the_words_or_of_the_rows(tmp_path):
    touch(tmp_path, "clips/ours/a-0.mp4", "clips/theirs/a-0.mp4")
    write_rows(tmp_path / "rows.jsonl", [{"query": "a", "method": "ours"}, {"query": "a", "method": "The 2nd"}])
    file, folder = str(tmp_path / "rows.jsonl"), str(tmp_path / "clips")
    assert [(one.name, one.source) for one in methods_of({"": folder}, {})] == [("given", Source(clips=folder))]
    assert [(one.name, one.label, one.source) for one in methods_of({"": folder}, {"": file})] == [
        ("ours", "ours", Source(file, f"{folder}/ours", "ours")),
        ("the_2nd", "The 2nd", Source(file, folder, "The 2nd")),
    ]
    assert [one.name for one in methods_of({"null": folder, "True": folder, "2": folder}, {})] == [
        "_null",
        "_true",
        "_2",
    ]
    assert [one.source for one in methods_of({"ours": folder, "x": folder}, {"ours": file})] == [
        Source(file, folder, "ours"), Source(None, folder, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("clips", "prompts", "said"),
    [
        ({}, {}, "nothing to evaluate"),
        ({"": "clips", "x": "clips"}, {}, "clips= stands beside clips.x="),
        ({"": "gone"}, {}, "no such folder"),
        ({"A b": "clips", "a-b": "clips"}, {}, "both become 'a_b'"),
        ({"猫": "clips"}, {}, "no letter or digit"),
        ({"x": "clips"}, {"": "methods.jsonl"}, "has no row of the method 'x'; its methods are ours, theirs"),
        ({}, {"": "half.jsonl"}, "some rows name a method and some do not"),
        ({}, {"": "bad.jsonl"}, "line 2 has no field query or prompt; found clip"),
        ({}, {"": "clip.jsonl"}, "line 1 has the clip 3, which is no path"),
        ({}, {"": "gone.jsonl"}, "no such file"),
    ],
)  # fmt: skip
def test_what_cannot_be_methods_is_said(tmp_path, monkeypatch, clips, prompts, said):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "clips/a-0.mp4")
    write_rows(tmp_path / "methods.jsonl", [{"query": "a", "method": "ours"}, {"query": "a", "method": "theirs"}])
    write_rows(tmp_path / "half.jsonl", [{"query": "a", "method": "ours"}, {"query": "b"}])
    write_rows(tmp_path / "bad.jsonl", [{"query": "a"}, {"clip": "b.mp4"}])
    write_rows(tmp_path / "clip.jsonl", [{"query": "a", "clip": 3}])
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        methods_of(clips, prompts)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (Source(clips="gone"), "no such folder"),
        (Source(clips="rows.jsonl"), "is a file; give the folder"),
        (Source(clips="empty"), "no video in it"),
        (
            Source("rows.jsonl", "other"),
            "none of the 1 videos in it, such as 'a dog-0.mp4', belongs to one of the 1 prompts",
        ),
        (Source("named.jsonl"), "none of the 1 clips that it names is there"),
        (Source("rows.jsonl", None, "x"), "no row has the method 'x'"),
    ],
)
def test_material_that_is_not_there_is_said(tmp_path, monkeypatch, source, said):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "empty/readme.txt", "other/a dog-0.mp4")
    write_rows(tmp_path / "rows.jsonl", [{"query": "a cat"}])
    write_rows(tmp_path / "named.jsonl", [{"query": "a cat", "clip": "x.mp4"}])
    with pytest.raises(UserError, match=said):
        read_material(source)


def test_files_are_listed_by_their_folders_and_names(tmp_path):
    touch(tmp_path, "b/1-0.MP4", "a-0.webm", "b.txt")
    assert [one.relative_to(tmp_path).as_posix() for one in clip_files(tmp_path)] == ["a-0.webm", "b/1-0.MP4"]
    assert NamedClips.of([]).of_text("a") == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a cat-0.mp4", None),
        ("it's 5 o'clock, “tea”-0.mp4", None),
        ("a 16/9 picture-0.mp4", "a /"),
        ('a "cat"-0.mp4', "Windows"),
        ("x" * 250 + "-0.mp4", "256 bytes"),
        ("猫" * 83 + "-0.mp4", "255 bytes, and"),
    ],
)
def test_names_that_a_file_cannot_have(name, said):
    problem = problem_of_name(name, windows=True)
    assert problem is None if said is None or "255 bytes, and" in said else said in problem
