"""The sketch world's words: queries and captions say the scene, the whole scene, and nothing but the scene."""

from random import Random

import pytest

from vpo.sketch.dataset import SketchDataset, corpus, truth_of
from vpo.sketch.grammar import Scene, draw_scene, expert_caption, user_query
from vpo.sketch.vocabulary import (
    FACETS,
    WORDINGS,
    bound_mentions,
    find_facets,
    plural,
    unsafe_words,
    without_flags,
    words_of,
)

SCENE = Scene("dog", "red", 2, "run", "beach", "night", "zoom in", "cartoon")


def concepts(text: str) -> dict[str, object]:
    return {facet: mention.concept for facet, mention in find_facets(text).items()}


def test_every_wording_means_one_thing() -> None:
    seen: dict[str, str] = {}
    for facet, table in WORDINGS.items():
        for concept, wordings in table.items():
            for wording in (*wordings.user, *wordings.extra, *wordings.understood):
                assert wording not in seen, f"{wording!r}: {seen.get(wording)} and {facet} {concept}"
                seen[wording] = f"{facet} {concept}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two red dogs running", {"count": 2, "colour": "red", "subject": "dog", "motion": "run"}),
        ("A DOG", {"subject": "dog"}),  # an article does not name the count
        ("one of the streets", {"place": "city"}),  # a number without a subject counts nothing
        ("orange light on a blue boat", {"colour": "blue", "subject": "boat"}),  # the colour before the subject wins
        ("bunnies -ar 16:9 -camera zoom in -neg night, blue", {"subject": "rabbit", "camera": "zoom in"}),
        ("camera pans left over snowy field --motion 2", {"camera": "pan left", "place": "snow"}),
        ("", {}),
        ("🙂 años", {}),
    ],
)
def test_facets_are_found_in_any_text(text: str, expected: dict[str, object]) -> None:
    assert concepts(text) == expected


def test_flags_go_and_the_rest_stays() -> None:
    assert without_flags("A cat -ar 16:9 --motion 2 -neg blur, text -camera pan left").split() == [
        "A", "cat", "-camera", "pan", "left",
    ]  # fmt: skip
    assert without_flags("a well-known 8-bit cat") == "a well-known 8-bit cat"
    assert unsafe_words("a Bloody fight -neg gun") == ["bloody", "fight"]


def test_plurals() -> None:
    assert [plural(noun) for noun in ("dog", "puppy", "fish", "taxi")] == ["dogs", "puppies", "fish", "taxis"]


@pytest.mark.parametrize("seed", range(300))
def test_texts_say_the_scene(seed: int) -> None:
    rng = Random(seed)
    scene = draw_scene(rng)
    query = user_query(scene, rng, unsafe_rate=0.3)
    assert concepts(query.text) == {facet: getattr(scene, facet) for facet in query.words}
    assert bool(unsafe_words(query.text)) == query.unsafe
    caption = expert_caption(scene, rng, query.words)
    assert 60 <= len(caption.split()) <= 90
    assert concepts(caption) | {"count": scene.count} == {facet: getattr(scene, facet) for facet in FACETS}
    assert unsafe_words(caption) == []
    for mention in bound_mentions(words_of(caption)):  # no second colour, place or light anywhere
        assert mention.wording in ("a", "an") or mention.concept == getattr(scene, mention.facet)


def test_a_caption_repeats_the_users_words() -> None:
    words = {"subject": "puppy", "colour": "crimson", "motion": "racing", "place": "seashore", "light": "moonlight"}
    for seed in range(50):
        caption = expert_caption(SCENE, Random(seed), words).lower()
        assert "crimson puppies" in caption
        assert "racing" in caption
        assert "seashore" in caption
        assert "moonlight" in caption


@pytest.mark.parametrize("facet", ["motion", "place", "light", "camera", "style", "colour", "subject"])
def test_a_skipped_facet_is_not_told(facet: str) -> None:
    for seed in range(50):
        caption = expert_caption(SCENE, Random(seed), skip=[facet])
        assert facet not in concepts(caption)
        assert "{" not in caption
        assert "  " not in caption


def test_captions_vary() -> None:
    captions = {expert_caption(SCENE, Random(seed)) for seed in range(200)}
    assert len(captions) == 200
    assert len({caption.split(".")[0] for caption in captions}) > 60  # openings
    assert len({caption.split(".")[1].split()[0] for caption in captions}) > 8  # what comes second


def test_dataset_is_unique_stable_and_true() -> None:
    dataset = SketchDataset(seed=7, sft=300, dpo=100, test=50, unsafe_rate=0.1)
    splits = dataset.splits()
    queries = [query for split in splits.values() for query in split]
    assert {name: len(split) for name, split in splits.items()} == {"sft": 300, "dpo": 100, "test": 50}
    assert splits["sft"][12].id == "sft-00012"
    assert len({query.text.lower() for query in queries}) == 450
    assert dataset.splits() == splits
    assert 0.05 < sum("unsafe" in (query.truth or {}) for query in queries) / 450 < 0.15
    for query in queries:
        assert concepts(query.text) == {f: v for f, v in (query.truth or {}).items() if f != "unsafe"}
    assert SketchDataset(8, 300, 100, 50, 0.1).splits()["sft"] != splits["sft"]


def test_a_larger_last_split_leaves_the_others_alone() -> None:
    few, many = (SketchDataset(7, 50, 20, test, 0.1).splits() for test in (5, 30))
    assert few["sft"] == many["sft"]
    assert few["test"] == many["test"][:5]


def test_truth_holds_named_facets_only() -> None:
    assert truth_of(SCENE, {"subject": "dog", "count": "two"}, unsafe=True) == {
        "subject": "dog", "count": 2, "unsafe": True,
    }  # fmt: skip
    assert truth_of(SCENE, {"light": "night"}, unsafe=False) == {"light": "night"}


def test_corpus_alternates_queries_and_captions() -> None:
    texts = corpus(20, seed=1)
    assert len(texts) == 40
    assert texts == corpus(20, seed=1)
    assert all(len(caption.split()) >= 60 for caption in texts[1::2])
