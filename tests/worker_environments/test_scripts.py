"""The parts of the real scripts that need no model: which frames, which questions, what an answer is, what a result says."""

import json
from pathlib import Path

import pytest

from tests.conftest import OWN, SHARED
from vpo.workers import contract
from vpo.workers.open_sora import script as open_sora
from vpo.workers.vbench import script as vbench
from vpo.workers.visionreward import script as visionreward

# Open-Sora 1.2


@pytest.mark.parametrize(
    ("prompt", "score", "read"),
    [
        ("a cat.", 6.5, "a cat. aesthetic score: 6.5."),
        ("a cat.", 6, "a cat. aesthetic score: 6.0."),
        ("a cat. aesthetic score: 5.0.", 6.5, "a cat. aesthetic score: 5.0."),
        ("a cat.", None, "a cat."),
    ],
)
def test_the_aesthetic_score_follows_the_prompt_once(prompt, score, read):
    assert open_sora.with_score(prompt, score) == read


def test_open_sora_has_the_authors_values():
    """configs/opensora-v1-2/inference/sample.py of v1.2.0, but for the two kernels that must be compiled."""
    settings = contract.read_settings(open_sora.OpenSora(), "{}")
    nodes = open_sora.model_nodes(settings)
    assert nodes["scheduler"] == {
        "type": "rflow",
        "use_timestep_transform": True,
        "num_sampling_steps": 30,
        "cfg_scale": 7.0,
    }
    assert nodes["vae"]["micro_frame_size"] == 17
    assert nodes["text_encoder"]["model_max_length"] == 300
    assert nodes["model"] == {
        "type": "STDiT3-XL/2",
        "from_pretrained": "hpcai-tech/OpenSora-STDiT-v3",
        "qk_norm": True,
        "enable_flash_attn": False,
        "enable_layernorm_kernel": False,
    }
    assert open_sora.clip_facts(240, 426, 51, 24)["ar"] == pytest.approx(0.5633803)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"frames": 49}, "frames=49: Open-Sora 1.2 makes 51, 102, 204, 408 frames"),
        ({"dtype": "int8"}, "dtype=int8 must be bf16, fp16 or fp32"),
        ({"steps": 0}, "steps=0 must be at least 1"),
    ],
)
def test_open_sora_refuses_what_it_cannot_make(setting, message):
    with pytest.raises(contract.BadInput, match=message):
        contract.read_settings(open_sora.OpenSora(), json.dumps(setting))


@pytest.mark.parametrize("use", [open_sora.use_repository, vbench.use_repository])
def test_a_repository_that_is_not_there_is_named(use, tmp_path):
    with pytest.raises(
        contract.BadInput, match=r"repository='.*' holds no (opensora|vbench); name the folder of a clone"
    ):
        use(str(tmp_path))


# VisionReward


@pytest.mark.parametrize(
    ("timestamps", "most", "chosen"),
    [
        # 49 frames at 8 fps: the last begins at second 6, so seconds 0 to 6.
        ([k / 8 for k in range(49)], 24, [0, 8, 16, 24, 32, 40, 48]),
        # 16 frames at 8 fps: the last begins at 1.875, which rounds to 2; the frame closest to second 2 is the last.
        ([k / 8 for k in range(16)], 24, [0, 8, 15]),
        # 0.5 rounds to 0, 1.5 to 2: halves go to the even number.
        ([0.0, 0.5], 24, [0]),
        ([0.0, 0.5, 1.0, 1.5], 24, [0, 2, 3]),
        # Frames at 0, 0.5 and 1.5 s: second 1 is as far from both, the earlier is taken; 1.5 is closest to second 2.
        ([0.0, 0.5, 1.5], 24, [0, 1, 2]),
        ([0.0], 24, [0]),
        ([float(k) for k in range(60)], 24, list(range(24))),
        ([float(k) for k in range(60)], 3, [0, 1, 2]),
        # A variable rate: nothing between 0.1 and 2.9, so second 1 is closest to 0.1 and second 2 to 2.9, which second 3 is, too.
        ([0.0, 0.1, 2.9], 24, [0, 1, 2, 2]),
    ],
)
def test_the_frame_closest_to_each_second(timestamps, most, chosen):
    assert visionreward.choose_frames(timestamps, most) == chosen


def test_questions_are_asked_about_the_query_and_end_in_a_line_end():
    questions = ['Does it show "[[prompt]]"?', "Is it sharp?\n"]
    assert visionreward.render_questions(questions, "a [[prompt]] cat", line_end=True) == [
        'Does it show "a [[prompt]] cat"?\n',
        "Is it sharp?\n",
    ]
    assert visionreward.render_questions(questions, "x", line_end=False) == ['Does it show "x"?', "Is it sharp?"]


@pytest.mark.parametrize(
    ("token", "answer"), [("yes", True), ("no", False), ("Yes", None), (" yes", None), ("", None), ("<|end|>", None)]
)
def test_an_answer_is_yes_or_no_exactly(token, answer):
    assert visionreward.read_answer(token) is answer


@pytest.mark.parametrize("questions", [[""], [3], ["fine", " "]])
def test_questions_are_texts(questions):
    with pytest.raises(contract.BadInput, match="questions must be a list of texts"):
        contract.read_settings(visionreward.VisionReward(), json.dumps({"questions": questions}))


# VBench

FULL_INFO = next(
    one
    for one in (
        SHARED / "data/vbench/VBench_full_info.json",
        OWN / "english/vbench/VBench_full_info.json",
    )
    if one.exists()
)


@pytest.mark.skipif(FULL_INFO.is_relative_to(OWN), reason="shared/data/vbench is not beside this checkout")
@pytest.mark.parametrize(
    ("dimension", "prompts"),  # facts of the suite: 11 lists of prompts, some of which serve three dimensions
    [
        ("scene", 86),
        ("background_consistency", 86),
        ("human_action", 100),
        ("dynamic_degree", 72),
        ("imaging_quality", 93),
    ],
)
def test_the_videos_that_a_dimension_expects(dimension, prompts):
    names = vbench.expected_names(json.loads(FULL_INFO.read_text()), dimension)
    assert len(names) == len(set(names)) == 5 * prompts
    assert [name.rpartition("-")[2] for name in names[:5]] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]


def test_a_prompt_in_two_rows_has_one_set_of_videos():
    rows = [
        {"prompt_en": "the bund", "dimension": ["scene"]},
        {"prompt_en": "the bund", "dimension": ["scene", "color"]},
    ]
    assert vbench.expected_names(rows, "scene") == [f"the bund-{index}.mp4" for index in range(5)]
    assert vbench.expected_names(rows, "object_class") == []


def official(dimension: str, score: float, **values) -> dict:
    rows = [
        {"video_path": f"/tmp/x/{name}", "video_results": value, "frame_count": 16} for name, value in values.items()
    ]
    return {dimension: [score, rows]}


def test_a_result_is_read_video_by_video():
    given = ["a red-ish car-0.mp4", "a red-ish car-1.mp4", "b-0.mp4"]
    written = {
        "color": [
            0.75,
            [
                {"video_path": "/tmp/videos/a red-ish car-1.mp4", "video_results": 0.5, "cur_success_frame_rate": 0.5},
                {"video_path": "/tmp/videos/b-0.mp4", "video_results": 1.0, "cur_success_frame_rate": 1.0},
            ],
        ]
    }
    assert vbench.read_official(written, "color", given, missing=["b-1.mp4"]) == {
        "dimension": "color",
        "score": 0.75,
        "videos": [
            {
                "name": "a red-ish car-1.mp4",
                "prompt": "a red-ish car",
                "index": 1,
                "value": 0.5,
                "counts": {"cur_success_frame_rate": 0.5},
            },
            {
                "name": "b-0.mp4",
                "prompt": "b",
                "index": 0,
                "value": 1.0,
                "counts": {"cur_success_frame_rate": 1.0},
            },
        ],
        "left_out": ["a red-ish car-0.mp4"],
        "missing": ["b-1.mp4"],
    }


@pytest.mark.parametrize(
    ("dimension", "raw", "value"),
    [("imaging_quality", 62.9, 0.629), ("dynamic_degree", True, 1.0), ("scene", 0.25, 0.25)],
)
def test_a_videos_value_is_a_number_in_the_dimensions_unit(dimension, raw, value):
    result = vbench.read_official(official(dimension, 0.5, **{"a-0.mp4": raw}), dimension, ["a-0.mp4"], [])
    assert result["videos"][0]["value"] == pytest.approx(value)


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"scene": 0.5},
        {"scene": [None, []]},
        {"scene": [0.5, [{"video_path": "a-0.mp4"}]]},
        official("scene", 0.5, **{"other-0.mp4": 1.0}),
        official("scene", 0.5, **{"a.mp4": 1.0}),
    ],
)
def test_a_result_in_another_form_is_a_failure(written):
    with pytest.raises(contract.JobError) as found:
        vbench.read_official(written, "scene", ["a-0.mp4"], [])
    assert found.value.kind == "unreadable_result"


def test_vbench_is_given_links_to_its_own_videos_alone(tmp_path: Path):
    source = tmp_path / "videos"
    source.mkdir()
    for name in ("a-0.mp4", "notes.json", "b-0.mp4"):
        (source / name).write_text(name)
    vbench.link_all(["a-0.mp4"], str(source), str(tmp_path / "links"))
    assert [(one.name, one.read_text()) for one in (tmp_path / "links").iterdir()] == [("a-0.mp4", "a-0.mp4")]
