"""From a query to token ids, and from a policy to samples."""

import pytest
import torch

from vpo.errors import UserError
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.sampling import Sampler
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


def test_gumbel_noise_draws_from_the_softmax():
    """Frequencies of 20,000 draws against softmax(logits / T), within four standard errors."""
    logits, count = torch.tensor([[1.0, 0.0, -1.0, 2.0]]), 20_000
    noise = Sampler(range(count), temperature=0.5, top_p=1.0, device=torch.device("cpu"))
    drawn = noise(None, logits.expand(count, -1)).argmax(-1)
    frequency = torch.bincount(drawn, minlength=4) / count
    expected = (logits[0] / 0.5).softmax(-1)
    assert torch.all((frequency - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt())


def test_nucleus_keeps_the_smallest_set_that_holds_top_p():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    noise = Sampler([0], temperature=1.0, top_p=0.8, device=torch.device("cpu"))
    assert torch.isinf(noise(None, logits)).tolist() == [[False, False, True, True]]  # 0.5 + 0.3 >= 0.8
