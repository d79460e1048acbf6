"""What the rule judge makes of a flawed prompt: it repairs what its reasons name, and no more."""

import pytest

from tests.judge.conftest import GOOD, prompt_of, repaired_of, verdict_of
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
