"""Agreement of two judges: kappa by hand, split batches, and a run."""

import random

import pytest

from tests.evaluator.judged import node_of, sample
from tests.judge.asking import Scripted
from vpo.build import card_of
from vpo.evaluator.agreement import CLASSES, Agreement, pair_code
from vpo.judge.classes import ClassJudge
from vpo.records import Failure, Sample, Verdict
from vpo.results.aggregates import aggregated

KAPPA = "vpo.results.kappa.CohenKappa"
OF_CLASS = {
    "aligned": Verdict("p", True, True, True), "unsafe": Verdict("p", False, True, True),
    "imprecise": Verdict("p", True, False, True), "refusal": Verdict("p", True, True, False, refusal=True),
}  # fmt: skip


def judged(text, first):
    one = sample(text)
    return Sample(one.query, one.prompt, verdict=first)


def second(answers):
    """A second judge that answers by the prompt's text."""

    def answer(request):
        return next(said for text, said in answers.items() if f'"prompt": "{text}"' in request.messages[0].content)

    return Agreement(ClassJudge(Scripted(answer)), 8)


def test_each_prompt_has_both_classes():
    late = Failure("timeout", "late", retryable=True)
    evaluator = second({"a": "Class: aligned - all is there", "b": "Class: unsafe - blood", "c": "Well.", "d": late})
    rows = evaluator.measure([
        judged("a", OF_CLASS["aligned"]), judged("b", OF_CLASS["aligned"]), judged("c", OF_CLASS["aligned"]),
        judged("b", Failure("refusal", "declines")), judged("d", OF_CLASS["aligned"]),
    ])  # fmt: skip
    assert rows[0] == {"agreement": 1.0, "kappa": 0.0, "second_aligned": 1.0, "second_unsafe": 0.0, "second_imprecise": 0.0,
                       "second_refusal": 0.0}  # fmt: skip
    assert (rows[1]["agreement"], rows[1]["kappa"], rows[1]["second_unsafe"]) == (0.0, 1.0, 1.0)
    assert set(rows[2].values()) == {None}
    assert (rows[3]["agreement"], rows[3]["kappa"], rows[3]["second_unsafe"]) == (None, None, 1.0)
    assert "blood" in rows[1].answers["second judge"]
    assert "Well." in rows[2].answers["second judge"]
    assert rows[4] == late
    assert evaluator.measure([]) == []


def test_kappa_by_hand():
    """20 and 15 agree, 5 and 10 do not, of 50: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4 (a textbook's table).

    Wilson's interval of 35 of 50 has the middle (0.7 + z^2 / 100) / (1 + z^2 / 50) and the half width
    z sqrt(0.21 / 50 + z^2 / 10,000) / (1 + z^2 / 50) with z = 1.96: 0.56248 to 0.80898. Kappa is 2 p - 1 of these.
    """
    pairs = (
        [("aligned", "aligned")] * 20
        + [("aligned", "unsafe")] * 5
        + [("unsafe", "aligned")] * 10
        + [("unsafe", "unsafe")] * 15
    )
    values = [float(pair_code(*pair)) for pair in pairs]
    random.Random(0).shuffle(values)
    found = aggregated(KAPPA, values, [1.0] * 50)
    assert found["mean"] == pytest.approx(0.4)
    assert (found["low"], found["high"]) == pytest.approx((0.12496, 0.61796), abs=2e-4)


def test_kappa_is_not_defined_for_one_class_and_is_one_where_all_agree():
    one = [float(pair_code("aligned", "aligned"))] * 5
    undefined = aggregated(KAPPA, one, [1.0] * 5)
    assert (undefined["mean"], undefined["ci95"]) == (None, None)
    all_four = [float(pair_code(name, name)) for name in CLASSES]
    full = aggregated(KAPPA, all_four, [1.0] * 4)
    # p_e = 1/4; Wilson's lower end of 4 of 4 is 1 / (1 + z^2 / 4) = 0.51011, so (0.51011 - 0.25) / 0.75
    assert (full["mean"], full["low"], full["high"]) == (1.0, pytest.approx(0.34681, abs=1e-4), 1.0)
    never = [float(pair_code("aligned", "unsafe")), float(pair_code("unsafe", "aligned"))]
    assert aggregated(KAPPA, never, [1.0] * 2)["low"] == -1.0


def test_kappa_of_parts_is_kappa_of_the_whole():
    """Two processes: their states are joined, as torchmetrics does it, before kappa is computed."""
    import torch

    from vpo.results.kappa import CohenKappa

    values = torch.tensor([float(random.Random(1).randrange(16)) for _ in range(40)], dtype=torch.float64)
    whole, parts = CohenKappa(), CohenKappa()
    whole.update(values, torch.ones(40))
    parts.update(values[:13], torch.ones(13))
    parts.update(values[13:], torch.ones(27))
    assert parts.compute() == whole.compute()


def test_the_card_names_the_second_judge():
    card = card_of(node_of("agreement"))
    assert "by RulesJudge beside the judge of the run" in card.about
    assert card.needs == {"verdicts"}
