"""Each template has a version, which is another one when its text is."""

import re

from vpo.templates import template_facts, template_files, template_hash, template_text
from vpo.templates.versions import VERSIONS

# Version and text belong together: a text that changes here needs a version of its own in `vpo/templates/versions.py`.
HELD = {
    "classes": (1, "a94c52431c8f"),
    "clip_safety": (1, "6c5bb8781f12"),
    "cogvideox_style": (1, "4781091db2c1"),
    "compare_clips": (1, "30c61f374341"),
    "compare_prompts": (1, "8f6dafd2ad16"),
    "critique": (1, "547144936adb"),
    "draft": (1, "5f79fa14c9d5"),
    "evolve": (1, "35bed31f160b"),
    "evolve_fewshot": (1, "5644d2c6735b"),
    "fewshot": (1, "cedd127db0e8"),
    "hunyuanvideo_master": (1, "517ce7611da1"),
    "hunyuanvideo_normal": (1, "300311e2f7ef"),
    "open_sora_style": (1, "92835a228c57"),
    "optimizer": (1, "d8f314686445"),
    "prompt_a_video": (1, "3e8653132926"),
    "promptist": (1, "13255d3e25dd"),
    "questions": (1, "e28f88092e54"),
    "refine": (1, "e87e232ac5b1"),
    "released_critique": (1, "41c06f6d4a4c"),
    "released_refine": (1, "e257703d9a20"),
    "seen": (1, "eae3bb5a8511"),
    "tiny": (1, "91f3c94af752"),
    "videoscore": (1, "f7894a1b7e2d"),
    "wan2_1_style": (1, "c69b3e768a78"),
    "wan2_1_style_zh": (1, "55d82f169633"),
}


def test_a_text_that_changes_has_another_version():
    assert {one.stem: (VERSIONS[one.stem], template_hash(one.stem)[:12]) for one in template_files()} == HELD
    assert set(VERSIONS) == set(HELD)


def test_the_note_on_top_of_a_chat_names_its_version():
    noted = {one.stem: re.match(r"Version (\d+)\.", one.read_text(encoding="utf-8")) for one in template_files()}
    assert {name: int(match[1]) for name, match in noted.items() if match} == {
        name: VERSIONS[name] for name, match in noted.items() if match
    }
    assert sum(match is not None for match in noted.values()) == 6


def test_a_template_of_a_users_own_is_known_by_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr("vpo.templates.FOLDER", tmp_path)
    (tmp_path / "own.txt").write_text("Rewrite: {}")
    assert template_text("own") == "Rewrite: {}"
    assert template_facts("own") == {"version": None, "sha256": template_hash("own")}
