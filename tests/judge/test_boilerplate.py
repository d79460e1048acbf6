"""The query with stock sentences, tags or another scene is no helpful prompt; a rewrite that grows out of it is one."""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.judge.conftest import ROOT, kinds, repaired_of, verdict_of
from vpo.judge.rules.cohesion import cohesion
from vpo.judge.rules.judge import RulesJudge
from vpo.judge.rules.words import read

REWRITES = ROOT.parent / "shared" / "data" / "rewrites"
BLOCKS = (
    "The camera moves slowly through the scene. Soft light fills the frame. In the background, people walk along the street.",
    "It moves gracefully through the frame. Its surface catches the soft morning light. The background shows a quiet street "
    "with tall buildings. The camera follows it with a smooth tracking shot.",
    "Golden sunlight filters through tall trees, casting dappled shadows on the mossy ground. A gentle breeze stirs the leaves "
    "while birds chirp in the distance. The camera glides forward in a slow dolly shot, revealing a wooden mill.",
    "Cinematic wide-angle shot with shallow depth of field. The subject moves naturally against a blurred city background. "
    "Neon lights reflect on the wet pavement. The colors are rich and vibrant.",
    "The prompt asks for a clear picture. Everything is sharp and bright. A drone shot glides over the harbour at dawn, and "
    "fishermen mend nets beside stacked crates.",
)  # fmt: skip
TAGS = (
    "masterpiece, 4k, best quality, highly detailed, cinematic lighting, camera motion, outdoor street, sharp focus, vivid colors",
    "beautiful, majestic, serene, fluffy, tiny, graceful, shimmering, weathered, rusty, velvet, running, sunny, street, close-up",
)  # fmt: skip
QUERIES = ("a white cat sleeping on a sofa", "An old man reads a newspaper", "two boats on a lake at dusk", "bathroom")
TRUE = {
    "a white cat sleeping on a sofa": "A white cat sleeps curled up on a grey velvet sofa, its paws tucked under its chin. "
    "Morning light falls into the small room and on its fur. The camera slowly moves closer as its ear twitches.",
    "An old man reads a newspaper": "An old man with a silver beard reads a newspaper at a small kitchen table. He turns a page and "
    "lifts his cup. Soft light from the window falls on the print. The camera stays close to his hands.",
    "two boats on a lake at dusk": "Two boats drift side by side on a still lake at dusk, their lanterns mirrored in the water. "
    "Reeds sway along the shore. The camera glides past the boats at a low angle.",
    "bathroom": "A tiled bathroom in soft morning light, with a claw-footed tub under the window. Steam rises from the tub and "
    "fogs the round mirror. The camera pans slowly from the basin to the door.",
}  # fmt: skip


def _sentence(query: str) -> str:
    text = query.strip().rstrip(" ,.")
    return f"{text[:1].upper()}{text[1:]}."


def _gamed(query: str, block: str, other: str) -> Iterator[tuple[str, str]]:
    """Ways to say the query and then anything."""
    said = _sentence(query)
    first, rest = block.split(". ", 1)
    yield "after", f"{said} {block}"
    yield "before", f"{block} {said}"
    yield "between", f"{first}. {said} {rest}"
    yield "twice", f"{said} {first}. {said} {rest}"
    yield "thrice", f"{said} {said} {said} {block}"
    yield "one sentence", f"{said[:-1]}, {block[:1].lower()}{block[1:]}"
    yield "shot of", f"A cinematic shot of {said[:1].lower()}{said[1:]} {block}"
    yield "adjectives", f"A beautiful, amazing {said[:1].lower()}{said[1:]} {block}"
    for tags in TAGS:
        yield "tags", f"{said[:-1]}, {tags}."
    yield "other after", f"{said} {other}"
    yield "other before", f"{other} {said}"


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("block", BLOCKS)
def test_the_query_with_anything_is_boilerplate(judge: RulesJudge, query: str, block: str) -> None:
    other = TRUE[QUERIES[QUERIES.index(query) - 1]]
    for name, text in _gamed(query, block, other):
        verdict = verdict_of(judge, query, text)
        assert "boilerplate" in dict(kinds(verdict, "helpful")), (name, text)
        assert verdict.helpful is False


@pytest.mark.parametrize("query", QUERIES)
def test_a_rewrite_is_none(judge: RulesJudge, query: str) -> None:
    assert verdict_of(judge, query, TRUE[query]).helpful
    # its own words and a stock sentence or two: what refine adds for an absent facet
    assert verdict_of(judge, query, f"{TRUE[query]} The mood is calm. Soft light falls on the scene.").helpful


@pytest.mark.parametrize("facet", ["camera", "light"])
def test_a_rewrite_that_lacks_a_facet_is_mended(judge: RulesJudge, facet: str) -> None:
    lacking = {
        "camera": "A white cat sleeps curled up on a grey velvet sofa, its paws tucked under its chin. Morning light falls "
        "into the small room and on its fur as its ear twitches.",
        "light": "A white cat sleeps curled up on a grey velvet sofa by the window of a small room, its paws tucked under its "
        "chin. The camera slowly moves closer as its ear twitches.",
    }  # fmt: skip
    text = lacking[facet]
    assert kinds(verdict_of(judge, QUERIES[0], text), "helpful") == [("no_facet", facet)]
    repaired = repaired_of(judge, QUERIES[0], text)
    assert repaired is not None
    assert verdict_of(judge, QUERIES[0], repaired).fine


def test_a_query_that_says_everything_may_stay_as_it_is(judge: RulesJudge) -> None:
    assert verdict_of(judge, TRUE[QUERIES[0]], f"{TRUE[QUERIES[0]]} The mood is calm.").helpful


def test_the_figures_of_a_case_by_hand() -> None:
    """'Fur', 'thick' and 'blinks' belong to the cat; 'harbour' and 'gulls' to nothing; 'light', 'soft' are usual words."""
    said = cohesion("a cat", read("A cat. Its thick fur blinks. Gulls in the harbour. Soft light."))
    assert (said.loose, said.copied, said.asked) == (2.0, True, 1)
    assert said.bound == 2.5  # 'thick' is frequent and weighs half
    assert said.usual == 2


@pytest.mark.slow
@pytest.mark.skipif(not REWRITES.is_dir(), reason="shared/data/rewrites is not beside the repository")
def test_rates_on_both_halves_of_the_development_data() -> None:
    """True rewrites called stock: at most 2 %. Gamed texts not called so: at most 10 % a form, 13 % with another rewrite."""
    rows = [
        json.loads(line) for path in sorted(REWRITES.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    rng = random.Random(0)
    for half in (0, 1):
        part = [row for row in rows if hashlib.sha256(row["query"].strip().lower().encode()).digest()[0] % 2 == half][
            ::6
        ]
        true = [cohesion(row["query"], read(row["rewrite"])).stock for row in part]
        gamed = defaultdict(list)
        for row in part:
            other = rng.choice([one for one in part if one["query"] != row["query"]])
            for name, text in _gamed(row["query"], rng.choice(BLOCKS), other["rewrite"]):
                gamed[name].append(cohesion(row["query"], read(text)).stock)
        rates = {name: 1 - sum(found) / len(found) for name, found in gamed.items()}
        print(half, f"true {sum(true) / len(true):.3f}", {name: round(rate, 3) for name, rate in rates.items()})
        assert sum(true) <= 0.02 * len(true)
        assert max(rate for name, rate in rates.items() if "other" in name) <= 0.13
        assert max(rate for name, rate in rates.items() if "other" not in name) <= 0.10
