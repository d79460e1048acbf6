"""The values of `conf/search` and `conf/target`: each file of ours has its shape, a user's own is checked."""

import pytest

from tests.conftest import ROOT
from vpo.checking.schema import Search, Target
from vpo.errors import UserError
from vpo.optimize.choices import build_judge, values_of

SHAPES = {"search": Search, "target": Target}
CHOICES = [(group, path.stem) for group in SHAPES for path in sorted((ROOT / "conf" / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_of_ours_has_its_shape(group, name):
    assert values_of(group, name, SHAPES[group])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n: 0\nrounds: 1\n", "search.n=0 must be a whole number of at least 1"),
        ("n: many\nrounds: 1\n", "search.n=many must be a whole number"),
        ("n: 2\nround: 1\nrounds: 0\n", "there is no key search.round; did you mean search.rounds?"),
        ("n: [\n", "cannot be read"),
        ("- 1\n", "holds no keys and values"),
    ],
)
def test_a_users_own_choice_is_checked(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/search").mkdir(parents=True)
    (tmp_path / "conf/search/mine.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        values_of("search", "mine", Search)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_own_choice_is_used_and_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf/search").mkdir(parents=True)
    (tmp_path / "conf/search/mine.yaml").write_text("n: 2\nrounds: 1\n")
    assert values_of("search", "mine", Search, n=5, rounds=None) == Search(n=5, rounds=1)


def test_a_judge_that_does_not_exist_is_one_line():
    with pytest.raises(UserError, match=r"^judge=rule does not exist; did you mean rules\?$"):
        build_judge("rule", None)
