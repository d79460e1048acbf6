"""VBench in process, on small random models of the true classes: its numbers are those of its own way of counting."""

import json
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import ROOT
from tests.evaluator.conftest import GreyFlow
from tests.evaluator.official_vbench import Official, overall_consistency
from vpo.build import build, card_of
from vpo.cards import Weighted
from vpo.errors import UserError
from vpo.evaluator.vbench.evaluator import VBench
from vpo.records import Clip, Failure, Prompt, Query, Sample
from vpo.results.aggregates import aggregated
from vpo.stages.contents import with_contents
from vpo.video import clips, frames
from vpo.video.flow import Raft, padding

FEATURES = ["subject_consistency", "background_consistency", "aesthetic_quality", "appearance_style"]
COUNTS = {"vbench_failed_clips", "vbench_outside_suite"}


def files(tiny: Path) -> dict[str, str | None]:
    """What a config names beside folders of models."""
    head, viclip = tiny / "aesthetic_head/head.json", tiny / "viclip/viclip.pth"
    return {"head_file": str(head), "raft_file": None, "viclip_file": str(viclip)}


def node(tiny: Path, **values: Any) -> dict[str, Any]:
    """The node of conf/evaluator/vbench.yaml on tiny models, without a store of features."""
    own: dict[str, Any] = yaml.safe_load((ROOT / "conf/evaluator/vbench.yaml").read_text(encoding="utf-8"))
    models = {name: {"path": str(tiny / name), "revision": None} for name in ("dino", "clip_b32", "clip_l14")}
    models |= files(tiny)
    return own | {"models": models, "cache": {"folder": None, "gigabytes": 1.0}, "device": "cpu"} | values


def write(path: Path, seed: int, count: int, height: int = 48, width: int = 70, fps: float = 8) -> str:
    """A picture whose parts change a little from frame to frame, so that its features do."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (1, height // 2, width // 2, 3)) + random.integers(
        -60, 60, (count, height // 2, width // 2, 3)
    )
    frames = np.repeat(np.repeat(small.clip(0, 255).astype(np.uint8), 2, 1), 2, 2)
    clips.write_mp4(frames, fps, path)
    return str(path)


def query(number: int, dimensions: list[str] | None, **labels: Any) -> Query:
    meta = {} if dimensions is None else {"dimension": dimensions, "auxiliary_info": labels}
    return Query(f"q{number}", f"a fox, number {number}", meta=meta)


def sample(asked: Query, *paths: str | Failure, **facts: Any) -> Sample:
    """A sample with clips of files, of which the records say what the files do."""
    prompt = Prompt(f"{asked.id}-m", asked.id, asked.text, f"{asked.text}, in detail", "m")
    return Sample(asked, prompt, tuple(one if isinstance(one, Failure) else clip(prompt, one, facts) for one in paths))


def clip(prompt: Prompt, path: str, facts: Mapping[str, Any]) -> Clip:
    known = {"frames": 4, "fps": 8.0, "height": 48, "width": 70} | facts
    if "frames" not in facts and Path(path).exists():
        with suppress(clips.ClipError):
            known["frames"] = clips.describe(Path(path)).frames
    return Clip(Path(path).stem, prompt.id, prompt.query_id, prompt.query, prompt.text, path, 0, **known)


def measured(evaluator: Any, samples: list[Sample]) -> list[Any]:
    try:
        return evaluator.measure(samples)
    finally:
        evaluator.close()


def dimension(rows: list[Mapping[str, Any]], name: str, card: Any) -> float:
    """The number of a dimension by the aggregate of its card."""
    found = [row[name] for row in rows if row.get(name) is not None]
    values, weights = [one.value for one in found], [one.weight for one in found]
    return aggregated(card.metric_of(name).aggregate, values, weights)["mean"]


STYLES = ["Van Gogh style", "oil painting", "in super slow motion"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of the tests before, whose readers may be alive, are none of ours."""
    monkeypatch.setattr(frames, "CACHE", frames.FrameCache())


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Three prompts that VBench measures on all dimensions that are here, with clips of different lengths and shapes."""
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for number, (count, height, width) in enumerate([(5, 48, 70), (2, 64, 48), (9, 48, 48)]):
        style = {"appearance_style": {"appearance_style": STYLES[number]}}
        asked = query(number, [*FEATURES, "temporal_flickering", "dynamic_degree"], **style)
        path = write(folder / f"{number}.mp4", number, count, height, width)
        found.append(sample(asked, path, height=height, width=width))
    return found


def test_the_numbers_are_those_of_vbenchs_own_way(tiny: Path, suite: list[Sample]) -> None:
    own = node(tiny)
    card = card_of(own)
    rows = measured(build(own), suite)
    official, paths = Official(tiny), [one.clip.path for one in suite]
    head = json.loads((tiny / "aesthetic_head/head.json").read_text())
    expected = {
        "subject_consistency": official.subject_consistency(paths),
        "background_consistency": official.background_consistency(paths),
        "aesthetic_quality": official.aesthetic_quality(paths, torch.tensor(head["weight"]), head["bias"]),
        "appearance_style": official.appearance_style(list(zip(paths, STYLES, strict=True))),
        "flicker_unfiltered": official.temporal_flickering(paths),
    }
    for name, (whole, of_videos) in expected.items():
        assert [row[name].value for row in rows] == pytest.approx(of_videos, abs=2e-5), name
        assert dimension(rows, name, card) == pytest.approx(whole, abs=2e-5), name
        assert len({round(one, 4) for one in of_videos}) == 3, f"{name}: clips with equal numbers show nothing"
    # Frames count alike in some dimensions, clips in others: 4, 1 and 8 steps; 5, 2 and 9 frames.
    assert [row["subject_consistency"].weight for row in rows] == [4, 1, 8]
    assert [row["background_consistency"].weight for row in rows] == [4, 1, 8]
    assert [row["appearance_style"].weight for row in rows] == [5, 2, 9]
    assert [row["aesthetic_quality"].weight for row in rows] == [1, 1, 1]
    means = sum(row["subject_consistency"].value for row in rows) / 3
    assert abs(means - dimension(rows, "subject_consistency", card)) > 1e-3, "the weights change nothing here"


def test_a_clip_goes_through_viclip_once_for_both_of_its_dimensions(tiny: Path, tmp_path: Path) -> None:
    names = ["temporal_style", "overall_consistency"]
    path = write(tmp_path / "clip.mp4", 0, 9)
    evaluator = build(node(tiny, dimensions=names))
    viclip, seen = evaluator.measures.viclip, []
    embedding = viclip.embedding
    viclip.embedding = lambda frames: seen.append(1) or embedding(frames)
    rows = measured(evaluator, [sample(query(0, names), path, path), sample(query(1, names[:1]), path)])
    assert len(seen) == 3  # of three clips, two of them on two dimensions
    assert rows[0]["temporal_style"].value == pytest.approx(rows[0]["overall_consistency"].value, abs=1e-6)
    (alone,) = measured(build(node(tiny, dimensions=names[1:])), [sample(query(0, names), path, path)])
    assert alone["overall_consistency"].value == pytest.approx(rows[0]["overall_consistency"].value, abs=1e-6)


@pytest.mark.parametrize("name", ["overall_consistency", "temporal_style"])
def test_consistency_with_the_text_is_vbenchs(tiny: Path, suite: list[Sample], name: str) -> None:
    """Eight middle frames, whole grey levels, and the user's query, not the prompt that was rendered."""
    own = node(tiny, dimensions=[name])
    samples = [replace(one, query=query(number, [name])) for number, one in enumerate(suite)]
    evaluator = build(own)
    rows = evaluator.measure(samples)
    model, texts = evaluator.measures.viclip.model, [one.query.text for one in samples]
    expected = [
        overall_consistency(model, text, [one.clip.path])[0]
        for text, one in zip(evaluator.measures.viclip.texts(texts), samples, strict=True)
    ]
    evaluator.close()
    assert [row[name].value for row in rows] == pytest.approx(
        expected, abs=2e-4
    )  # a grey level that is rounded up or down
    assert [row[name].weight for row in rows] == [1, 1, 1]
    assert len({round(one, 3) for one in expected}) == 3
    assert dimension(rows, name, card_of(own)) == pytest.approx(sum(expected) / 3, abs=2e-4)
    assert name not in measured(build(own), [replace(suite[0], query=query(9, None))])[0]  # of the suite alone
    with pytest.raises(UserError, match=r"viclip_file=null; give ViClip-InternVid-10M-FLT\.pth: `hf download"):
        VBench.check_files(own | {"models": own["models"] | {"viclip_file": None}})


def test_clips_in_batches_or_alone_are_the_same(tiny: Path, suite: list[Sample]) -> None:
    together = measured(build(node(tiny)), suite)
    evaluator = build(node(tiny))
    alone = [evaluator.measure([one])[0] for one in reversed(suite)][::-1]
    evaluator.close()
    for one, other in zip(together, alone, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            a, b = (x.value if isinstance(x, Weighted) else x for x in (value, other[name]))
            assert a == pytest.approx(b, abs=1e-5)
    assert measured(build(node(tiny)), []) == []


def test_the_suite_says_which_dimensions_a_query_has(tiny: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 0, 4)
    own = node(tiny)
    card = card_of(own)
    cases = {
        ("subject_consistency", "dynamic_degree", "motion_smoothness"): {"subject_consistency"},
        ("overall_consistency", "aesthetic_quality", "imaging_quality"): {"aesthetic_quality"},
        ("scene",): set(),
        None: {"subject_consistency", "background_consistency", "aesthetic_quality"},  # custom_input: no label is read
        ("no dimension of VBench",): {"subject_consistency", "background_consistency", "aesthetic_quality"},
    }
    samples = [sample(query(place, given and list(given)), path) for place, given in enumerate(cases)]
    for one, row, names in zip(samples, measured(build(own), samples), cases.values(), strict=True):
        assert set(row) == names | COUNTS | {"flicker_unfiltered"}
        assert set(card.applicable(one)) == set(row)
    assert [row["vbench_outside_suite"] for row in measured(build(own), samples)] == [0, 0, 0, 1, 1]
    filtered = node(tiny, dimensions=["appearance_style"])
    assert measured(build(filtered), samples[2:4]) == [{"vbench_outside_suite": 0.0}, {"vbench_outside_suite": 1.0}]


class Forwards:
    """Counts the frames that a model is given."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.frames = 0

        def count(_: Any, args: Any, kwargs: Any) -> None:
            self.frames += len(kwargs.get("pixel_values", args[0] if args else ()))

        module.register_forward_pre_hook(count, with_kwargs=True)


def counted(evaluator: Any) -> dict[str, Forwards]:
    measures = evaluator.measures
    return {
        "dino": Forwards(measures.dino.shared.model.embeddings),
        "b32": Forwards(measures.frames_of_b32.shared.model.vision_model),
        "l14": Forwards(measures.frames_of_l14.shared.model.vision_model),
    }


def test_each_clip_is_decoded_once_and_each_frame_seen_once(tiny: Path, suite: list[Sample]) -> None:
    evaluator = build(node(tiny))
    seen = counted(evaluator)
    cache = evaluator.measures.reader.cache
    evaluator.measure(suite)
    assert (cache.decodes, cache.size) == (3, 0)
    evaluator.close()
    # 16 frames; B/32 sees them twice, as background consistency and appearance style resize them differently.
    assert {name: one.frames for name, one in seen.items()} == {"dino": 16, "b32": 32, "l14": 16}


def test_features_are_kept_between_runs_by_content(tiny: Path, suite: list[Sample], tmp_path: Path) -> None:
    own = node(tiny, cache={"folder": str(tmp_path / "features"), "gigabytes": 1.0})
    first = measured(build(own), suite)
    moved = []
    for one in suite:  # the same bytes elsewhere
        path = shutil.copyfile(one.clip.path, tmp_path / Path(one.clip.path).name)
        moved.append(sample(one.query, str(path), height=one.clip.height, width=one.clip.width))
    evaluator = build(own | {"dimensions": FEATURES})
    seen, before = counted(evaluator), frames.CACHE.decodes
    again = measured(evaluator, moved)
    assert {name: one.frames for name, one in seen.items()} == {"dino": 0, "b32": 0, "l14": 0}
    assert frames.CACHE.decodes == before
    for one, other in zip(first, again, strict=True):
        assert other == {name: value for name, value in one.items() if name in other}
    assert set(again[0]) == {*FEATURES, *COUNTS}
    # Other weights, or another clip, are looked at.
    other_dino = tmp_path / "dino"
    other_dino.mkdir()
    shutil.copytree(tiny / "dino", other_dino, dirs_exist_ok=True)
    changed = torch.randn(16, generator=torch.Generator().manual_seed(5))
    from safetensors.torch import load_file, save_file

    state = load_file(other_dino / "model.safetensors")
    state["layernorm.bias"] = changed
    save_file(state, other_dino / "model.safetensors", metadata={"format": "pt"})
    own["models"]["dino"]["path"] = str(other_dino)
    third = measured(build(own), suite)
    assert abs(third[0]["subject_consistency"].value - first[0]["subject_consistency"].value) > 1e-4
    assert third[0]["background_consistency"] == first[0]["background_consistency"]


def test_what_cannot_be_measured_is_named_and_the_rest_is_measured(tiny: Path, tmp_path: Path) -> None:
    good, one = write(tmp_path / "good.mp4", 0, 4), write(tmp_path / "one.mp4", 1, 1)
    two, long = write(tmp_path / "two.mp4", 2, 2), write(tmp_path / "long.mp4", 3, 40)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    away = Failure("timeout", "the server did not answer")
    paths = [good, one, two, long, str(tmp_path / "bad.mp4"), str(tmp_path / "none.mp4"), away]
    samples = [sample(query(place, None), path) for place, path in enumerate(paths)]
    samples.append(sample(query(7, None), good, status="black"))
    rows = measured(build(node(tiny)), samples)
    names = {"subject_consistency", "background_consistency", "aesthetic_quality", "flicker_unfiltered"}
    assert {name for name in names if isinstance(rows[0][name], Weighted)} == names
    assert {name for name, value in rows[1].items() if value is None} == names - {"aesthetic_quality"}
    assert rows[1]["vbench_failed_clips"] == Weighted(1.0, 1)
    assert rows[0]["vbench_failed_clips"] == Weighted(0.0, 1)
    assert {name for name in names if isinstance(rows[2][name], Weighted)} == names
    assert [row.kind for row in rows[3:]] == ["clip_too_long", "unreadable", "unreadable", "timeout", "unusable"]
    assert "below_seconds=null" in rows[3].detail
    assert "5 s" in rows[3].detail
    (measured_all_the_same,) = measured(build(node(tiny, below_seconds=None)), [samples[3]])
    assert isinstance(measured_all_the_same["subject_consistency"], Weighted)
    (no_label,) = measured(
        build(node(tiny, dimensions=["appearance_style"])), [sample(query(8, ["appearance_style"]), good)]
    )
    assert no_label.kind == "no_label"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dimensions": ["imaging_quality"]}, "imaging_quality is not measured here; evaluator=vbench_official"),
        ({"dimensions": ["subject consistency"]}, "'subject consistency' is no dimension; choose from subject_consist"),
        ({"dimensions": []}, "must name one dimension or more"),
        ({"dimensions": ["aesthetic_quality"] * 2}, "each once"),
        ({"below_seconds": 0.0}, "below_seconds=0.0 must be above 0, or null"),
        ({"cache": {"folder": None, "gigabytes": 0}}, "gigabytes=0 must be above 0"),
    ],
)
def test_a_wrong_config_is_refused_before_anything_is_made(tiny: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        card_of(node(tiny, **values))


def test_a_head_of_another_clip_is_refused(tiny: Path, tmp_path: Path, suite: list[Sample]) -> None:
    own = node(tiny, dimensions=["aesthetic_quality"])
    own["models"]["clip_l14"] = own["models"]["clip_b32"]
    evaluator = build(own)
    with pytest.raises(UserError, match=r"reads features of 768 numbers, and models\.clip_l14 makes 512"):
        evaluator.measure(suite)
    evaluator.close()
    own["models"]["head_file"] = str(tmp_path / "none.json")
    for refused in (VBench.check_files, lambda node: build(node).measure(suite)):
        with pytest.raises(UserError, match=r"evaluator\.vbench\.models\.head_file=.*none\.json: no such file"):
            refused(own)


def test_clips_of_a_prompt_are_pooled_as_vbench_counts(tiny: Path, tmp_path: Path) -> None:
    """Frames of all clips count alike where they do between prompts, clips where clips do; what failed is left out and counted."""
    paths = [write(tmp_path / f"{number}.mp4", number, count) for number, count in enumerate([3, 6, 4, 4, 4, 4])]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    own = node(tiny, dimensions=["subject_consistency", "aesthetic_quality"])
    alone = measured(build(own), [sample(query(0, None), path) for path in paths])
    both = ["subject_consistency", "aesthetic_quality"]
    pooled, suite, custom = measured(
        build(own),
        [
            sample(query(1, both), paths[0], str(tmp_path / "bad.mp4"), paths[1], Failure("timeout", "no answer")),
            sample(query(2, both), *paths),  # the suite takes five clips of a prompt
            sample(query(3, None), *paths),
        ],
    )
    first, second = (row["subject_consistency"].value for row in alone[:2])
    assert pooled["subject_consistency"].value == pytest.approx((2 * first + 5 * second) / 7, abs=1e-5)
    assert pooled["subject_consistency"].weight == 7
    first, second = (row["aesthetic_quality"].value for row in alone[:2])
    assert pooled["aesthetic_quality"].value == pytest.approx((first + second) / 2, abs=1e-5)
    assert pooled["aesthetic_quality"].weight == 2
    assert {(pooled[name].tried, pooled[name].failed) for name in ("subject_consistency", "aesthetic_quality")} == {
        (4, 2)
    }
    assert pooled["vbench_failed_clips"] == Weighted(0.5, 4)
    assert [row["aesthetic_quality"].weight for row in (suite, custom)] == [5, 6]


def brightening(path: Path, step: int, count: int = 10, fps: float = 8) -> str:
    """Grey pictures, each brighter than the last by `step` levels, give or take one that the codec adds."""
    frames = np.stack([np.full((256, 258, 3), 60 + step * t, np.uint8) for t in range(count)])
    clips.write_mp4(frames, fps, path)
    return str(path)


GREY = {"height": 256, "width": 258}


def test_only_static_clips_have_temporal_flickering(tiny: Path, raft: None, tmp_path: Path) -> None:
    still, moving = brightening(tmp_path / "still.mp4", 0), brightening(tmp_path / "moving.mp4", 8)
    drifting = brightening(
        tmp_path / "drifting.mp4", 1
    )  # no step is fast, but from the first frame to the last it is 9
    own = node(tiny, dimensions=["temporal_flickering", "flicker_unfiltered"])
    card = card_of(own)
    asked = [query(number, ["temporal_flickering"]) for number in range(4)]
    rows = measured(
        build(own),
        [
            sample(asked[0], moving, still, drifting, **GREY),
            sample(asked[1], moving, drifting, **GREY),
            sample(asked[2], *[still] * 3, moving, *[still] * 4, **GREY),
            sample(query(3, None), still, **GREY),
            sample(query(4, ["temporal_flickering"]), brightening(tmp_path / "one.mp4", 0, count=1), **GREY),
        ],
    )
    assert rows[0]["temporal_flickering"] == Weighted(1.0, 1)
    assert rows[0]["vbench_static_clips"] == Weighted(pytest.approx(1 / 3), 3)
    assert rows[0]["flicker_unfiltered"].value < 0.99
    assert "temporal_flickering" not in rows[1]  # VBench drops such a prompt: it is no failure, and not 0
    assert rows[1]["vbench_static_clips"] == Weighted(0.0, 2)
    assert rows[1]["vbench_failed_clips"] == Weighted(0.0, 2)
    assert rows[2]["temporal_flickering"] == Weighted(1.0, 5)  # five are enough
    assert rows[2]["vbench_static_clips"] == Weighted(pytest.approx(5 / 6), 6)
    assert "temporal_flickering" not in rows[3]  # its prompts are those of the suite
    assert rows[4].kind == "clip_too_short"  # of one frame: neither static nor moving
    assert dimension(rows[:4], "temporal_flickering", card) == 1.0


def test_dynamic_degree_looks_at_eight_frames_a_second(tiny: Path, raft: None, tmp_path: Path) -> None:
    """Steps of 3 levels are below the threshold of 6 pixels at 8 frames a second, and at 24 every third frame is looked at."""
    paths = {
        "still": brightening(tmp_path / "still.mp4", 0),
        "slow": brightening(tmp_path / "slow.mp4", 3),
        "slow at 24": brightening(tmp_path / "slow24.mp4", 3, fps=24),
        "fast": brightening(tmp_path / "fast.mp4", 9),
        "one frame": brightening(tmp_path / "one.mp4", 0, count=1),
    }
    small = write(tmp_path / "small.mp4", 0, 4)
    own = node(tiny, dimensions=["dynamic_degree"])
    facts = [GREY | {"fps": 24.0 if "24" in name else 8.0} for name in paths]
    samples = [sample(query(0, None), path, **one) for path, one in zip(paths.values(), facts, strict=True)]
    rows = measured(build(own), [*samples, sample(query(1, None), small)])
    assert [row["dynamic_degree"].value for row in rows[:4]] == [0, 0, 1, 1]
    assert [row.kind for row in rows[4:]] == [
        "clip_too_short",
        "clip_too_small",
    ]  # nothing that moves, and no measurement
    assert "121 pixels" in rows[5].detail
    assert dimension(rows[:4], "dynamic_degree", card_of(own)) == pytest.approx(0.5)


def test_what_needs_flow_says_so_without_torchvision(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    for name in ("temporal_flickering", "dynamic_degree"):
        with pytest.raises(UserError, match=r'optical flow needs torchvision.*pip install "vpo\[raft\]"'):
            VBench.check_files(node(tiny, dimensions=[name]))
    VBench.check_files(node(tiny))


def test_raft_pads_to_multiples_of_eight_as_vbench(raft: None) -> None:
    flow = Raft(None, "cpu", "x.raft_file")
    dark, light = np.zeros((130, 121, 3), np.uint8), np.full((130, 121, 3), 7, np.uint8)
    found = list(flow.flows([(dark, light)] * 5))
    assert [tuple(one.shape) for one in found] == [(1, 2, 136, 128)] * 5
    assert float(found[4][0, 0].mean()) == pytest.approx(7, abs=1e-4)
    assert padding(130, 121) == (3, 4, 3, 3)
    assert padding(480, 720) == (0, 0, 0, 0)


def test_what_is_no_number_is_no_measurement(
    tiny: Path, raft: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        GreyFlow, "forward", lambda self, a, b, num_flow_updates: [torch.full((len(a), 2, 8, 264), torch.nan)]
    )
    still = brightening(tmp_path / "still.mp4", 0)
    rows = measured(
        build(node(tiny, dimensions=["temporal_flickering", "dynamic_degree"])),
        [sample(query(0, ["temporal_flickering"]), still, **GREY), sample(query(1, ["dynamic_degree"]), still, **GREY)],
    )
    assert [row.kind for row in rows] == ["not_finite", "not_finite"]


def test_what_stands_in_model_files_is_part_of_the_key(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "models")
    own = node(tmp_path / "models")
    before = with_contents(own)
    for file in ("dino/model.safetensors", "clip_l14/model.safetensors", "aesthetic_head/head.json"):
        with (tmp_path / "models" / file).open("ab") as opened:
            opened.write(b" ")
        after = with_contents(own)
        assert after != before, file
        before = after
