"""Flags of video models by name, as users write them."""

import json

import pytest

from tests.conftest import QUERIES
from vpo.dataset.reading.text import tidy
from vpo.language.flags import named_flags
from vpo.language.markup import find_marks, without_marks


@pytest.mark.parametrize(
    ("query", "text", "flags"),
    [
        ("a cat -ar 16:9", "a cat", {"aspect_ratio": "16:9"}),
        ("a cat --ar:16:9", "a cat", {"aspect_ratio": "16:9"}),
        ("a cat -ar16:9 -motion2", "a cat", {"aspect_ratio": "16:9", "motion": 2}),
        ("a cat -16:9", "a cat", {"aspect_ratio": "16:9"}),
        ("a cat --aspect-ratio 4:3 -cfg 7.5", "a cat", {"aspect_ratio": "4:3", "guidance_scale": 7.5}),
        ("a cat --motion 2 -gs 15 -fps 24", "a cat", {"motion": 2, "guidance_scale": 15, "fps": 24}),
        ("a cat -motion low", "a cat", {"motion": "low"}),
        ("a cat -neg blur, text", "a cat", {"negative": ["blur", "text"]}),
        ("a cat --no rain --ar 1:1", "a cat", {"negative": ["rain"], "aspect_ratio": "1:1"}),
        ("a cat -camera zoom in -fps 24", "a cat", {"camera": "zoom in", "fps": 24}),
        ("a rose --ar 9:16  Message: I BLOOM (Font: MODERN)", "a rose",
         {"message": "I BLOOM", "font": "MODERN", "aspect_ratio": "9:16"}),
        ("a city --style raw --tile --seed 456", "a city", {"style": "raw", "tile": True, "seed": 456}),
        ("blue::2 sea", "blue sea", {"other": ["::2"]}),
        ("a -realistic cat", "a realistic cat", {}),
        ("A cat. -motion 1.5", "A cat.", {"motion": 1.5}),
        ("a cat -motion 1.", "a cat.", {"motion": 1}),
        ("a cat -seed -1", "a cat", {"seed": -1}),
        ("a cat -seed-1", "a cat", {"seed": 1}),
        ("a cat -gs -5", "a cat", {"guidance_scale": -5}),
        ("a cat -cfg=-1.5 -ar -16:9", "a cat", {"guidance_scale": -1.5, "aspect_ratio": "16:9"}),
        ("a cat -camera slowly orbits the house, at night", "a cat, at night", {"camera": "slowly orbits the house"}),
        ("a cat -camera slowly orbits the old house -fps 24", "a cat", {"camera": "slowly orbits the old house", "fps": 24}),
        ("Message: SALE (Font: MODERN) a shop, message: BUY (font: Arial)", "a shop",
         {"message": ["SALE", "BUY"], "font": ["MODERN", "Arial"]}),
        ("(Font: MODERN) a shop. Message: SALE", "a shop.", {"font": "MODERN", "message": "SALE"}),
        ("a cat -neg blur, text. A dog runs --no rain, blur", "a cat. A dog runs", {"negative": ["blur", "text", "rain"]}),
        ("a cat", "a cat", {}),
    ],
)  # fmt: skip
def test_flags_are_named_and_leave_the_text(query, text, flags):
    assert named_flags(query) == flags
    assert without_marks(query) == text


def test_real_queries_keep_no_flag_and_lose_none():
    """The 400 sample queries of VPO's users (or the repository's own): a query with a flag has a named one."""
    queries = [tidy(query).text for query in json.loads(QUERIES.read_text(encoding="utf-8"))]
    flagged = [
        query for query in queries if any(mark.kind == "flag" and mark.text.strip("- ") for mark in find_marks(query))
    ]
    assert all(named_flags(query) for query in flagged)
    assert [query for query in queries if query not in flagged and named_flags(query)] == []
