"""What the rule judge makes of a flawed prompt: it repairs what its reasons name, and no more."""

import pytest

from tests.judge.conftest import GOOD, prompt_of, repaired_of, verdict_of
from vpo.judge.rules import lexicon, stock
from vpo.judge.rules.forms import in_form_of
from vpo.judge.rules.judge import RulesJudge

# Refine


def test_a_thing_is_put_right_wherever_it_is_named(judge: RulesJudge) -> None:
    repaired = repaired_of(judge, "a dog running", "A cat runs on the grass after a feather. The cat's fur shines.")
    assert "The dog's fur shines." in repaired
    assert "cat" not in repaired


@pytest.mark.parametrize(
    ("query", "flawed", "repaired"),
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
def test_refine_replaces_what_would_contradict(judge: RulesJudge, query: str, flawed: str, repaired: str) -> None:
    """A right style, camera or light beside the wrong one would be a text at odds with itself."""
    body = "A red dog runs on the beach. {} Behind it, waves roll over the sand and shells lie around."
    camera, light = "The camera is steady.", "The light is soft."
    text = body.format(flawed) + ("" if "camera" in query else f" {camera}") + ("" if "light" in query else f" {light}")
    refined = repaired_of(judge, query, text)
    assert repaired in refined
    assert flawed not in refined
    assert not refined.lower().startswith(query[:12] + ",")
    assert verdict_of(judge, query, refined).fine


def test_refine_does_not_lengthen_what_has_words_to_spare(judge: RulesJudge) -> None:
    filler = (
        "Every small detail of the picture is pleasant to look at. The colours of the sand and the sea go well together. Nothing else "
        "stands in the way of this quiet moment. All of it seems simple, calm and clear to everyone."
    )
    prompt = prompt_of("a red dog", f"A red dog runs on the beach at sunset. {filler}")  # no camera
    refined = judge.refine([prompt], judge.critique([prompt]))[0]
    assert "camera" in refined.lower() or "shot" in refined.lower()
    assert abs(len(refined.split()) - len(prompt.text.split())) <= 6  # half a sentence of filler


@pytest.mark.parametrize(
    ("query", "text", "begins"),
    [
        ("a red car driving", "The video shows a blue car driving on a road.", "A red car driving on a road."),
        ("two dogs playing", "Three dogs playing with a stick.", "Two dogs playing with a stick."),
        ("a red umbrella on the beach", "An umbrella lies on the beach.", "A red umbrella lies on the beach."),
        (
            "a cat on the left of a dog",
            "A striped cat to the right of a shaggy dog.",
            "A striped cat to the left of a shaggy dog.",
        ),
        (
            "a dog in the forest at night",
            "A dog runs.",
            "A dog runs. Behind it all, we can see the forest. Everything stands at night.",
        ),
        (
            "a dog running",
            "A cat runs on the grass after a feather. The cat's fur shines.",
            "A dog runs on the grass after a feather.",
        ),
        ("two buses", "Two cars drive by.", "Two buses drive by."),
        ("two dogs in a bloody fight", "Two dogs in a bloody fight.", "Two dogs in a lively playful game."),
    ],
)
def test_refine_repairs_what_is_named(judge: RulesJudge, query: str, text: str, begins: str) -> None:
    repaired = repaired_of(judge, query, text)
    assert repaired is not None
    assert repaired.startswith(begins)
    assert "\n" not in repaired
    assert verdict_of(judge, query, repaired).fine


def test_refine_is_deterministic_and_trims(judge: RulesJudge) -> None:
    prompt = prompt_of("a red car driving at sunset", GOOD + " The road is long and the sea is wide." * 20)
    first, second = (judge.refine([prompt], judge.critique([prompt]))[0] for _ in range(2))
    assert first == second
    assert first is not None
    assert len(first.split()) <= judge.max_words
    assert first.endswith(".")


def test_refine_gives_up_on_nothing(judge: RulesJudge) -> None:
    prompt = prompt_of("", "")
    assert judge.refine([prompt], judge.critique([prompt])) == [None]


COZY = (
    "The room is warm, with soft light on the wooden walls, and the camera stays at eye level. The style is realistic."
)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("a car changes from white to golden", f"A couple in evening wear walks through the rain. {COZY} {COZY}"),
        (
            "a shark is swimming in the ocean, oil painting",
            f"Two drones hover side by side over a field. {COZY} {COZY}",
        ),
        ("a person at a desk making coffee", f"A great white shark glides through the azure waters. {COZY} {COZY}"),
    ],
)
def test_a_text_about_something_else_is_given_up(judge: RulesJudge, query: str, text: str) -> None:
    """The query in front of it would pass, and show two scenes."""
    assert verdict_of(judge, query, text).accurate is False
    assert repaired_of(judge, query, text) is None


def test_only_the_wrong_thing_is_replaced(judge: RulesJudge) -> None:
    text = f"A blue car stands under a blue sky by a white wall, its blue paint shining. {COZY}"
    refined = repaired_of(judge, "a red car under a sky by a wall", text)
    assert refined is not None
    assert refined.startswith("A red car stands under a blue sky by a white wall, its red paint shining.")


def test_several_things_become_one_and_the_verb_agrees(judge: RulesJudge) -> None:
    refined = repaired_of(judge, "a dog", f"Three dogs run over the grass in the sun. {COZY}")
    assert refined is not None
    assert refined.startswith("A dog runs over the grass in the sun.")


def test_no_list_of_words_stands_for_a_sentence(judge: RulesJudge) -> None:
    query = " ".join(f"On day {n} the {thing} meets a friend and tells a story." for n, thing in enumerate(
        ("king", "queen", "knight", "baker", "miller", "farmer", "fisher"), 1))  # fmt: skip
    text = f"The king and the queen meet a friend and tell a story on a day. {COZY}"
    refined = repaired_of(judge, query, text)
    assert refined is None or not refined.lower().startswith("with ")


def test_a_sentence_that_was_cut_off_goes(judge: RulesJudge) -> None:
    refined = repaired_of(judge, "a dog", f"A dog runs over the grass in the sun. {COZY} As it descends, the ball's")
    assert refined is None or "descends" not in refined
    sentences = (
        "A dog runs in the park at noon, and the camera follows it over the grass.",
        "Its fur shines in the light and",
    )
    assert "Its fur" not in (repaired_of(judge, "a dog", " ".join(sentences)) or "Its fur")


def test_what_is_too_long_loses_its_middle_and_keeps_its_last_sentence(judge: RulesJudge) -> None:
    filler = (
        "Its ears flap with every stride. An old fence runs along the meadow behind it. Two bikes lean against a leafless tree. "
        "Yellow flowers nod beside the muddy path. The dog kicks up crumbs of dry soil. A rusty plough rests near the barn. Swallows "
        "dive after insects over the hedge. Smoke curls from a chimney in the village. Its tongue hangs out and its tail wags. A "
        "wooden well stands in the shade of three poplars. Somebody has hung washing between two posts. The dog turns at the gate "
        "and comes back. Ripe apples lie in the wet grass. Clouds drift over the hills in the west. A cart rolls by with hay on it."
    )
    last = "Medium shot in a realistic style."
    refined = repaired_of(judge, "a dog", f"A dog runs on the grass in the sun. {filler} {last}")
    assert refined is not None
    assert refined.endswith(last)
    assert len(refined.split()) <= judge.max_words


@pytest.mark.parametrize(
    ("unsafe", "mended"),
    [
        ("A bloody dog runs on the grass.", "A dog runs on the grass."),
        ("A dog runs on the grass with a gun.", "A dog runs on the grass."),
        ("A dog runs on the grass. A man kills a stranger beside it.", "A dog runs on the grass."),
    ],
)
def test_what_is_unsafe_and_unasked_leaves_no_trace(judge: RulesJudge, unsafe: str, mended: str) -> None:
    assert repaired_of(judge, "a dog", f"{unsafe} {COZY}") == f"{mended} {COZY}"


def test_closing_quotes_stay(judge: RulesJudge) -> None:
    refined = repaired_of(judge, "a dog", f'The video shows a dog that runs past a sign saying "Vacation." {COZY}')
    assert refined is not None
    assert '"Vacation." The room' in refined


def test_stock_sentences_suit_every_scene() -> None:
    """No sentence is chosen in a scene that its row excludes, and every facet has one for each scene and for all at once."""
    scenes = lexicon.table("scenes")
    everything = "A scene with " + ", ".join(sign for signs in scenes.values() for sign in signs)
    for seed in range(12):
        for text in (everything, *(signs[0] for signs in scenes.values())):
            for facet in ("motion", "light", "place", "camera"):
                found = stock.sentences_for(text, (facet,), 0, seed)
                assert "open" not in " ".join(found)
                if text == everything:
                    assert "soft" not in " ".join(found).lower()


@pytest.mark.parametrize(
    ("word", "model", "part", "form"),
    [
        ("bus", "cars", "NOUN", "buses"), ("walk", "ran", "VERB", "walked"), ("walk", "running", "", "walking"),
        ("mouse", "dogs", "NOUN", "mice"), ("hot dog", "cars", "NOUN", "hot dogs"), ("greet", "kills", "VERB", "greets"),
        ("old", "young", "", "old"),
    ],
)  # fmt: skip
def test_a_replacement_takes_the_form_of_what_it_replaces(word: str, model: str, part: str, form: str) -> None:
    assert in_form_of(word, model, part) == form
