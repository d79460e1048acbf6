"""Evolutions from the first generation to the data set of the winners, with the real stages."""

import csv
import json

import pytest

import vpo
from tests.checking.test_config import DATA, changed, composed, keys_of, leaves, with_value
from vpo import targets
from vpo.assets.folder import find_asset
from vpo.build import build
from vpo.checking.rules import check
from vpo.dataset.evolved import EvolvedDataset
from vpo.errors import UserError
from vpo.records import Clip, Evolved, Example, Prompt, Query, Verdict
from vpo.stages.context import Context
from vpo.stages.draft import draft
from vpo.stages.evolution import evolve
from vpo.stages.evolve import Evolve, drawn
from vpo.stages.queries import Queries
from vpo.storage.rows import read_rows, write_rows
from vpo.storage.store import Store, read_manifest

SMALL = ("evolution.queries=3", "dataset.sft=3", "dataset.dpo=3", "dataset.test=3")


def made(folder, *overrides):
    """The context and the winners of a sketch evolution."""
    config = composed("experiment=evolve", *SMALL, *overrides)
    context = Context(Store(folder))
    return context, evolve(context, config, context.make(Queries(dataset=config["dataset"])))


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory):
    return made(tmp_path_factory.mktemp("evolution"), "evolution.rounds=2")


def test_an_evolution_goes_from_queries_to_winners(two_rounds):
    context, winners = two_rounds
    queries = {one.id: one for one in winners_input(context).rows("sft.jsonl", Query)[:3]}
    pool = winners.rows("evolved.jsonl", Evolved)
    assert {one.query_id for one in pool} == set(queries)
    assert all(one.query == queries[one.query_id].text for one in pool)
    assert [sum(one.generation == g for one in pool) for g in (0, 1, 2)] == [3, 9, 9]
    known = {one.id: one for one in pool}
    for one in pool:
        assert all(known[parent].generation < one.generation for parent in one.parents)
        assert len(one.parents) == (0, 0, 3)[one.generation]  # nothing but the query to show at first
    examples = winners.rows("rows.jsonl", Example)
    for one in examples:
        own = [rewrite for rewrite in pool if rewrite.query_id == one.query_id]
        assert one.completion == max(own, key=lambda rewrite: rewrite.value).text
        assert one.completion != one.query


def winners_input(context):
    return context.requested[0][1]


def test_every_prompt_is_scored_against_its_query(two_rounds):
    """Also in later generations, whose prompts were written from rewrites."""
    context, _ = two_rounds
    texts = {one.id: one.text for one in winners_input(context).rows("sft.jsonl", Query)}
    clips = [
        one for stage, entry in context.requested if stage.name == "render" for one in entry.rows("clips.jsonl", Clip)
    ]
    assert len(clips) == 21
    assert all(clip.query == texts[clip.query_id] for clip in clips)
    assert len({(clip.query_id, clip.seed) for clip in clips}) == 3  # equal noise: the prompt alone decides


def test_the_curve_has_its_numbers_and_its_picture(two_rounds):
    _, winners = two_rounds
    with (winners.folder / "curve.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    best = [float(row["best"]) for row in rows]
    assert [row["generation"] for row in rows] == ["0", "1", "2"]
    assert best == sorted(best)
    assert best[2] > best[0]
    pool = winners.rows("evolved.jsonl", Evolved)
    first = [one.value for one in pool if one.generation == 0]
    assert best[0] == pytest.approx(sum(first) / 3)
    assert (winners.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_more_rounds_go_on_from_the_last_generation(two_rounds, tmp_path):
    """Stopped after one round and started again, it gives what it gives at once, and does nothing twice."""
    _, whole = two_rounds
    context, one_round = made(tmp_path, "evolution.rounds=1")
    before = stamps(context)
    again, two = made(tmp_path, "evolution.rounds=2")
    assert two.key == whole.key != one_round.key
    assert before.items() <= (stamps(context) | stamps(again)).items()  # the first generations were not made anew
    for name in ("evolved.jsonl", "rows.jsonl", "curve.csv", "dataset/sft.jsonl"):
        assert (two.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def stamps(context):
    return {
        entry.folder.as_posix(): json.loads((entry.folder / "manifest.json").read_text())["stamp"]
        for stage, entry in context.requested
        if stage.name != "winners"
    }


COPIED = "A shaggy brown dog trots along a wide sandy beach, its paws leaving a line of wet prints."


class CopyingRewriter:
    """Writes a prompt, and one that is an example of a template (vpo/templates/evolve_fewshot.txt)."""

    batch_size = 2

    def rewrite(self, families, n, seed):
        return [["A cat sleeps.", COPIED] for _ in families]

    def close(self):
        pass


def test_a_text_that_repeats_a_template_is_no_prompt_unless_it_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "_trusted", ("tests.",))
    context = Context(Store(tmp_path))
    queries = [Query("a", "a cat"), Query("b", COPIED.lower())]

    def stored(stage, file, rows):
        return context.store.get(stage, {}, {}, lambda folder: write_rows(folder / file, rows) or {})

    asked = stored("queries", "sft.jsonl", queries)
    first = context.make(Evolve(queries=asked, draw=None, generation=0))
    verdicts = stored("critique", "verdicts.jsonl", [Verdict(f"{one.id}-g0", True, True, True) for one in queries])
    entry = context.make(
        Evolve(
            queries=asked, draw=None, generation=1, rewriter={"_target_": f"{__name__}.CopyingRewriter"}, parents=3, children=2,
            earlier=[first], rewards=[verdicts], seed=0,
        )
    )  # fmt: skip
    found = [(one.query_id, one.text) for one in entry.rows("prompts.jsonl", Prompt)]
    assert found == [("a", "A cat sleeps."), ("b", "A cat sleeps."), ("b", COPIED)]
    assert read_manifest(entry.folder)["counts"] == {"prompts": 3, "repeated": 0, "copied": 1, "failed": 0}


@pytest.mark.slow
def test_a_kill_within_a_generation_loses_nothing(two_rounds, tmp_path, monkeypatch):
    """The rewriter dies with the second generation's second query; the next start goes on behind the first."""
    from vpo.executor.local import LocalExecutor
    from vpo.sketch.rewriter import SketchRewriter

    _, whole = two_rounds
    asked = []
    real = SketchRewriter.rewrite

    def dying(self, families, n, seed):
        for one in families:
            if one.generation == 2 and len(asked) == 4:
                raise KeyboardInterrupt
            asked.append((one.generation, one.query.id))
        return real(self, families, n, seed)

    monkeypatch.setattr(SketchRewriter, "batch_size", 1, raising=False)
    monkeypatch.setattr(SketchRewriter, "rewrite", dying)
    config = composed("experiment=evolve", *SMALL, "evolution.rounds=2")
    context = Context(Store(tmp_path), LocalExecutor())
    queries = context.make(Queries(dataset=config["dataset"]))
    with pytest.raises(KeyboardInterrupt):
        evolve(context, config, queries)
    assert len(asked) == 4
    asked.append(("killed", ""))
    winners = evolve(Context(Store(tmp_path)), config, queries)
    assert [one for one in asked if one[0] == 2] == [(2, f"sft-0000{k}") for k in range(3)]  # each query once
    assert (winners.folder / "evolved.jsonl").read_bytes() == (whole.folder / "evolved.jsonl").read_bytes()


def test_the_winners_are_a_data_set(two_rounds):
    context, winners = two_rounds
    given = {one.query_id: one.completion for one in winners.rows("rows.jsonl", Example)}
    for path in (winners.folder, winners.folder / "dataset", winners.folder / "dataset/sft.jsonl"):
        dataset = EvolvedDataset(str(path))
        splits = dataset.splits()
        assert {one.id: one.meta["rewrite"] for one in splits["sft"]} == given
        for name in ("dpo", "test"):
            assert splits[name] == winners_input(context).rows(f"{name}.jsonl", Query)
        assert splits["sft"][0].truth  # what the sketch world knows of a query stays with it
        assert dataset.fingerprint() == EvolvedDataset(str(winners.folder)).fingerprint()
    assert [len(rows) for rows in EvolvedDataset(str(winners.folder), sft=1, dpo=2).splits().values()] == [2, 1, 3]


def test_the_winners_are_drafts_of_another_run(two_rounds, tmp_path):
    _, winners = two_rounds
    config = composed("dataset=evolved", f"dataset.path={winners.folder}", "method@drafter=given")
    check(config)
    context = Context(Store(tmp_path))
    drafts = context.make(draft(config["drafter"], context.make(Queries(dataset=config["dataset"])), 0))
    given = {one.query_id: one.completion for one in winners.rows("rows.jsonl", Example)}
    assert {one.query_id: one.text for one in drafts.rows("prompts.jsonl", Prompt)} == given


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "nowhere: no such folder; give the folder that"), ("", "no sft.jsonl in it; give the folder that")],
)
def test_what_is_no_evolution_is_one_line(tmp_path, path, message):
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(UserError, match=message):
        EvolvedDataset(str(tmp_path / path))
    with pytest.raises(UserError, match=r"dataset.sft=0 must be a whole number of at least 1"):
        build({"_target_": "vpo.dataset.evolved.EvolvedDataset", "path": str(tmp_path), "sft": 0})


def test_a_query_that_the_rewriter_fails_on_is_not_evolved_further(tmp_path, monkeypatch):
    from vpo.records import Failure
    from vpo.sketch.rewriter import SketchRewriter

    real = SketchRewriter.rewrite
    monkeypatch.setattr(
        SketchRewriter, "rewrite",
        lambda self, families, n, seed: [
            Failure("wrong_number", "2 of 3") if one.query.id == "sft-00001" and one.generation == 1 else texts
            for one, texts in zip(families, real(self, families, n, seed), strict=True)
        ],
    )  # fmt: skip
    context, winners = made(tmp_path, "evolution.rounds=2")
    pool = winners.rows("evolved.jsonl", Evolved)
    assert {one.query_id for one in pool if one.generation == 2} == {"sft-00000", "sft-00002"}
    assert [one.generation for one in pool if one.query_id == "sft-00001"] == [0]
    generations = [entry for stage, entry in context.requested if stage.name == "evolve"]
    assert [len(entry.failures("families.jsonl")) for entry in generations[1:]] == [1, 0]


def test_an_evolution_without_a_winner_keeps_its_curve(tmp_path):
    """All is paid for and to be looked at; what cannot be is training on it."""
    _, winners = made(tmp_path, "evolution.rounds=1", "+evolution.least.Alignment=99")
    assert winners.rows("rows.jsonl", Example) == []
    assert (winners.folder / "curve.png").exists()
    with pytest.raises(UserError, match="this evolution has no winner"):
        EvolvedDataset(str(winners.folder)).splits()


def test_every_value_of_an_evolution_changes_the_winners():
    base = composed("experiment=evolve")
    known = {one for one in keys_of(base) if one.startswith("winners/")}
    assert len(known) == 1
    for group in ("evolution", "rewriter"):
        for path, value in leaves(base[group]):
            if path[-1] not in ("_target_", "reward"):
                other = keys_of(with_value(base, (group, *path), changed(value)))
                assert known.isdisjoint(other), path
    assert known.isdisjoint(keys_of({**base, "seed": 1}))
    assert known.isdisjoint(keys_of(composed("experiment=evolve", "evolution=text")))


def test_generations_are_shared_by_evolutions_of_other_lengths():
    short, long = (keys_of(composed("experiment=evolve", f"evolution.rounds={n}")) for n in (2, 4))
    assert {one for one in short if not one.startswith("winners/")} <= long


def test_sft_learns_from_the_winners_where_the_run_goes_on():
    from vpo import pipeline

    names = [stage.name for stage, _ in pipeline.plan(composed("experiment=evolve", "stop_after=null", "method=[sft]"))]
    assert names[names.index("winners") :][:3] == ["winners", "start", "sft"]
    assert "draft" not in names


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evolution=text"], "an evolution needs someone who writes new prompts, and rewriter=none"),
        (["experiment=evolve", "evolution.rounds=0"], "evolution.rounds=0 must be a whole number of at least 1"),
        (["experiment=evolve", "evolution.reward=both"], "evolution.reward=both must be 'text' or 'video'"),
        (["experiment=evolve", "+evolution.speed=2"], "there is no key evolution.speed"),
        (["experiment=evolve", "rewriter.mutate=2"], "rewriter.mutate=2 must be a share between 0 and 1"),
        (["evolution=text", "rewriter=engine", "engine=none"], "rewriter asks a language model, and engine=none"),
    ],
)  # fmt: skip
def test_impossible_evolutions_are_found_before_any_work(overrides, message):
    with pytest.raises(UserError, match=message):
        check(composed(*overrides))


def test_the_evolved_queries_are_spread_over_the_split():
    queries = [Query(f"kind{k // 50}-{k}", "text") for k in range(100)]
    few, more = drawn(queries, 10), drawn(queries, 40)
    assert len(few) == 10
    assert {one.id for one in few} < {one.id for one in more}
    assert few == sorted(few, key=queries.index)
    assert {one.id[:5] for one in few} == {"kind0", "kind1"}
    assert drawn(queries, None) == queries


@pytest.mark.slow
def test_a_real_language_model_rewrites_and_the_judge_is_the_reward(tmp_path, monkeypatch):
    """Does it work, not how well: SmolLM2 writes two short prompts of two queries."""
    try:
        find_asset("asset:smollm2-135m-instruct", None, "engine.model")
    except UserError:
        pytest.skip("the asset is not here: `vpo assets get smollm2-135m-instruct`")
    monkeypatch.chdir(tmp_path)
    small = (
        "evolution.queries=2",
        "evolution.rounds=1",
        "evolution.children=2",
        "rewriter.max_new_tokens=12",
        "logger=[]",
    )
    vpo.run(vpo.compose("experiment=english_evolve", "dataset=english_smoke", DATA, *small))
    (pool,) = (tmp_path / "store/winners").glob("*/evolved.jsonl")
    found = read_rows(pool, Evolved)
    assert sum(one.generation == 0 for one in found) == 2
    assert sum(one.generation == 1 for one in found) > 0
    assert all(one.value is not None and 0 <= one.value <= 1 for one in found)
    assert (pool.parent / "curve.png").exists()
