"""The preference losses against numbers worked out by hand, and their values at step 0."""

import math

import pytest
import torch

from vpo.errors import UserError
from vpo.training.losses import PairObjective, dpo_loss

# One pair: log-ratios +1 and -2 nats, so the margin is 3 nats; with beta 0.1 the logit is 0.3.
CHOSEN, REJECTED = torch.tensor([-9.0]), torch.tensor([-22.0])
REF_CHOSEN, REF_REJECTED = torch.tensor([-10.0]), torch.tensor([-20.0])
LENGTHS = torch.tensor([4]), torch.tensor([8])
KINDS = ("sigmoid", "hinge", "ipo", "robust")


def loss_of(kind, **options):
    return dpo_loss(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, PairObjective(0.1, kind, **options), LENGTHS)


def test_sigmoid_by_hand():
    # log(1 + e^-0.3) = 0.554355; with e = 0.1: 0.9 * 0.554355 + 0.1 * (0.554355 + 0.3) = 0.584355.
    assert loss_of("sigmoid").losses.item() == pytest.approx(0.554355, abs=1e-6)
    assert loss_of("sigmoid", label_smoothing=0.1).losses.item() == pytest.approx(0.584355, abs=1e-6)


def test_hinge_by_hand():
    assert loss_of("hinge").losses.item() == pytest.approx(0.7, abs=1e-6)


def test_ipo_is_normalised_by_length():
    # Mean log-ratios 1/4 and -2/8, so h = 0.5; 1 / (2 * 0.1) = 5; (0.5 - 5)^2 = 20.25.
    assert loss_of("ipo").losses.item() == pytest.approx(20.25, abs=1e-5)


def test_robust_by_hand():
    # (0.9 * 0.554355 - 0.1 * 0.854355) / 0.8 = 0.516855.
    assert loss_of("robust", label_smoothing=0.1).losses.item() == pytest.approx(0.516855, abs=1e-6)
    assert loss_of("robust").losses.item() == pytest.approx(loss_of("sigmoid").losses.item())


def test_robust_is_unbiased_under_flips():
    """With a share e of flipped labels, the expected robust loss is the clean loss (arXiv 2403.00409, lemma 3.1)."""
    e = 0.2
    kept = loss_of("robust", label_smoothing=e).losses
    flipped = dpo_loss(REJECTED, CHOSEN, REF_REJECTED, REF_CHOSEN, PairObjective(0.1, "robust", e)).losses
    clean = loss_of("sigmoid").losses
    torch.testing.assert_close((1 - e) * kept + e * flipped, clean)


def test_rewards():
    pair = loss_of("sigmoid")
    assert pair.chosen_rewards.item() == pytest.approx(0.1)
    assert pair.rejected_rewards.item() == pytest.approx(-0.2)
    assert not pair.chosen_rewards.requires_grad


@pytest.mark.parametrize(
    ("kind", "value"), [("sigmoid", math.log(2)), ("robust", math.log(2)), ("hinge", 1.0), ("ipo", 25.0)]
)
def test_policy_equal_to_reference(kind, value):
    """At step 0 the loss is known: ln 2, 1, or 1 / (4 beta^2) = 25, whatever the log-probabilities."""
    logps = torch.tensor([-3.0, -700.0])
    lengths = torch.tensor([3, 9]), torch.tensor([2, 7])
    pair = dpo_loss(logps, logps - 5, logps, logps - 5, PairObjective(0.1, kind), lengths)
    torch.testing.assert_close(pair.losses, torch.full((2,), value))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_into_the_policy_only(kind):
    """Chosen is pushed up and rejected down with equal force (ipo: by their lengths); the reference gets nothing."""
    parts = [x.clone().requires_grad_() for x in (CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED)]
    dpo_loss(*parts, PairObjective(0.1, kind), LENGTHS).losses.sum().backward()
    chosen, rejected, ref_chosen, ref_rejected = parts
    assert chosen.grad < 0 < rejected.grad
    assert -chosen.grad == (rejected.grad if kind != "ipo" else 2 * rejected.grad)
    assert ref_chosen.grad is None
    assert ref_rejected.grad is None


def test_bf16_log_probabilities_are_subtracted_in_fp32():
    logps = torch.tensor([-100.0], dtype=torch.bfloat16)
    assert dpo_loss(logps, logps, logps, logps, PairObjective(beta=0.1)).losses.dtype == torch.float32


@pytest.mark.parametrize(
    "options",
    [{"beta": 0.0}, {"beta": 0.1, "kind": "simpo"}, {"beta": 0.1, "label_smoothing": 0.5},
     {"beta": 0.1, "kind": "hinge", "label_smoothing": 0.1}],
)  # fmt: skip
def test_meaningless_settings_are_refused(options):
    with pytest.raises(UserError, match="objective"):
        PairObjective(**options)
