import itertools
import unicodedata

import pytest

from vpo.storage.names import LONGEST, file_name


@pytest.mark.parametrize("id", ["sft-00001", "q-0123456789ab", "test-00007-dpo_1", "a.b", "x", "-", "a" * LONGEST])
def test_ordinary_ids_are_their_own_names(id):
    assert file_name(id) == id


AWKWARD = [
    "Dog", "DOG", "dOG", "a:b", "a\nb", "a\r\nb", "a/b", "a\\b", "../../etc/passwd", "..", ".", "", " ", "a ", "a.", ".a", "con",
    "CON", "nul.txt", "com1", "lpt9.a.b", "aux", 'a"b', "a<b>c", "a|b", "a?b", "a*b", "a\x00b", "a\tb", "caf\u00e9", "cafe\u0301",
    "\u732b", "\U0001f431", "x" * 300, "x" * 301, "a~b", "dog~0123456789abcdef", "\ud800", "\u0130", "i", "\u212a", "k", "a%b", "a&b",
]  # fmt: skip


@pytest.mark.parametrize("id", AWKWARD)
def test_any_other_id_becomes_a_name_that_every_file_system_takes(id, tmp_path):
    name = file_name(id)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.~")
    assert 0 < len(name) <= LONGEST
    assert name[0] != "."
    assert name[-1] not in ". "
    assert name.split(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    (tmp_path / f"{name}.mp4").write_text(name)
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.mp4"]


def test_no_two_ids_share_a_file_on_any_file_system():
    """As a file system that ignores case and the form of accents compares them."""
    seen = [unicodedata.normalize("NFD", file_name(id)).casefold() for id in AWKWARD]
    assert [pair for pair in itertools.combinations(seen, 2) if pair[0] == pair[1]] == []


def test_a_name_that_is_taken_for_an_id_is_another_id():
    """The name of one id, given as an id, must not lead to the first one's file."""
    assert file_name(file_name("Dog")) != file_name("Dog")


def test_a_name_is_the_same_every_time():
    assert file_name("Dog") == "dog~0eb129bf94594aae"  # printf Dog | sha256sum
