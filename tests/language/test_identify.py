"""The language of a text, or None where it is not sure."""

import json

import pytest

from tests.conftest import QUERIES
from vpo.dataset.reading.text import tidy
from vpo.language.identify import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a cute dog on the grass", "en"),
        ("Ein Hund läuft im Regen über eine Straße", "de"),
        ("un chien court dans la rue sous la pluie", "fr"),
        ("perro corriendo por la playa con una pelota", "es"),
        ("bruxas de salém, bruxas voando em uma cidade pacata", "pt"),
        ("un cane corre sulla spiaggia con il suo padrone", "it"),
        ("een hond loopt op het strand", "nl"),
        ("可爱的小狗在草地上奔跑", "zh"),
        ("犬が草の上を走る", "ja"),
        ("강아지가 잔디 위를 달린다", "ko"),
        ("собака бежит по траве", "Cyrillic"),
        ("a dog named 狗 on the grass", "en"),
        ("La La Land", None),
        ("Van Gogh's selfie, Van Gogh style", None),
        ("Los Angeles, El Capitan", None),
        ("dog", None),
        ("🐶🐶", None),
        ("", None),
    ],
)
def test_languages(text, language):
    assert language_of(text) == language


def test_english_queries_are_never_taken_for_another_language():
    """Of VPO's sample queries six are French, Spanish or Portuguese, by reading them."""
    others = {"anos de 16", "Video marm", "quiero que", "Los arqueó", "La figura ", "hyperreali"}
    queries = [tidy(query).text for query in json.loads(QUERIES.read_text(encoding="utf-8"))]
    assert {query[:10] for query in queries if language_of(query) not in ("en", None)} <= others
