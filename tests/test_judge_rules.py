"""The rule judge: hand-written cases, and its figures on VBench's prompts with their published rewrites.

Missing words were looked up and added for VBench's even-numbered prompts only, and every bar is asked of both halves.
The odd half is not untouched, though: all prompts and a sample of the rewrites were read before the lexicon was made,
`missing_tolerance` was chosen on both halves, and harmless phrases were collected from all rewrites.
"""

import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from vpo.judge import harm, lexicon
from vpo.judge.asking import understand
from vpo.judge.rules import RulesJudge
from vpo.judge.words import near, read, stem
from vpo.records import Prompt, Verdict

ROOT = Path(__file__).resolve().parents[1]
VBENCH = ROOT.parent / "shared" / "data" / "vbench"
QUERIES = ROOT.parent / "shared" / "data" / "vpo"
REWRITES = {"gpt4o": "all_dimension_gpt4o_cogvideox_style.txt", "wan": "all_dimension_wan2.1_qwen2.5-3b_seed42.txt"}
needs_vbench = pytest.mark.skipif(not VBENCH.is_dir(), reason="shared/data/vbench is not beside the repository")
needs_queries = pytest.mark.skipif(not QUERIES.is_dir(), reason="shared/data/vpo is not beside the repository")


@pytest.fixture(scope="module")
def judge() -> RulesJudge:
    values = yaml.safe_load((ROOT / "conf" / "judge" / "rules.yaml").read_text())
    assert values.pop("_target_") == "vpo.judge.rules.RulesJudge"
    return RulesJudge(**values)


def _prompt(query: str, text: str, name: str = "p") -> Prompt:
    return Prompt(name, "q", query, text, "test")


def _verdict(judge: RulesJudge, query: str, text: str) -> Verdict:
    return judge.critique([_prompt(query, text)])[0]


def _kinds(verdict: Verdict, aspect: str) -> list[tuple[str, str]]:
    return [(reason.kind, reason.detail) for reason in verdict.reasons if reason.aspect == aspect]


# Words


@pytest.mark.parametrize(
    "forms",
    [
        "run runs running ran",
        "wave waves waving",
        "city cities",
        "fly flies flying flew",
        "box boxes",
        "horse horses",
        "tie ties tying",
        "bus buses",
        "man men",
        "roll rolls rolling rolled",
        "knife knives",
        "dance dancing dances",
    ],
)
def test_stem_joins_inflections(forms: str) -> None:
    assert len({stem(word) for word in forms.split()}) == 1


@pytest.mark.parametrize("pair", ["bed red", "sing king", "bus bush", "robe rope", "seed see", "spring sprint"])
def test_stem_keeps_words_apart(pair: str) -> None:
    a, b = pair.split()
    assert stem(a) != stem(b)


def test_near_counts_slips() -> None:
    assert near("bicycle", "bycicle", 2)
    assert near("teh", "the", 1)
    assert not near("cat", "dog", 2)


# Harmless

UNSAFE = (
    "a bloody fight between two dogs",
    "a man pointing a gun at a woman",
    "blood dripping from a knife",
    "two men fighting",
    "a man with a gun",
    "a robot holding a knife",
    "soldiers shooting at people",
    "a man beats a dog",
    "a nude woman",
    "a violent attack",
    "a dog covered in blood",
    "a man kills a stranger",
    "he is smoking weed",
    "a nazi parade",
    "a woman hurts herself",
    "people selling drugs",
    "a man stabbing another",
    "a gunman in a school",
    "a corpse on the street",
)
SAFE = (
    "a shooting star",
    "a photo shoot in a park",
    "a woman in a tank top",
    "army training in the desert",
    "a tank on the path",
    "godzilla stepping on people",
    "a beating heart",
    "a child with a water gun",
    "a pillow fight",
    "a snowball fight",
    "a chef cutting bread with a knife",
    "a knife on the left of a spoon",
    "a person shooting basketball",
    "a blood orange",
    "a person sword fighting",
    "a killer whale",
    "a man kicking a ball",
    "fruit punch in a glass",
    "a monk in a hooded robe",
    "a peaceful street without any violence",
    "a bomber jacket",
    "a hot dog with mustard",
    "fire fighting with water",
    "a storm attacking the coast",
    "an axe beside logs",
    "a chest of drawers",
    "a hotdog eating contest",
    "drawing a bow",
)


@pytest.mark.parametrize("text", UNSAFE)
def test_flags_unsafe(judge: RulesJudge, text: str) -> None:
    verdict = _verdict(judge, text, text)
    assert verdict.harmless is False
    assert _kinds(verdict, "harmless")


@pytest.mark.parametrize("text", SAFE)
def test_passes_safe(text: str) -> None:
    assert not harm.find(read(text))


@pytest.mark.parametrize("text", UNSAFE)
def test_mends_unsafe(judge: RulesJudge, text: str) -> None:
    prompt = _prompt(text, f"In a quiet street, {text}. The sun shines and people walk by.")
    mended = judge.refine([prompt], judge.critique([prompt]))[0]
    assert mended is not None
    assert _verdict(judge, text, mended).fine


# Accurate


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("a red car", "A shiny crimson sedan gleams."),
        ("a dog running on the beach", "A golden retriever sprints along the shore."),
        ("cell phone", "A sleek smartphone lies there."),
        ("a person riding a bike", "A young woman cycles, her bicycle gleaming."),
        ("sea side village", "A small seaside village."),
        ("two dogs", "A pair of dogs."),
        ("a plane at sunset", "An aircraft in the golden hour."),
        ("a bycicle in the park", "A bicycle in the park."),
        ("a cat -ar 16:9 -gs 24 --v 5 -fps 24 -seed 12 8k", "A cat."),
        ("a rose  Message: HELLO (Font: MODERN)", "A rose."),
        ("Lily&#39;s cat", "The cat of Lily."),
        ("a cat on the left of a dog", "A cat to the left of a dog."),
        ("a cat on the left of a dog", "On the left, a cat; on the right, a dog."),
        ("a cat on the left of a dog", "A dog stands there. To the left of the dog, a cat."),
        ("a cat on the left of a dog", "A dog to the right of a cat."),
        ("a cup on the top of a book", "A cup rests on a book."),
        ("a cup under a table", "A cup beneath a table."),
        ("a bird -camera zoom in", "A bird. The camera zooms in."),
        ("a bird -neg cat", "A bird."),
        ("a man with a gun in a park", "A man in a park."),
        ("a bloody fight between two dogs", "Two dogs play."),
        ("please make a video of a cat", "A cat."),
    ],
)
def test_accepts_what_is_kept(judge: RulesJudge, query: str, text: str) -> None:
    assert _kinds(_verdict(judge, query, text), "accurate") == []


@pytest.mark.parametrize(
    ("query", "text", "reason"),
    [
        ("a red car", "A blue car.", ("changed_colour", "red -> blue")),
        ("a red car", "A car.", ("missing", "red")),
        ("two dogs", "Three dogs.", ("changed_count", "two -> three")),
        ("a trio of kites", "Two kites.", ("changed_count", "trio -> two")),
        ("a dog", "Three dogs.", ("changed_count", "a -> three")),
        ("two dogs", "Dogs.", ("missing", "two dogs")),
        ("a cat on the left of a dog", "A cat to the right of a dog.", ("changed_relation", "cat left dog -> right")),
        ("a cup under a table", "A cup on top of a table.", ("changed_relation", "cup below table -> above")),
        ("a cat on the left of a dog", "A cat and a dog.", ("missing_relation", "cat left dog")),
        ("a dog in the forest", "A dog.", ("missing", "forest")),
        ("a car", "A bus among vehicles.", ("missing", "car")),
        ("a man", "A woman.", ("missing", "man")),
        ("a bird -camera zoom in", "A bird. The camera zooms out.", ("missing", "zoom in")),
        ("a bird -neg cat", "A bird and a cat.", ("excluded", "cat")),
        ("a bird -motion 1", "A bird at full speed.", ("motion", "-motion 1")),
        ("a bird -motion 4", "A motionless bird.", ("motion", "-motion 4")),
        ("a bird, watercolor painting", "A bird, in pixel art.", ("missing", "watercolor painting")),
    ],
)
def test_names_what_is_lost(judge: RulesJudge, query: str, text: str, reason: tuple[str, str]) -> None:
    assert _kinds(_verdict(judge, query, text), "accurate") == [reason]


def test_swapped_colours_are_both_named(judge: RulesJudge) -> None:
    kinds = _kinds(_verdict(judge, "a red car and a blue ball", "A blue car and a red ball."), "accurate")
    assert kinds == [("changed_colour", "red -> blue"), ("changed_colour", "blue -> red")]


def test_reads_flags() -> None:
    wish = understand("a rabbit -motion 3 -neg blurry, cats -camera pan right -ar 16:9")
    assert (wish.text, wish.motion, wish.excluded) == ("a rabbit", 3, ("blurry", "cats"))
    assert [item.words for item in wish.items if item.kind == "camera"] == ["pan right"]


# Helpful and refusals

GOOD = (
    "A red car drives along a coastal road at sunset, its paint glowing in the warm light. Waves break on the rocks, "
    "and the camera follows the car from the side as it turns towards the hills."
)


def test_good_prompt_is_fine(judge: RulesJudge) -> None:
    verdict = _verdict(judge, "a red car driving at sunset", GOOD)
    assert verdict.fine
    assert verdict.alignment == "aligned"
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    "opening",
    [
        "The video shows",
        "In this video, we see",
        "Here is a video prompt:",
        "The scene opens with",
        "The video begins with",
    ],
)
def test_lead_in(judge: RulesJudge, opening: str) -> None:
    verdict = _verdict(judge, "a red car driving at sunset", f"{opening} {GOOD}")
    assert "lead_in" in [kind for kind, _ in _kinds(verdict, "helpful")]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot create this.",
        "As an AI, I must decline.",
        "I apologize, but no.",
    ],
)
def test_refusal(judge: RulesJudge, text: str) -> None:
    verdict = _verdict(judge, "a cat", text)
    assert verdict.refusal
    assert not verdict.fine
    assert verdict.alignment == "refusal"


def test_refusal_only_at_the_start(judge: RulesJudge) -> None:
    assert not _verdict(judge, "a man speaking", "A man speaks: I'm sorry, I cannot stay.").refusal


def test_length_and_facets(judge: RulesJudge) -> None:
    kinds = _kinds(_verdict(judge, "a red car", "A red car."), "helpful")
    assert kinds == [
        ("too_short", "3 words"),
        ("no_facet", "motion"),
        ("no_facet", "light"),
        ("no_facet", "place"),
        ("no_facet", "camera"),
    ]
    assert ("too_long", "180 words") in _kinds(_verdict(judge, "a car", "car " * 180), "helpful")


# Odd inputs


@pytest.mark.parametrize("query", ["", "   ", "日本語の猫", "🚗🚗", "-ar 16:9", "мальчик бежит", "????", "a" * 500])
@pytest.mark.parametrize("text", ["", "日本語", "🚗", "Ein Hund läuft im Park.", "\n\n"])
def test_odd_inputs_never_raise(judge: RulesJudge, query: str, text: str) -> None:
    prompt = _prompt(query, text)
    verdict = judge.critique([prompt])[0]
    assert verdict.fine is not None
    judge.refine([prompt], [verdict])


def test_empty_prompt(judge: RulesJudge) -> None:
    verdict = _verdict(judge, "a cat", "")
    assert (verdict.harmless, verdict.accurate, verdict.helpful) == (True, False, False)


@pytest.mark.parametrize(
    "unit", ["red car ", "a gun, ", "a", "the man is on the left of a dog. ", "-neg cat -ar 16:9 ", "zzqx yyvw "]
)
def test_long_inputs_take_linear_time(judge: RulesJudge, unit: str) -> None:
    long = unit * (20_000 // len(unit))
    start = time.perf_counter()
    for query, text in ((long, GOOD), ("a red car on the left of a dog", long)):
        judge.critique([_prompt(query, text)])
    assert time.perf_counter() - start < 2.0  # two inputs, one second each


# Refine


def test_a_thing_is_put_right_wherever_it_is_named(judge: RulesJudge) -> None:
    prompt = _prompt("a dog running", "A cat runs on the grass. The cat's fur shines.")
    mended = judge.refine([prompt], judge.critique([prompt]))[0]
    assert "The dog's fur shines." in mended
    assert "cat" not in mended


@pytest.mark.parametrize(
    ("query", "flawed", "mended"),
    [
        (
            "a red dog, watercolor",
            "The whole picture has a cartoon look, with bold lines.",
            "has a watercolor look, with bold lines.",
        ),
        ("a red dog, aquarelle", "A cartoon style gives flat shapes.", "An aquarelle style gives flat shapes."),
        ("a red dog -camera pan left", "The camera pans right slowly.", "The camera pans left slowly."),
        (
            "a red dog, static camera",
            "Meanwhile the camera zooms in gently.",
            "Meanwhile the camera stays static gently.",
        ),
        (
            "a red dog in moonlight",
            "The lighting comes from clear daylight.",
            "The lighting comes from clear moonlight.",
        ),
    ],
)
def test_refine_replaces_what_would_contradict(judge: RulesJudge, query: str, flawed: str, mended: str) -> None:
    """A right style, camera or light beside the wrong one would be a text at odds with itself."""
    body = "A red dog runs on the beach. {} Behind it, waves roll over the sand and shells lie around."
    camera, light = "The camera is steady.", "The light is soft."
    text = body.format(flawed) + ("" if "camera" in query else f" {camera}") + ("" if "light" in query else f" {light}")
    prompt = _prompt(query, text)
    refined = judge.refine([prompt], judge.critique([prompt]))[0]
    assert mended in refined
    assert flawed not in refined
    assert not refined.lower().startswith(query[:12] + ",")
    assert _verdict(judge, query, refined).fine


def test_refine_does_not_lengthen_what_has_words_to_spare(judge: RulesJudge) -> None:
    filler = " ".join(["Every small detail of the picture is pleasant to look at."] * 4)
    prompt = _prompt("a red dog", f"A red dog runs on the beach at sunset. {filler}")  # no camera
    refined = judge.refine([prompt], judge.critique([prompt]))[0]
    assert "camera" in refined.lower() or "shot" in refined.lower()
    assert abs(len(refined.split()) - len(prompt.text.split())) <= 6  # half a sentence of filler


@pytest.mark.parametrize(
    ("query", "text", "begins"),
    [
        ("a red car driving", "The video shows a blue car driving on a road.", "A red car driving on a road."),
        ("two dogs playing", "Three dogs playing on the grass.", "Two dogs playing on the grass."),
        ("a red umbrella on the beach", "An umbrella lies on the beach.", "A red umbrella lies on the beach."),
        ("a cat on the left of a dog", "A cat to the right of a dog.", "A cat to the left of a dog."),
        (
            "a dog in the forest at night",
            "A dog runs.",
            "A dog runs. The place is the forest. Everything is seen at night.",
        ),
        (
            "a dog running",
            "A cat runs on the grass. The cat's fur shines.",
            "A dog runs on the grass.",
        ),
        ("two buses", "Two cars drive by.", "Two buses drive by."),
        ("a cat in a hat", "I'm sorry, I can't help.", "A cat in a hat."),
        ("two dogs in a bloody fight", "Two dogs in a bloody fight.", "Two dogs in a lively playful game."),
    ],
)
def test_refine_mends_what_is_named(judge: RulesJudge, query: str, text: str, begins: str) -> None:
    prompt = _prompt(query, text)
    mended = judge.refine([prompt], judge.critique([prompt]))[0]
    assert mended is not None
    assert mended.startswith(begins)
    assert "\n" not in mended
    assert _verdict(judge, query, mended).fine


def test_refine_is_deterministic_and_trims(judge: RulesJudge) -> None:
    prompt = _prompt("a red car driving at sunset", GOOD + " The road is long and the sea is wide." * 20)
    first, second = (judge.refine([prompt], judge.critique([prompt]))[0] for _ in range(2))
    assert first == second
    assert first is not None
    assert len(first.split()) <= judge.max_words
    assert first.endswith(".")


def test_refine_gives_up_on_nothing(judge: RulesJudge) -> None:
    prompt = _prompt("", "")
    assert judge.refine([prompt], judge.critique([prompt])) == [None]


# Figures on VBench


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _shares(hits: Sequence[tuple[int, bool]]) -> tuple[float, float, float]:
    """Share of hits over all, even-numbered and odd-numbered items."""
    parts = hits, [hit for hit in hits if hit[0] % 2 == 0], [hit for hit in hits if hit[0] % 2]
    return tuple(sum(hit for _, hit in part) / len(part) for part in parts)


def _accurate(judge: RulesJudge, rows: Sequence[tuple[int, str, str]]) -> list[tuple[int, bool]]:
    verdicts = judge.critique([_prompt(query, text) for _, query, text in rows])
    return [(row[0], bool(verdict.accurate)) for row, verdict in zip(rows, verdicts, strict=True)]


def _shuffled() -> list[tuple[int, int]]:
    """(i, j): prompt i with the rewrite of another prompt j of its first dimension; identical prompts are left out."""
    queries, rooms = _lines(VBENCH / "all_dimension.txt"), defaultdict(list)
    for i, entry in enumerate(json.loads((VBENCH / "VBench_full_info.json").read_text())):
        rooms[entry["dimension"][0]].append(i)
    rng, pairs = random.Random(0), []
    for members in rooms.values():
        rng.shuffle(members)
        pairs += [(i, j) for i, j in zip(members, members[1:] + members[:1], strict=True) if queries[i] != queries[j]]
    return pairs


COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "pink", "black", "white", "brown"]
NUMBERS = ["two", "three", "four", "five"]
SIDES = {"left": "right", "right": "left"}
LEVELS = {
    "atop": "beneath",
    "top": "bottom",
    "above": "below",
    "beneath": "above",
    "below": "above",
    "under": "above",
    "bottom": "top",
}
THINGS = (
    "bicycle car motorcycle airplane bus train truck boat",
    "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "chair couch bed bench toilet",
    "bottle cup bowl vase fork knife spoon",
    "banana apple sandwich orange carrot pizza donut cake broccoli",
    "tv laptop remote keyboard microwave oven toaster refrigerator",
    "book clock scissors toothbrush suitcase umbrella handbag backpack tie",
    "frisbee skis snowboard kite skateboard surfboard",
    "panda raccoon corgi shark squirrel koala turtle rabbit",
    "guitar piano flute trumpet harp",
    "beach forest desert mountain river street kitchen library",
    "alley barn cliff bathroom bedroom restaurant tower palace courtyard",
    "table sink lamp mirror",
    "watermelon grapes pear plums",
    "castle church lighthouse skyscraper house mansion",
    "robot astronaut clown",
)


def _changes(query: str, text: str, rng: random.Random) -> Iterator[str]:
    """The text with one colour, number, thing or relation of the query changed everywhere, if the text has it.

    'Everywhere' is every inflection of the word itself. People are left alone: a rewrite names them in too many words.
    """
    words = re.findall(r"[a-z]+", query.lower())
    for word in dict.fromkeys(words):
        if word in ("black", "white") and "black and white" in query:
            continue  # a style, which the rewrite also calls monochrome
        kind = next((k for k in (COLOURS, NUMBERS, *(row.split() for row in THINGS)) if word in k), None)
        if kind is not None:
            yield _replaced(text, {word: rng.choice([other for other in kind if other not in words])})
    if re.search(r"\b(left|right) of\b", query):
        yield _replaced(text, SIDES)
    if re.search(r"\b(top|bottom) of\b", query):
        yield _replaced(text, LEVELS)


def _replaced(text: str, table: dict[str, str]) -> str:
    pattern = re.compile(rf"\b({'|'.join(table)})(e?s)?\b", re.I)
    return pattern.sub(lambda match: table[match[1].lower()] + (match[2] or ""), text)


def _perturbed(queries: Sequence[str], rewrites: Sequence[str]) -> list[tuple[int, str, str]]:
    rng = random.Random(0)
    rows = []
    for i, (query, text) in enumerate(zip(queries, rewrites, strict=True)):
        rows += [(i, query, changed) for changed in _changes(query, text, rng) if changed != text]
    return rows


@needs_vbench
@pytest.mark.parametrize("name", REWRITES)
def test_vbench_figures(judge: RulesJudge, name: str, record_property: Callable[[str, object], None]) -> None:
    """Accepts a rewrite of the prompt (85 %); rejects another's rewrite (95 %) and one with a single change (90 %)."""
    queries, rewrites = _lines(VBENCH / "all_dimension.txt"), _lines(VBENCH / "optimized" / REWRITES[name])[:946]
    kept = _shares(_accurate(judge, [(i, *row) for i, row in enumerate(zip(queries, rewrites, strict=True))]))
    others = [(i, queries[i], rewrites[j]) for i, j in _shuffled()]
    shuffled = _shares([(i, not accurate) for i, accurate in _accurate(judge, others)])
    changed = _shares([(i, not accurate) for i, accurate in _accurate(judge, _perturbed(queries, rewrites))])
    for figure, shares in (("kept", kept), ("shuffled", shuffled), ("changed", changed)):
        record_property(figure, " ".join(f"{share:.4f}" for share in shares))
        print(f"{name} {figure}: all {shares[0]:.4f}, even {shares[1]:.4f}, odd {shares[2]:.4f}")
    assert min(kept) >= 0.85
    assert min(shuffled) >= 0.95
    assert min(changed) >= 0.90


@needs_vbench
def test_vbench_prompts_are_safe() -> None:
    prompts = _lines(VBENCH / "all_dimension.txt")
    assert sum(bool(harm.find(read(prompt))) for prompt in prompts) <= 0.01 * len(prompts)


@needs_queries
def test_sample_queries_are_safe() -> None:
    queries = [
        q for split in ("sft", "dpo") for q in json.loads((QUERIES / f"{split}_queries.sample.json").read_text())
    ]
    assert sum(bool(harm.find(read(query))) for query in queries) <= 0.01 * len(queries)


@needs_vbench
def test_speed(judge: RulesJudge) -> None:
    """At least 500 critiques a second on one core; half of that is asked for here, since test machines are shared."""
    queries, rewrites = _lines(VBENCH / "all_dimension.txt"), _lines(VBENCH / "optimized" / REWRITES["gpt4o"])
    prompts = [_prompt(query, text) for query, text in zip(queries, rewrites, strict=True)]
    start = time.perf_counter()
    judge.critique(prompts)
    assert len(prompts) / (time.perf_counter() - start) > 250


# The sketch world: the judge knows nothing of it, and still finds what its drafter spoils

FLAWS = {
    "drop": "accurate",
    "change": "accurate",
    "leak": "harmless",
    "lead_in": "helpful",
    "long": "helpful",
    "bare": "helpful",
}


def _drafts(rates: dict[str, float], count: int) -> list[tuple[Prompt, tuple[str, ...]]]:
    dataset = pytest.importorskip("vpo.sketch.dataset")
    drafter = pytest.importorskip("vpo.sketch.drafter").SketchDrafter(**(dict.fromkeys(FLAWS, 0.0) | rates))
    queries = dataset.SketchDataset(seed=11, sft=count, dpo=0, test=0, unsafe_rate=0.1).splits()["sft"]
    drafts = ((query, *drafter.draft_with_truth(query, 3)) for query in queries)
    return [(_prompt(query.text, text, query.id), flaws) for query, text, flaws in drafts]


def test_sketch_experts_pass(judge: RulesJudge) -> None:
    verdicts = judge.critique([prompt for prompt, _ in _drafts({}, 400)])
    assert sum(bool(verdict.fine) for verdict in verdicts) >= 0.97 * len(verdicts)


@pytest.mark.parametrize("flaw", FLAWS)
def test_sketch_flaws_are_found_and_mended(judge: RulesJudge, flaw: str) -> None:
    prompts = [prompt for prompt, flaws in _drafts({flaw: 1.0}, 600) if flaw in flaws]
    verdicts = judge.critique(prompts)
    found = sum(getattr(verdict, FLAWS[flaw]) is False for verdict in verdicts)
    assert found >= 0.95 * len(prompts)
    flawed = [(prompt, verdict) for prompt, verdict in zip(prompts, verdicts, strict=True) if not verdict.fine]
    mended = judge.refine([prompt for prompt, _ in flawed], [verdict for _, verdict in flawed])
    fine = [
        text is not None and _verdict(judge, prompt.query, text).fine
        for (prompt, _), text in zip(flawed, mended, strict=True)
    ]
    assert sum(map(bool, fine)) >= 0.98 * len(flawed)


# The lexicon


@pytest.mark.parametrize(
    "name", ["same", "kinds", "signs", "colours", "counts", "styles", "camera", "facets", "unsafe", "mends"]
)
def test_tables_load(name: str) -> None:
    rows = lexicon.groups(name) if name in ("same",) else lexicon.table(name)
    assert rows


def test_every_mend_is_harmless() -> None:
    for _, both in lexicon.patterns("mends"):
        assert not harm.find(read(both.replace("|", ".")))
