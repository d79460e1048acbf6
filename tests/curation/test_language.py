import pytest

from tests.conftest import SHARED
from tests.curation.conftest import QUERIES
from vpo.curation.language import language_reason
from vpo.errors import UserError

pytest.importorskip("py3langid", reason="the extra `curation` is not installed")

ENGLISH = {"allowed": ["en"], "least_probability": 0.001}
# Written for this test; one a language.
OTHERS = [
    "un gato negro corre por la playa", "ein Hund läuft durch den Wald", "un chien court dans la forêt", "两只猫在玩",
    "собака бежит по лесу", "um carro vermelho na estrada", "seorang gadis berjalan di pantai", "犬が公園を走る",
    "una ragazza che balla sotto la pioggia", "قطة سوداء على الطاولة", "고양이 두 마리가 놀고 있다", "kucing hitam di atas meja",
]  # fmt: skip


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_dropped(text):
    assert language_reason(f"{text} -ar 16:9 -motion 2", **ENGLISH).startswith("looks like ")


def test_several_languages_may_be_allowed():
    spanish, french = OTHERS[0], OTHERS[2]
    both = {"allowed": ["en", "es"], "least_probability": 0.001}
    assert language_reason(spanish, **both) is None
    assert language_reason("a black cat runs along the beach", **both) is None
    assert language_reason(french, **both).startswith("looks like fr")


@pytest.mark.skipif(not (SHARED / "data/vbench").exists(), reason="VBench's prompts are not beside the repository")
def test_english_prompts_stay():
    """All 946, of which many are two words long: "a pizza", "downtown"."""
    lines = (SHARED / "data/vbench/all_dimension.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if language_reason(line, **ENGLISH)] == []


@pytest.mark.skipif(not (SHARED / "data/vpo").exists(), reason="VPO's sample queries are not beside the repository")
def test_of_users_queries_those_go_that_are_not_english():
    """Three Spanish, two Portuguese and one Indonesian of the 200, found by reading them."""
    starts = ["anos de 1600", "dendam itu", "Video marmota", "quiero que", "mulher", "refugios"]
    dropped = [text for text in QUERIES if language_reason(text, **ENGLISH)]
    assert all(text.startswith(start) for text, start in zip(dropped, starts, strict=True))


def test_an_unknown_language_is_one_line():
    with pytest.raises(UserError, match=r"curation.language.allowed: 'english' is no language .* it knows .*, en, "):
        language_reason("a cat", allowed=["english"], least_probability=0.5)
