"""From a query to token ids, and from a policy to samples."""

import pytest
import torch

from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.sampling import Forced, Sampler
from vpo.templates import read_template, template_hash


def test_prompt_and_completion_are_joined_ids_with_one_bos_and_one_eos(renderer):
    prompt, completion = renderer.prompt_ids(" a red dog "), renderer.completion_ids("A dog.")
    tokenizer = renderer.tokenizer
    assert tokenizer.decode(prompt) == "<s>Query: a red dog\nPrompt:"
    assert prompt.count(tokenizer.bos_token_id) == 1
    assert completion[-1] == tokenizer.eos_token_id
    assert renderer.decode([*completion, 5, 6]) == "A dog."


def test_chat_templates_bring_their_own_bos(renderer, start):
    tokenizer = load_pretrained(start, torch.float32)[1]
    tokenizer.chat_template = "<s>{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}[assistant]"
    ids = Renderer(tokenizer, "Rewrite: {}").prompt_ids("a dog")
    assert tokenizer.decode(ids) == "<s>[user]Rewrite: a dog[assistant]"
    assert ids.count(tokenizer.bos_token_id) == 1


def test_a_tokenizer_without_pad_has_eos_for_it_and_one_without_eos_is_refused(start):
    tokenizer = load_pretrained(start, torch.float32)[1]
    tokenizer.pad_token = None
    assert Renderer(tokenizer, "{}").pad_id == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(UserError, match=r"the tokenizer has no EOS token; set tokenizer.eos_token and save it"):
        Renderer(tokenizer, "{}")


def test_vpos_template_is_byte_exact():
    """sha256 from facts: the released VPO-2B and VPO-5B were trained with exactly this text."""
    assert template_hash("optimizer") == "d8f31468644532ef4ffda2bbd0e0ddd2a7cc27a5fd56d441ea17bc384fe6d24f"
    assert len(read_template("optimizer")) == 819


def naive(logits, seed, temperature, top_p, steps):
    """Argmax of each step's noised logits (V,), from the definition: Gumbel noise of the row's own generator on the nucleus."""
    generator, drawn = torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        noise = -torch.log(-torch.log(torch.rand(len(logits), generator=generator)))
        scaled = logits / temperature
        order = scaled.argsort(descending=True)
        before = scaled.softmax(-1)[order].cumsum(-1) - scaled.softmax(-1)[order]
        noised = (scaled + noise)[order].masked_fill(before >= top_p, float("-inf"))
        drawn.append(int(order[noised.argmax()]))
    return drawn


@pytest.mark.parametrize("spread", [0.1, 3.0])  # a nucleus of thousands of tokens, and one of few
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_draw_is_gumbel_max_on_the_nucleus_with_the_rows_own_noise(top_p, spread):
    logits = spread * torch.randn(3, 5000, generator=torch.Generator().manual_seed(0))
    sampler = Sampler([7, 8, 9], 0.8, top_p, torch.device("cpu"))
    rows = torch.stack([sampler.draw(logits, range(3)) for _ in range(20)], dim=1).tolist()
    assert rows == [naive(one, seed, 0.8, top_p, 20) for one, seed in zip(logits, (7, 8, 9), strict=True)]


def test_rows_that_have_left_change_nothing_for_the_others():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    full, fewer = (Sampler([7, 8, 9], 1.0, 0.9, torch.device("cpu")) for _ in range(2))
    expected = [full.draw(logits, [0, 1, 2]) for _ in range(3)]
    assert fewer.draw(logits, [0, 1, 2]).tolist() == expected[0].tolist()
    assert fewer.draw(logits[[2, 1]], [2, 1]).tolist() == expected[1][[2, 1]].tolist()
    assert fewer.draw(logits[1:2], [1]).tolist() == expected[2][1:2].tolist()


def test_draws_have_the_frequencies_of_the_softmax():
    """20,000 draws against softmax(logits / T), within four standard errors."""
    logits, count = torch.tensor([[1.0, 0.0, -1.0, 2.0]]), 20_000
    sampler = Sampler(range(count), temperature=0.5, top_p=1.0, device=torch.device("cpu"))
    drawn = sampler.draw(logits.expand(count, -1), range(count))
    frequency = torch.bincount(drawn, minlength=4) / count
    expected = (logits[0] / 0.5).softmax(-1)
    assert torch.all((frequency - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt())


def test_nucleus_is_the_smallest_set_that_holds_top_p():
    """0.5 + 0.3 >= 0.8, so the last two are never drawn."""
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log().expand(2000, -1)
    sampler = Sampler(range(2000), temperature=1.0, top_p=0.8, device=torch.device("cpu"))
    assert set(sampler.draw(logits, range(2000)).tolist()) == {1, 3}


def test_forced_scores_leave_the_drawn_token_alone():
    logits = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    scores = Forced(Sampler([3, 4], 1.0, 1.0, torch.device("cpu")), 2)(None, logits)
    drawn = Sampler([3, 4], 1.0, 1.0, torch.device("cpu")).draw(logits, [0, 1])
    assert scores.argmax(-1).tolist() == drawn.tolist()
    assert torch.isfinite(scores).sum(-1).tolist() == [1, 1]
