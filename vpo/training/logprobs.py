"""Log-probabilities of completion tokens, without ever holding a (tokens x vocabulary) matrix.

Three things make this cheaper than `model(...).logits.log_softmax(-1)`: the output head sees completion positions only
(of 300 tokens of a row about 120 are completion); logits exist for one chunk of tokens at a time and are computed again
in the backward pass; the log-softmax is in fp32 whatever the model's dtype, written in place over the chunk's logits.

A Hugging Face causal LM is a *decoder* (ids to hidden states) and a *head* (hidden states to logits). What a few do
more than that is described by `Head` or, where that is not enough, refused by `head_problem`; for those the caller
passes `own_logits=True`, which takes the model's logits as they are.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

# Logits of one chunk, in elements: 128 MiB in fp32; 262 tokens of a vocabulary of 128k, 4,096 tokens of one of 8k.
CHUNK_ELEMENTS = 2**25


class SequenceLogprobs(NamedTuple):
    """The sum of each sequence's completion-token log-probabilities (nats, fp32) and their count (int64), (B,) each."""

    sums: Tensor
    counts: Tensor


class LogitForm(NamedTuple):
    """What becomes of the output of a head's linear map z: `softcap * tanh(scale * z / softcap)`."""

    scale: float = 1.0
    softcap: float | None = None


class Head(NamedTuple):
    """How a model makes logits from the decoder's hidden states: the form of `module(h)`."""

    module: nn.Module
    vocab_size: int
    form: LogitForm = LogitForm()

    @property
    def is_plain_linear(self) -> bool:
        """Whether the fused function may read the weight itself.

        A LoRA-wrapped or quantised head, one whose weight is sharded (DTensor, DeepSpeed ZeRO-3) and one with forward
        hooks must be *called*, because its forward does more than a matrix product.
        """
        module = self.module
        if type(module) is not nn.Linear or module._forward_pre_hooks or module._forward_hooks:
            return False
        return type(module.weight) is nn.Parameter and not hasattr(module.weight, "ds_id")


def unwrap(model: nn.Module) -> Any:
    """The Hugging Face model inside a PEFT wrapper (adapters stay active: they are in the layers), or the model."""
    base = getattr(model, "get_base_model", None)
    return model if base is None else base()


def decoder_of(model: nn.Module) -> nn.Module:
    """The module that maps ids to hidden states, e.g. `LlamaModel` of a `LlamaForCausalLM`."""
    inner = unwrap(model)
    decoder: nn.Module = getattr(inner, inner.base_model_prefix)
    return decoder


def head_of(model: nn.Module) -> Head:
    """The model's output head with its scale and softcap as the config states them.

    Sources (transformers 5.23, models/*/modeling_*.py): `final_logit_softcapping` (Gemma 2, nanochat), `logit_scale`
    (Cohere, multiplied), `logits_scaling` (Granite, divided). `head_problem` checks the outcome with numbers.
    """
    inner = unwrap(model)
    config = inner.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    if config.model_type.startswith("granite"):
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(inner.get_output_embeddings(), config.vocab_size, LogitForm(scale, softcap))


@torch.no_grad()
def head_problem(model: nn.Module) -> str | None:
    """Compare `head_of` with the model's own logits on a few tokens.

    A check with numbers, because the name of a config field does not define what the model does with it: `logits_scaling`
    divides in Granite and multiplies in HyperCLOVA X. Call it once, before training and before any wrapping for DDP.

    Args:
        model: A causal LM, PEFT-wrapped or not; its mode is left as it was.

    Returns:
        None where they agree, else the reason in a few words.
    """
    inner = unwrap(model)
    if inner.get_output_embeddings() is None or not hasattr(inner, inner.base_model_prefix):
        return f"{type(inner).__name__} has no separate decoder and output head"
    was_training = model.training
    model.eval()  # dropout would make any two passes differ
    try:
        device = inner.get_input_embeddings().weight.device
        ids = torch.arange(4, device=device)[None] % inner.config.get_text_config().vocab_size
        expected = inner(input_ids=ids, use_cache=False).logits.float()
        head = head_of(model)
        hidden = decoder_of(model)(input_ids=ids, use_cache=False).last_hidden_state
        logits = shape_logits(head.module(hidden), head.form)
        agree = torch.allclose(logits, expected, rtol=1e-2, atol=1e-2 * expected.abs().max().item())
    finally:
        model.train(was_training)
    return None if agree else f"{type(inner).__name__} does more than a linear head between hidden states and logits"


def shape_logits(logits: Tensor, form: LogitForm) -> Tensor:
    """The fp32 logits after scale and softcap; a view of the input where there is nothing to do and it is fp32."""
    logits = logits.float()
    if form.scale != 1.0:
        logits = logits * form.scale
    return logits if form.softcap is None else form.softcap * torch.tanh(logits / form.softcap)


def token_logprobs(hidden: Tensor, targets: Tensor, head: Head, chunk_elements: int = CHUNK_ELEMENTS) -> Tensor:
    """Log-probability of each target given the hidden state that predicts it.

    Args:
        hidden: (N, H), decoder output at the *source* positions (one before the target).
        targets: (N,), int64 token ids.
        head: From `head_of`.
        chunk_elements: Logits held at once; the chunk is this over the vocabulary, in tokens.

    Returns:
        (N,), fp32, nats. Differentiable in hidden and in the head's parameters.
    """
    if targets.numel() == 0:
        # Keep the graph: a rank without completion tokens must still take part in the gradient reduction.
        return hidden.float().sum(-1)[:0]
    chunk = max(1, chunk_elements // head.vocab_size)
    if head.is_plain_linear:
        return _linear_logprobs(hidden, targets, head, chunk)
    return _called_logprobs(hidden, targets, head, chunk)


def _called_logprobs(hidden: Tensor, targets: Tensor, head: Head, chunk: int) -> Tensor:
    """`token_logprobs` through the head's own forward: autograd with recomputation, for heads of any kind."""

    def logprobs(h: Tensor, t: Tensor) -> Tensor:
        logits = shape_logits(head.module(h), head.form)
        return logits.gather(-1, t[:, None]).squeeze(-1) - logits.logsumexp(-1)

    pieces = zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True)
    return torch.cat([checkpoint(logprobs, h, t, use_reentrant=False, preserve_rng_state=False) for h, t in pieces])


def _linear_logprobs(hidden: Tensor, targets: Tensor, head: Head, chunk: int) -> Tensor:
    """`token_logprobs` through the fused function; under autocast in autocast's dtype, as `nn.Linear` would be."""
    weight, bias = head.module.weight, head.module.bias
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
        bias = None if bias is None else bias.to(dtype)
    with torch.autocast(device, enabled=False):
        logps: Tensor = _LinearLogprobs.apply(hidden, weight, bias, targets, head.form, chunk)  # type: ignore[no-untyped-call]
    return logps


class _LinearLogprobs(torch.autograd.Function):
    """Linear head, log-softmax and gather, chunk by chunk, the logits recomputed in backward.

    With z the logits, p = softmax(z), t the target and g the incoming gradient of log p[t]:
    `d log p[t] / dz = onehot(t) - p`, so `dz = g (onehot(t) - p)`, then through softcap and scale to hidden and weight.
    A single chunk keeps its probabilities instead of recomputing them: the peak is the same, a matrix product is saved.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, form: LogitForm, chunk: int
    ) -> Tensor:
        needs_grad = any(ctx.needs_input_grad)
        keep = needs_grad and form.softcap is None and targets.numel() <= chunk
        logps, logzs, probabilities = [], [], None
        for h, t in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
            logits = shape_logits(F.linear(h, weight, bias), form)
            chosen = logits.gather(-1, t[:, None]).squeeze(-1)
            logz = _exponentiate_(logits)
            logps.append(chosen - logz)
            logzs.append(logz)
            if keep:
                probabilities = logits.div_(logits.sum(-1, keepdim=True))
        ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(logzs), probabilities)
        ctx.form, ctx.chunk = form, chunk
        return torch.cat(logps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, logz, probabilities = ctx.saved_tensors
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        # fp32 sums over chunks: in bf16 the late chunks would be rounded away.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias else None
        for start in range(0, targets.numel(), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            h, t, g = hidden[part], targets[part], grad[part].float()
            if probabilities is None:
                z = shape_logits(F.linear(h, weight, bias), ctx.form)
                slope = None if ctx.form.softcap is None else 1.0 - (z / ctx.form.softcap).square()
                dz = z.sub_(logz[part, None]).exp_().mul_(-g[:, None])
            else:
                dz, slope = probabilities * -g[:, None], None  # not in place: backward may run twice (retain_graph)
            dz.scatter_add_(-1, t[:, None], g[:, None])
            if slope is not None:
                dz.mul_(slope)
            if ctx.form.scale != 1.0:
                dz.mul_(ctx.form.scale)
            if grad_bias is not None:
                grad_bias += dz.sum(0)
            dz = dz.to(weight.dtype)
            if grad_hidden is not None:
                torch.mm(dz, weight, out=grad_hidden[part])
            if grad_weight is not None:
                _add_outer_(grad_weight, dz, h)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None, None, None,
        )  # fmt: skip


def _exponentiate_(logits: Tensor) -> Tensor:
    """Overwrite logits (N, V) with `exp(logits - max)` and return their log-sum-exp (N,).

    In place, because `torch.logsumexp` holds a second (N, V) matrix for a moment.
    """
    top = logits.amax(-1, keepdim=True)
    total = logits.sub_(top).exp_().sum(-1)
    return total.log_().add_(top.squeeze(-1))


def _add_outer_(total: Tensor, dz: Tensor, hidden: Tensor) -> None:
    """Add `dz.T @ hidden` to total (V, H); without a (V, H) temporary where the dtypes are equal."""
    if dz.dtype == total.dtype:
        total.addmm_(dz.T, hidden)
    else:
        total += dz.T @ hidden


def completion_token_logprobs(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_mask: Tensor,
    *,
    own_logits: bool = False,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the completion tokens of a padded batch, flat, in row order.

    Args:
        model: A causal LM, PEFT-wrapped or not.
        input_ids: (B, T), padded on the right.
        attention_mask: (B, T), 1 at tokens, 0 at padding.
        completion_mask: (B, T), 1 at completion tokens. One at position 0 has no source and is left out.
        own_logits: Take the model's own logits, for models that `head_problem` names; holds (B, T, V) at once.
        chunk_elements: See `token_logprobs`.

    Returns:
        Log-probabilities (N,) in fp32, nats, and the row of each (N,), N the number of completion tokens.
    """
    mask = completion_mask[:, 1:].bool()
    targets = input_ids[:, 1:][mask]
    rows = torch.arange(mask.shape[0], device=mask.device)[:, None].expand_as(mask)[mask]
    if own_logits:
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        logits = logits[:, :-1][mask].float()
        return logits.gather(-1, targets[:, None]).squeeze(-1) - logits.logsumexp(-1), rows
    outputs = decoder_of(model)(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    sources = outputs.last_hidden_state[:, :-1][mask]
    return token_logprobs(sources, targets, head_of(model), chunk_elements), rows


def completion_logprobs(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_mask: Tensor,
    *,
    own_logits: bool = False,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> SequenceLogprobs:
    """Sum and count of the completion tokens' log-probabilities of each row of a padded batch, (B,) each.

    The arguments are those of `completion_token_logprobs`.
    """
    logps, rows = completion_token_logprobs(
        model, input_ids, attention_mask, completion_mask, own_logits=own_logits, chunk_elements=chunk_elements
    )
    return sum_by_group(logps, rows, input_ids.shape[0])


def sum_by_group(logps: Tensor, groups: Tensor, count: int) -> SequenceLogprobs:
    """Add the token log-probabilities (N,) of each group; groups (N,) holds indices below `count`."""
    sums = logps.new_zeros(count).index_add(0, groups, logps)
    return SequenceLogprobs(sums, torch.bincount(groups, minlength=count))
