"""Drafts carry the flaws that they are said to carry, at the rates of the config."""

import hashlib
import json
from collections import Counter

import pytest

from tests.conftest import OWN
from vpo.records import Query
from vpo.sketch import phrases
from vpo.sketch.dataset import SketchDataset
from vpo.sketch.drafter import FLAWS, SketchDrafter, in_grammar
from vpo.sketch.phrases import LEAD_INS
from vpo.sketch.vocabulary import find_facets, unsafe_words, words_of

NONE = dict.fromkeys(FLAWS, 0.0)
QUERY = Query("q", "two red dogs running on the beach with a gun -ar 16:9", {
    "subject": "dog", "colour": "red", "count": 2, "motion": "run", "place": "beach", "unsafe": True,
})  # fmt: skip


def drafter(**rates: float) -> SketchDrafter:
    return SketchDrafter(**(NONE | rates))


def concepts(text: str) -> dict[str, object]:
    return {facet: mention.concept for facet, mention in find_facets(text).items()}


def named(query: Query) -> dict[str, object]:
    return {facet: value for facet, value in (query.truth or {}).items() if facet != "unsafe"}


def test_without_flaws_a_draft_keeps_all_and_harms_nobody() -> None:
    for query in SketchDataset(3, 100, 0, 0, 0.5).splits()["sft"]:
        text, flaws = drafter().draft_with_truth(query, 0)
        assert flaws == ()
        assert (
            named(query).items() <= (concepts(text) | ({"count": 1} if named(query).get("count") == 1 else {})).items()
        )
        assert unsafe_words(text) == []
        assert {"motion", "place", "light", "camera"} <= concepts(text).keys()


@pytest.mark.parametrize("flaw", FLAWS)
def test_each_flaw_shows_in_the_text(flaw: str) -> None:
    for seed in range(40):
        text, flaws = drafter(**{flaw: 1.0}).draft_with_truth(QUERY, seed)
        assert flaws == (flaw,)
        seen, wanted = concepts(text), named(QUERY)
        kept = {facet: value for facet, value in wanted.items() if seen.get(facet) == value}
        if flaw in ("drop", "change"):
            assert len(kept) == len(wanted) - 1 or (flaw == "drop" and "count" not in seen)
            lost = wanted.keys() - kept.keys()
            assert flaw == "drop" or all(facet in seen or facet == "count" for facet in lost)
        else:
            assert kept == wanted
        assert bool(unsafe_words(text)) == (flaw == "leak")
        assert any(text.startswith(lead) for lead in LEAD_INS) == (flaw == "lead_in")
        assert (len(text.split()) > 130) == (flaw == "long")
        assert ({"light", "camera"} <= seen.keys()) == (flaw != "bare")


def test_a_flaw_that_cannot_happen_is_not_claimed() -> None:
    safe = Query("s", "a dog", {"subject": "dog"})
    assert drafter(leak=1.0).draft_with_truth(safe, 0)[1] == ()


def test_drafts_depend_on_seed_and_id_only() -> None:
    method = drafter(drop=0.3, bare=0.3)
    first = method.optimize([QUERY], 5)[0]
    assert method.optimize([Query("other", "a cat", {"subject": "cat"}), QUERY], 5)[1] == first
    assert method.optimize([QUERY], 6)[0] != first


def test_about_two_in_five_drafts_are_flawed_by_default() -> None:
    method = SketchDrafter(drop=0.1, change=0.1, leak=0.3, lead_in=0.08, long=0.05, bare=0.12)
    queries = SketchDataset(3, 1000, 0, 0, 0.1).splits()["sft"]
    flaws = [method.draft_with_truth(query, 0)[1] for query in queries]
    # 1 - .9 * .9 * .92 * .95 * .88 = .377 without leaks, and 10 % * 30 % leaks on top: about .40
    assert 0.34 < sum(map(bool, flaws)) / 1000 < 0.45
    counts = Counter(flaw for row in flaws for flaw in row)
    assert 70 < counts["change"] < 135
    assert 15 < counts["leak"] < 50


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("adobe houses in the highlands", "Adobe houses in the highlands."),
        ("A cat dancing in space -ar 16:9", "A cat dancing in space."),
        ("a guard talking to the king, holding a knife", "A guard talking to the king."),
        ("años de sal, bruxas", "Años de sal, bruxas."),
    ],
)
def test_a_real_users_words_open_the_draft(text: str, kept: str) -> None:
    draft = drafter().optimize([Query("r", text)], 0)[0]
    assert draft.startswith(kept)
    assert len(draft.split()) >= 40


@pytest.mark.parametrize("text", ["", "   ", "🙂", "-ar 16:9", "gun", "x" * 20000])
def test_any_query_gets_a_draft(text: str) -> None:
    method = drafter(drop=1.0, change=1.0, leak=1.0, lead_in=1.0, long=1.0, bare=1.0)
    assert len(method.optimize([Query("r", text)], 0)[0].split()) > 60


# Queries of the grammar keep their drafts, whatever is done for other queries


@pytest.mark.parametrize(("known", "digest"), [(True, "2dd8f56b9386a0dd"), (False, "f82b9261c81d9f2b")])
def test_drafts_of_the_grammars_queries_stay_byte_for_byte(known: bool, digest: str) -> None:
    """The hashes were taken before real queries got drafts of their own; without its truth a query is known by its words."""
    method = SketchDrafter(drop=0.1, change=0.1, leak=0.3, lead_in=0.08, long=0.05, bare=0.12)
    queries = SketchDataset(7, 300, 0, 0, 0.1).splits()["sft"]
    drafts = method.optimize([query if known else Query(query.id, query.text) for query in queries], 5)
    assert hashlib.sha256("\n".join(drafts).encode()).hexdigest()[:16] == digest


def test_the_grammars_queries_are_known_by_their_words() -> None:
    assert all(in_grammar(query.text) for query in SketchDataset(5, 1000, 0, 0, 0.2).splits()["sft"])


@pytest.mark.parametrize(
    "text",
    [
        "", "a dog and a horse", "a dog, a cat", "a dog running, jumping", "running on the beach", "a dog --camera zoom in",
        "a dog -ar 4:3", "a dog IMG_2.jpg", "birds flying in the city", "a dog walking", "a hound", "a dog <b>",
    ],
)  # fmt: skip
def test_other_queries_are_not(text: str) -> None:
    assert not in_grammar(text)


# Real queries: the user's own words, and sentences at odds with nothing

REAL = [
    *json.loads((OWN / "queries.json").read_text(encoding="utf-8"))[::4],
    "two dogs and a horse in a dark cave",
    "a crowded market, noisy, handheld, grainy 1980s film",
    "a ship in a storm, lightning, no sea in view -neg people, text",
    "--camera zoom in --motion 1 a giant eyeball eating pizza --ar 16:9",
    "A red toy car speeds through the forest <lora:toy:0.8> IMG_2034.jpg",
    "blooming red rose --ar 9:16  Message: I SEE THEM BLOOM (Font: MODERN)",
    "cats with hats dancing, 3d model, black cats",
    "a bird is a bird is a bird",
    "**Night** drive through #tokyo https://example.com/a.mp4",
    "nyc dinosaurs walking toward the sunset",
    "sea storm in anime style!",
    "what is wisdom?",
    "a t-rex eating a pile of meat, tropical jungle -ar16:9 -motion2",
    "bullet time, green code falling",
    "A man puts on a car",
]
ADDED = [*phrases.NEUTRAL_PADDING, *(sentence for rows in phrases.NEUTRAL.values() for sentence in rows)]


def test_there_are_thirty() -> None:
    assert len(REAL) == 30


@pytest.mark.parametrize("text", REAL)
def test_nothing_is_invented_for_a_real_query(text: str) -> None:
    for seed in range(4):
        for method in (drafter(), drafter(drop=1.0, change=1.0, bare=1.0, long=1.0)):
            draft, flaws = method.draft_with_truth(Query("r", text), seed)
            assert not {"drop", "change"} & set(flaws)
            own = draft
            for sentence in ADDED:
                own = own.replace(sentence, " ")
            own = own.replace("The camera zooms in.", "camera zoom in")
            assert set(words_of(own)) <= set(words_of(text)), own
            asked = concepts(text.replace("--camera", "camera"))
            assert concepts(draft).items() <= asked.items()
            assert len(draft.split()) >= 50


def test_the_words_of_a_real_query_are_kept_and_its_flags_are_not() -> None:
    draft = drafter().optimize([Query("r", REAL[18])], 0)[0]
    assert draft.startswith("A giant eyeball eating pizza. The camera zooms in. ")
    assert not any(sign in draft for sign in ("-", ":", "motion 1"))


def test_neutral_sentences_name_no_facet() -> None:
    for sentence in ADDED:
        assert concepts(sentence) == {}, sentence


@pytest.mark.parametrize("text", ["a castle!", "who is there?", "a horse."])
def test_own_words_end_once(text: str) -> None:
    draft = drafter().optimize([Query("r", text)], 0)[0]
    assert draft.startswith(f"{text[0].upper()}{text[1:]} ")
