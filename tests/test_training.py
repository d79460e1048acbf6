"""Training through Lightning: what is equal to what, and what is refused."""

import pytest
import torch

from tests.training_jobs import RECIPE, WORDS, job, losses, work, write_reference
from vpo.backbone.hf import load_pretrained
from vpo.records import Pair
from vpo.training.data import arrange, pair_rows
from vpo.training.forward import Reader


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sft", "dpo"])
def test_accumulation_and_packing_do_not_change_the_steps(tmp_path, start, renderer, task):
    """4 rows at once, 1 row x 4, and padded instead of packed: the same losses, normalised over the global batch."""
    found = {}
    for name, trainer in {"once": {}, "by one": {"per_device_batch_size": 1}, "padded": {"packing": False}}.items():
        spec = job(tmp_path / name, start, task, trainer=trainer)
        if task == "dpo":
            write_reference(tmp_path / name, start, renderer)
        assert work(spec).wait() == 0
        found[name] = losses(tmp_path / name)
    assert found["by one"] == pytest.approx(found["once"], rel=2e-4)
    assert found["padded"] == pytest.approx(found["once"], rel=2e-4)


@pytest.mark.slow
def test_a_reference_that_is_not_the_start_is_refused(tmp_path, start, renderer):
    spec = job(tmp_path, start, "dpo")
    write_reference(tmp_path, start, renderer, shift=1.0)
    assert work(spec).wait() == 2
    assert (
        "the reference log-probabilities are not those of the starting policy" in (tmp_path / "error.txt").read_text()
    )


@pytest.mark.slow
def test_divergence_is_one_line(tmp_path, start):
    spec = job(tmp_path, start, recipe={"optimizer": RECIPE["optimizer"] | {"lr": 1e30}})
    assert work(spec).wait() == 2
    assert "training diverged at step" in (tmp_path / "error.txt").read_text()


def test_packed_and_padded_batches_read_the_same(start, renderer):
    model = load_pretrained(start, torch.float32)[0].eval()
    rows, _ = pair_rows([Pair(q, q, f"A fine {q}", f"A bad {q} it is", "text") for q in WORDS], renderer, 128)
    packed = Reader.of(model, packing=True, longest=128)
    sums = [packed.logprobs(arrange(rows, packing=one, pad_id=renderer.pad_id)).sums for one in (True, False)]
    assert torch.allclose(*sums, rtol=1e-5)
