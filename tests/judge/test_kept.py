"""Which kinds of requests prompts lose."""

import pytest

from vpo.judge.rules.kept import Kept
from vpo.judge.rules.losses import KINDS, asked_of
from vpo.records import Failure, Prompt, Query, Sample

QUERY = (
    'Shot 1: two red kites fly over a beach, pan left. Shot 2: a girl runs and says "Wait for me". '
    'Shot 3: a huge shop with a sign that reads "CLOSED".'
)
GOOD = (
    "Two red kites fly high over a sandy beach while the camera pans left. A girl runs after them and says "
    '"Wait for me". Then a huge shop stands in the dusk, its sign reads "CLOSED".'
)


def sample(text: str, query: str = QUERY) -> Sample:
    return Sample(Query("q", query), Prompt("p", "q", query, text, "m"))


def test_each_kind_of_request_is_counted_once_an_item():
    """Kites, girl, shop, sign; runs (a base form such as fly is a plain word); the size of the shop and the gender of a girl."""
    assert asked_of(QUERY) == {
        "thing": 4, "place": 1, "colour": 1, "number": 1, "property": 2, "action": 1, "direction": 1, "camera": 1, "shot": 3,
        "order": 1, "text": 1, "speech": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (("", ""), {}),
        (("red", "blue"), {"colour": 0.0}),
        (("Two red", "Five red"), {"number": 0.0}),
        (("pans left", "pans right"), {"camera": 0.0, "direction": 0.0}),
        (('"Wait for me"', "something"), {"speech": 0.0}),
        (('"CLOSED"', '"OPEN"'), {"text": 0.0}),
        (("sandy beach", "sandy forest"), {"place": 0.0}),
        (("a huge shop", "a tiny shop"), {"property": 0.5}),
        (("A girl", "A dog"), {"thing": 0.75, "shot": 2 / 3}),
        ((' A girl runs after them and says "Wait for me".', ""), {"thing": 0.75, "action": 0.0, "shot": 2 / 3, "speech": 0.0}),
    ],
)  # fmt: skip
def test_a_loss_shows_in_its_kind(change, lost):
    (row,) = Kept().measure([sample(GOOD.replace(*change))])
    assert row == pytest.approx(
        dict.fromkeys(Kept.card.applicable(sample(GOOD)), 1.0) | {f"kept_{k}": v for k, v in lost.items()}
    )


def test_shots_out_of_order_are_an_order_lost():
    first, second, third = GOOD.replace(". Then", ".|Then").replace(". A girl", ".|A girl").split("|")
    (row,) = Kept().measure([sample(f"{third} {second} {first}")])
    assert (row["kept_order"], row["kept_shot"]) == (0.0, 1.0)


def test_what_a_query_does_not_ask_for_does_not_count():
    assert Kept().measure([sample("A dog runs.", "a dog")]) == [{"kept_thing": 1.0}]
    assert Kept().measure([sample("A cat runs.", "a dog")]) == [{"kept_thing": 0.0}]


def test_a_missing_prompt_is_no_loss_but_a_failure():
    (row,) = Kept().measure([Sample(Query("q", "a red dog"), Failure("timeout", "no answer"))])
    assert row == {"kept_thing": None, "kept_colour": None}


def test_the_card_lists_every_kind():
    assert [metric.name for metric in Kept.card.metrics] == [f"kept_{kind}" for kind in KINDS]
