"""What every evaluator keeps to, whoever wrote it: all choices of conf/evaluator, on prompts and clips of the sketch world.

A choice whose weights are not on this machine is skipped and says what it lacks; encoders of sentences and frames, and the tiny
vision-language model that answers questions, have random weights here.
"""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from tests.conftest import ROOT
from tests.encoders import save_encoder
from vpo.assets.tiny import vision, vlm
from vpo.build import build, card_of
from vpo.cards import Weighted
from vpo.checking.composing import compose
from vpo.errors import UserError
from vpo.records import Failure, Prompt, Rival, Sample
from vpo.results.across import function_across
from vpo.results.aggregates import MeanOfItems, WeightedMean, aggregate_class
from vpo.stages.evaluate import measure

NAMES = sorted(path.stem for path in (ROOT / "conf/evaluator").glob("*.yaml"))
ENCODERS = (
    "vpo.evaluator.semantic.Semantic",
    "vpo.language.embedding.SentenceEncoder",
)  # tiny ones stand in for theirs
AWAY = Failure("timeout", "no answer")
ROWS = 5
OF_ALL = {"clip_unsafe"}  # a share of all prompts, as its card says: a clip that was not made is not unsafe
GIVEN = {"clips", "verdicts", "query_verdicts", "scores", "rivals"}  # of what cards ask for, what the samples have


# Small random models of the true classes in the place of released ones.
STAND_INS = {
    "facebook/dino-vitb16": "dino", "facebook/dinov2-base": "dino2", "openai/clip-vit-base-patch32": "clip_b32",
    "openai/clip-vit-large-patch14": "clip_l14", "TIGER-Lab/VideoScore": "videoscore", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": "mps",
}  # fmt: skip
ASKING = ("clip_safety", "compositional", "winrate", "winrate_clips")


@cache
def config_of(name):
    more = {
        "vbench_long": ["evaluator.vbench_long.from_seconds=null"],  # the sketch world's clips have 2 s
        "monetbench": ["reward=visionreward"],
    }
    engine = ["engine=vlm", "engine.model=tiny"] if name in ASKING else []
    return compose(f"evaluator=[{name}]", *engine, *more.get(name, ())).config


class Models:
    """Folders of small models by what they stand in for, each written when it is asked for first."""

    def __init__(self, root):
        self.root = root

    def __getitem__(self, name):
        folder = self.root / name
        if not folder.is_dir():
            if name == "encoder":
                save_encoder(folder)
            else:
                folder.mkdir()
                (vision.MODELS | {"qwen2_5_vl": vlm.qwen2_5_vl})[name](folder)
        return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def pool():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        yield processes


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Five queries with prompts, two clips each, verdicts and scores, all by the sketch world's own roles."""
    config, folder = config_of("alignment"), tmp_path_factory.mktemp("clips")
    queries = build(config["dataset"]).splits()["test"][:ROWS]
    prompts = [
        Prompt(f"{one.id}-m", one.id, one.text, f"{one.text}, under {place}", "m")
        for one, place in zip(queries, ("a red sky", "snow", "a bridge", "the moon", "trees"), strict=True)
    ]
    judge, generator = build(config["judge"]), build(config["generator"])
    verdicts = judge.critique(prompts)
    of_queries = judge.critique([replace(one, text=one.query) for one in prompts])
    clips = []
    for copy in range(2):
        (folder / str(copy)).mkdir()
        made = generator.render(prompts, [copy] * ROWS, folder / str(copy))
        clips.append([replace(one, path=str(folder / str(copy) / one.path)) for one in made])
    scores = [build(config["reward"]).score(of_copy) for of_copy in clips]
    return [
        Sample(
            query,
            prompts[n],
            tuple(one[n] for one in clips),
            verdicts[n],
            of_queries[n],
            tuple(one[n] for one in scores),
            (Rival("other", replace(prompts[n], text=query.text, method="other"), (clips[1][n],)),),
        )
        for n, query in enumerate(queries)
    ]


def node_of(name, models):
    """The node of a choice, with small models in the place of those that are not here."""

    def tiny(node):
        if not isinstance(node, dict):
            return node
        own = {key: tiny(value) for key, value in node.items()}
        if node.get("_target_") in ENCODERS:
            own |= {"model": models["encoder"], "max_tokens": 32}
        if node.get("_target_") == "vpo.reward.asking.engine.VisionEngine":
            own |= {"model": models["qwen2_5_vl"], "dtype": "float32", "min_pixels": 784, "max_pixels": 3136}
        if node.get("path") in STAND_INS:
            own |= {"path": models[STAND_INS[node["path"]]], "revision": None, "dtype": "float32"}
        for key in {"head", "head_file"} & node.keys():
            own[key] = str(Path(models["aesthetic_head"]) / "head.json")
        own |= {"viclip_file": str(Path(models["viclip"]) / "viclip.pth")} if "viclip_file" in node else {}
        own |= {"max_new_tokens": 8, "tries": 1} if {"tries", "max_new_tokens"} <= node.keys() else {}
        return own

    (node,) = config_of(name)["evaluator"].values()
    return tiny(node)


@pytest.fixture
def chosen(request, models, samples):
    """(node, card) of a choice that works here."""
    lacking = LACKING.get(request.param)
    if lacking is None:
        lacking = LACKING[request.param] = lacking_of(request.param, models, samples)
    if lacking:
        pytest.skip(lacking)
    node = node_of(request.param, models)
    return node, card_of(node)


LACKING: dict[str, str] = {}  # by name, what a choice lacks on this machine; empty for nothing


def lacking_of(name, models, samples):
    """Weights are looked for when an evaluator is built, or when it measures for the first time."""
    try:
        node = node_of(name, models)
        (row,) = measured(node, samples[:1])
    except UserError as error:
        return str(error)
    if isinstance(row, Failure):
        return f"measures no such clips: {row.detail}"
    needs = card_of(node).needs - GIVEN
    return f"needs {', '.join(sorted(needs))}, which these samples do not have" if needs else ""


def _close(evaluator):
    getattr(evaluator, "close", lambda: None)()


def measured(node, samples):
    """What a fresh evaluator says, in this process."""
    evaluator = build(node)
    try:
        return [row if isinstance(row, Failure) else dict(row) for row in evaluator.measure(samples)]
    finally:
        _close(evaluator)


def plain(rows):
    """Numbers alone, for a comparison of floats: batches of other shapes round sums differently."""
    return [
        {name: [one.value, one.weight] if isinstance(one, Weighted) else one for name, one in row.items()}
        for row in rows
    ]


def assert_alike(rows, others):
    assert len(rows) == len(others)
    for one, other in zip(plain(rows), plain(others), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], abs=1e-5), name


SLOW = ("nudity", "prompt_a_video", "vbench_long", *ASKING)  # models that take seconds
every = pytest.mark.parametrize(
    "chosen", [pytest.param(one, marks=pytest.mark.slow) if one in SLOW else one for one in NAMES], indirect=True
)


@every
def test_of_nothing_it_says_nothing(chosen):
    assert measured(chosen[0], []) == []


@every
def test_all_that_it_measures_is_on_its_card(chosen, samples):
    node, card = chosen
    rows = measured(node, samples)
    assert len(rows) == len(samples)
    if any(card.applicable(sample) for sample in samples):
        assert any(rows)
    for row in rows:
        assert all(card.metric_of(name) is not None for name in row)
        for name, value in row.items():
            metric = card.metric_of(name)
            number = value.value if isinstance(value, Weighted) else value
            if number is not None and metric.pairs and not metric.of_set:  # of a set no item has the number
                low, high = (one if one is not None else number for one in metric.range)
                assert low - 1e-9 <= number <= high + 1e-9, name
    evaluator = build(node)
    kept = measure(evaluator, samples, card=replace(card, applies=None), clips=Path("/"))  # as the stage does
    _close(evaluator)
    assert [one["query_id"] for one in kept] == [one.query.id for one in samples]


@every
def test_batches_do_not_matter(chosen, samples):
    """In two parts and in another order it says the same; of a set that is measured together, in another order."""
    node, card = chosen
    whole = measured(node, samples)
    if not card.whole:
        evaluator = build(node)
        parts = [dict(row) for part in (samples[:2], samples[2:]) for row in evaluator.measure(part)]
        _close(evaluator)
        assert_alike(parts, whole)
    assert_alike(measured(node, samples[::-1])[::-1], whole)


@pytest.mark.slow
@every
def test_two_processes_say_what_one_says(chosen, samples, pool):
    node, card = chosen
    parts = [samples] * 2 if card.whole else [samples[:3], samples[3:]]
    found = [pool.submit(measured, node, part) for part in parts]
    rows = [one.result(timeout=120) for one in found]
    whole = measured(node, samples)
    for one in rows if card.whole else [rows[0] + rows[1]]:
        assert_alike(one, whole)


@every
def test_what_is_missing_is_no_number_and_takes_nothing_with_it(chosen, samples):
    """A query of which all that a card asks for has failed, beside one on which nothing has."""
    node, card = chosen
    rivals = (Rival("other", AWAY, (AWAY,)),)
    lost = replace(samples[1], rivals=rivals, clips=(AWAY, AWAY), scores=(AWAY, AWAY), verdict=AWAY, query_verdict=AWAY)
    rows = measured(node, [samples[0], lost])
    alone = measured(node, samples[:1])
    if not card.whole:
        assert_alike(rows[:1], alone)
    if card.needs and not isinstance(rows[1], Failure):
        judged = [name for name in rows[1] if rows[1][name] is None]
        assert judged or set(rows[1]) <= OF_ALL
        assert set(rows[1]) <= set(card.applicable(lost)) | {name for name in rows[1] if card.metric_of(name).parts}


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_a_reader_must_know(name, models):
    try:
        node = node_of(name, models)
    except UserError as error:
        pytest.skip(str(error))
    try:
        card = card_of(node)
    except UserError as error:  # a card that says what its weights' files say
        if "cannot be imported" in str(error):
            raise
        pytest.skip(str(error))
    assert card.about
    assert card.version
    assert card.model
    assert card.licence
    for metric in (*card.metrics, *(one.metric for one in card.derived)):
        assert metric.about, metric.name
        assert metric.label
        assert metric.range is not None, metric.name
        low, high = metric.range
        assert low is None or high is None or low < high
    for metric in card.metrics:
        if metric.across:
            assert callable(function_across(metric))
        else:
            assert issubclass(aggregate_class(metric.aggregate), torch.nn.Module)


AGGREGATES = (MeanOfItems, WeightedMean)


def _half(rank, store, values, weights, out):
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = []
    for kind in AGGREGATES:
        metric = kind().set_dtype(torch.float64)
        own = slice(0, 3) if rank == 0 else slice(3, None)  # of other sizes
        metric.update(values[own], weights[own])
        found.append(float(metric.compute()))
    torch.save(found, f"{out}-{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_states_of_two_processes_merge(tmp_path):
    """Values and weights of seven items, three here and four there: the mean, and sum w v / sum w, on both sides."""
    values = torch.tensor([1.0, 2, 3, 4, 5, 6, 7], dtype=torch.float64)
    weights = torch.tensor([1.0, 1, 1, 1, 1, 1, 8], dtype=torch.float64)
    torch.multiprocessing.spawn(_half, (str(tmp_path / "store"), values, weights, str(tmp_path / "out")), nprocs=2)
    for rank in range(2):
        assert torch.load(f"{tmp_path / 'out'}-{rank}", weights_only=True) == pytest.approx([4.0, (21 + 56) / 14])
