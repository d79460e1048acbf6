"""How much memory a training takes, by arithmetic on the model's config: no weights are read and torch is not imported.

Counted are weights, gradients and AdamW's two moments; what autograd keeps of the longest row for the backward pass; one chunk of
logits; and what the process itself takes. P parameters, T of them trained, h the hidden size, i the intermediate, k the size of all
key heads, L layers, V the vocabulary. A test compares the sum with the peak of a real training on CPU; on GPUs it was not
compared.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vpo.training.recipe import base_dtype

GB = 1e9
PROCESS = (
    0.55e9  # bytes: Python, torch, transformers and Lightning on CPU; on a GPU its context and libraries take as much
)
SLACK = 1.35  # temporaries of a layer, and freed blocks that the allocator keeps; measured on CPU (experiments/LOG.md)
CHUNK = (
    2**25
)  # elements: vpo.training.logprobs.CHUNK_ELEMENTS, which is not imported because it brings torch (a test compares)
BYTES_QUANTISED = {
    4: 0.516,
    8: 1.0,
}  # a parameter; 4 bits with a doubly quantised scale a block of 64 (arXiv 2305.14314, 3)
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a Llama-like decoder, as its config.json names them."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tied: bool
    bias: tuple[str, ...] = ()
    norms: int = 2  # vectors of hidden_size in a layer
    head_norms: int = 0  # vectors of head_dim in a layer

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "DecoderShape | None":
        """The shape that a config.json describes; None for a kind of model that is not known here."""
        kind = config.get("model_type")
        if kind not in ("llama", "mistral", "qwen2", "qwen3"):
            return None
        heads = config["num_attention_heads"]
        attention_bias = ATTENTION if config.get("attention_bias") else ()
        return cls(
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            tied=bool(config.get("tie_word_embeddings", False)),
            bias=(ATTENTION[:3] if kind == "qwen2" else attention_bias) + (MLP if config.get("mlp_bias") else ()),
            head_norms=2 if kind == "qwen3" else 0,
        )

    @property
    def keys(self) -> int:
        """Elements of all key heads of a token, k."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear maps of a layer: name to (out, in)."""
        h, i, q, k = self.hidden_size, self.intermediate_size, self.num_attention_heads * self.head_dim, self.keys
        sizes = [(q, h), (k, h), (k, h), (h, q), (i, h), (i, h), (h, i)]
        return dict(zip((*ATTENTION, *MLP), sizes, strict=True))

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        maps = sum(out * into + (out if name in self.bias else 0) for name, (out, into) in self.linears.items())
        return maps + self.norms * self.hidden_size + self.head_norms * self.head_dim

    @property
    def outside(self) -> int:
        """Parameters outside the layers: embedding, final norm, and the head if it is not the embedding."""
        return self.vocab_size * self.hidden_size * (1 if self.tied else 2) + self.hidden_size

    @property
    def parameters(self) -> int:
        """P."""
        return self.num_hidden_layers * self.layer + self.outside

    def adapter_parameters(self, adapter: Mapping[str, Any]) -> int:
        """T of a LoRA adapter: r (in + out) a target (arXiv 2106.09685)."""
        targets = self.linears if adapter["target_modules"] == "all-linear" else adapter["target_modules"]
        rank: int = adapter["r"]
        return self.num_hidden_layers * sum(rank * sum(self.linears.get(name, (0, 0))) for name in targets)


@dataclass(frozen=True)
class BatchShape:
    """One forward pass in tokens: `items` queries of `completions` each, after a template."""

    items: int
    completions: int
    template: int
    query: int
    completion: int
    packing: bool

    @property
    def unpacked(self) -> int:
        """Tokens of the sequences one by one."""
        return self.items * self.completions * (self.template + self.query + self.completion)

    @property
    def tokens(self) -> int:
        """Tokens that the layers see: packed, the template is there once and each query once."""
        packed = self.template + self.items * (self.query + self.completions * self.completion)
        return packed if self.packing else self.unpacked

    @property
    def below_template(self) -> int:
        """Tokens of the branches one by one, without their template."""
        return self.items * self.completions * (self.query + self.completion)

    @property
    def targets(self) -> int:
        """Completion tokens, which the head sees."""
        return self.items * self.completions * self.completion


@dataclass(frozen=True)
class Estimate:
    """Bytes of a process (on a GPU: of the device) at the peak, by cause.

    `copies` are the 16-bit weights that autocast makes of others and keeps until backward is done.
    """

    process: float
    weights: float
    copies: float
    optimizer: float
    gradients: float
    activations: float
    logits: float
    scratch: float

    @property
    def peak(self) -> float:
        """The larger of two moments: backward begins, with all activations; or the optimizer steps, with all gradients."""
        backward = SLACK * (self.activations + self.logits) + self.copies
        return self.process + self.weights + self.optimizer + max(backward, self.gradients + self.scratch)


def estimate(
    shape: DecoderShape, row: BatchShape, trainer: Mapping[str, Any], adapter: Mapping[str, Any] | None
) -> Estimate:
    """What a training of this model takes.

    Args:
        shape: of the model.
        row: the largest forward pass.
        trainer: its node: accelerator, devices, strategy and its options, precision, activation_checkpointing.
        adapter: the recipe's adapter node; None trains all weights.
    """
    half = "16" in str(trainer["precision"])
    stage = {"fsdp": 3, "deepspeed": trainer["strategy_options"].get("stage", 3)}.get(trainer["strategy"], 0)
    trained = shape.parameters if adapter is None else shape.adapter_parameters(adapter)
    shards = trainer["devices"] if stage else 1
    buckets = 2 if trainer["strategy"] == "ddp" else 1  # DDP reduces copies of the gradients
    gpu = trainer["accelerator"] == "gpu"
    bits = (adapter or {}).get("bits")
    maps = shape.num_hidden_layers * sum(out * into for out, into in shape.linears.values())
    narrow = base_dtype(adapter, trainer) == "bfloat16"  # what is frozen is loaded in 16 bits
    whole = cast = shape.parameters - (maps if bits else 0)  # not quantised; what autocast copies
    if narrow:
        cast = trained + (0 if str(trainer["precision"]).startswith("bf16") else whole)
    if stage == 3:  # shards, and whole at a time: what lies outside the layers, this layer and the next
        weights = 4 * shape.parameters / trainer["devices"] + (2 if half else 4) * (shape.outside + 2 * shape.layer)
    else:
        weights = (2 if narrow else 4) * whole + (BYTES_QUANTISED[bits] * maps if bits else 0)
    return Estimate(
        process=PROCESS,
        weights=weights + (0 if adapter is None else 4 * trained / shards),
        copies=2 * cast if half and stage < 3 else 0.0,
        optimizer=8 * trained / shards,
        gradients=4 * trained * buckets / (shards if stage > 1 else 1),
        activations=_activations(shape, row, half, gpu, trainer["activation_checkpointing"], narrow),
        logits=_logits(shape, row, adapter is None),
        scratch=4 * trained / shards if gpu else 0.0,  # on GPUs AdamW works on all parameters at once
    )


def fixed_memory(shape: DecoderShape, trainer: Mapping[str, Any], *, reference: bool) -> float:
    """Bytes that training all weights holds whatever its rows: the process, weights, gradients, AdamW's moments, all in fp32.

    Args:
        shape: of the model.
        trainer: its node; no sharded one.
        reference: whether a frozen copy of the policy is in memory, too, in fp32.
    """
    nothing = BatchShape(0, 0, 0, 0, 0, packing=False)
    held = estimate(shape, nothing, trainer, None)
    return held.process + held.weights * (2 if reference else 1) + held.gradients + held.optimizer


def _activations(
    shape: DecoderShape, row: BatchShape, half: bool, gpu: bool, checkpointing: bool, narrow: bool
) -> float:
    """Bytes that autograd keeps of a row.

    A layer keeps for each token, in fp32: of both norms their input, the normalised vector and the output (6 h); the rotated
    query and the attention's output (2 h); keys and values (2 k); of the MLP gate, silu(gate), up and their product (4 i).
    With 16 bits the norms stay in fp32 (4 h) and each of the five linear maps after them keeps a 16-bit copy of its input.
    With an adapter on 16-bit weights (`narrow`) a frozen norm keeps its widened input alone (2 h of fp32), the stream between
    layers has 16 bits, and the adapter of the attention's output keeps a copy of that, too (h). On
    CPU a packed row also gathers queries, outputs, keys and values branch by branch, the latter with their template.
    """
    h, i, k = shape.hidden_size, shape.intermediate_size, shape.keys
    size = 2 if half else 4
    per_token = 4 * 4 * h + 2 * (5 * h + 2 * h + 2 * k + 4 * i) if half else 4 * (8 * h + 2 * k + 4 * i)
    if narrow:
        per_token = 4 * 2 * h + 2 * (6 * h + 2 * h + 2 * k + 4 * i)
    layer = per_token * row.tokens
    if row.packing and not gpu:
        layer += size * (2 * h * row.below_template + 2 * k * row.unpacked)
    if not checkpointing:
        return shape.num_hidden_layers * layer
    return (
        shape.num_hidden_layers * (2 if narrow else 4) * h * row.tokens + layer
    )  # the inputs of all layers, the inside of one


def _logits(shape: DecoderShape, row: BatchShape, full: bool) -> float:
    """Bytes of one chunk's probabilities and their gradient, and of the head's own gradient."""
    return 2 * 4 * min(CHUNK, row.targets * shape.vocab_size) + (
        4 * shape.vocab_size * shape.hidden_size if full else 0
    )
