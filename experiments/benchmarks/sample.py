"""How fast candidates are sampled: our engine against plain `generate(num_return_sequences=K)`, on prompts of VPO's lengths.

    python experiments/benchmarks/sample.py                         # a Markdown table; a quarter of an hour on a quiet thread
    python experiments/benchmarks/sample.py --shapes smollm2_135m --top-p 0.9 --rounds 1
    python experiments/benchmarks/sample.py --shapes qwen2_5_0_5b --rounds 3 --minutes 30 --threads 2
    python experiments/benchmarks/sample.py --methods generate prefilled engine      # and the one between the two
    python experiments/benchmarks/sample.py --shapes tiny           # does it run?
    python experiments/benchmarks/sample.py --shapes qwen2_5_0_5b --queries 2 --candidates 2 --tokens 8 --greedy-tokens 4
    python experiments/benchmarks/sample.py --json                  # {shape: {method: [[wall, cpu, read, step] a round], ...}}

In one process the methods take turns, after a short first round that does not count; the median over the rounds of the ratio of
two methods' seconds in a round counts. No row ends before its last token, so all write the same number. Weights
are random: they have no part in the time, except that `top_p` below 1 is slow with them, because the nucleus of a flat
distribution is most of the vocabulary. Then greedy texts of plain `generate` and of our engine are compared.

A round of Qwen2.5-0.5B's shape is about four CPU minutes of plain `generate` and engine together (a quarter of it is `generate`
reading each prompt four times), and so half an hour on a core that seven others use: progress goes to standard error, CPU
seconds hardly depend on such company, and Ctrl-C, as `--minutes`, ends with the table of the rounds that are done.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402
import yaml  # noqa: E402
from rows import make_rows, make_tokenizer  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig  # noqa: E402

from vpo.language.chat.rendering import Renderer  # noqa: E402
from vpo.language.hf import HFEngine  # noqa: E402
from vpo.language.prefill import left_padded, prefill  # noqa: E402
from vpo.records import Request, Sampling  # noqa: E402

Ids = list[list[int]]
PAD = 0
EVERY = 15.0  # seconds between two lines of progress


class Round(NamedTuple):
    """What one run of a method took, in seconds.

    Attributes:
        wall, cpu: all of it.
        read: CPU seconds before the second token is begun: the prompts are read.
        step: CPU seconds a further token of all rows, on average.
    """

    wall: float
    cpu: float
    read: float
    step: float


class Watch:
    """Times a run of a method by the model's forward passes and prints how far it is.

    Args:
        model: whose passes of one token are the steps of decoding.
        label: what runs.
        tokens: of each row.
    """

    def __init__(self, model: Any, label: str, tokens: int) -> None:
        self.label, self.tokens, self.steps, self.read = label, tokens, 0, 0.0
        self.wall_start = self.shown = time.perf_counter()
        self.cpu_start = time.process_time()
        self._hook = model.register_forward_pre_hook(self._passes, with_kwargs=True)

    def _passes(self, module: Any, positional: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        if named["input_ids"].shape[-1] == 1:
            self.read = self.read if self.steps else time.process_time() - self.cpu_start
            self.steps += 1
        if time.perf_counter() - self.shown > EVERY:
            self.shown = time.perf_counter()
            note(
                f"{self.label}: {self.steps} of {self.tokens} tokens, {time.process_time() - self.cpu_start:.0f} CPU s"
            )

    def stop(self) -> Round:
        """What it took until now; the model is left alone again."""
        self._hook.remove()
        wall, cpu = time.perf_counter() - self.wall_start, time.process_time() - self.cpu_start
        return Round(wall, cpu, self.read, (cpu - self.read) / max(1, self.steps))


class Contest:
    """One model and the ways to sample from it; each writes to a prompt `candidates` times, until `sampling` ends it."""

    def __init__(self, shape: dict[str, Any], candidates: int) -> None:
        torch.manual_seed(0)
        config = AutoConfig.for_model(**{name: value for name, value in shape.items() if name != "rounds"})
        self.model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        self.candidates = candidates
        # No text ends early: the model's own settings, which would fill ours, name no stop, and the engine's is no token of the model.
        self.model.generation_config = GenerationConfig()
        tokenizer = make_tokenizer(config.vocab_size + 2)
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD)
        self.engine = HFEngine(self.model, tokenizer)

    def run_generate(self, prompts: Ids, sampling: Sampling) -> None:
        """Plain: transformers repeats each prompt before it is read."""
        ids, mask = left_padded(prompts, PAD, self.model.device)
        self._generate(sampling, input_ids=ids, attention_mask=mask, num_return_sequences=self.candidates)

    def run_prefilled(self, prompts: Ids, sampling: Sampling) -> None:
        """transformers' decoding loop behind our prefill of all but each prompt's last token."""
        repeated = [ids for ids in prompts for _ in range(self.candidates)]
        with torch.inference_mode():
            batch = prefill(self.model, [ids[:-1] for ids in repeated], PAD)
        ids, mask = left_padded(repeated, PAD, self.model.device)
        self._generate(sampling, input_ids=ids, attention_mask=mask, past_key_values=batch.cache)

    def run_engine(self, prompts: Ids, sampling: Sampling) -> None:
        """Ours."""
        repeated = [tuple(ids) for ids in prompts for _ in range(self.candidates)]
        self.engine.generate(
            [Request(prompt_ids=ids, sampling=sampling, seed=seed) for seed, ids in enumerate(repeated)]
        )

    def equal_greedy_texts(self, prompts: Ids, tokens: int) -> int:
        """Prompts to which both write the same greedy text; sampling is not compared, the draws are others."""
        ids, mask = left_padded(prompts, PAD, self.model.device)
        written = self._generate(Sampling(0, 1.0, tokens), input_ids=ids, attention_mask=mask)[:, ids.shape[1] :]
        expected = [Renderer(self.engine.tokenizer, "{}").decode(row) for row in written.tolist()]
        greedy = Sampling(0, 1.0, tokens)
        found = self.engine.generate([Request(prompt_ids=tuple(one), sampling=greedy) for one in prompts])
        return sum(one.text == text for one, text in zip(found, expected, strict=True))

    def _generate(self, sampling: Sampling, **inputs: Any) -> torch.Tensor:
        drawn = (
            {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if sampling.temperature else {}
        )
        config = GenerationConfig(
            do_sample=bool(drawn),
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=inputs.pop("num_return_sequences", 1),
            pad_token_id=PAD,
            **drawn,
        )
        return self.model.generate(**inputs, generation_config=config)


METHODS: dict[str, Callable[[Contest, Ids, Sampling], None]] = {
    "generate": Contest.run_generate,
    "prefilled": Contest.run_prefilled,
    "engine": Contest.run_engine,
}


def main() -> None:
    """Measure, then print the table or the JSON, also of what was measured before Ctrl-C."""
    spec = yaml.safe_load((HERE / "sample.yaml").read_text())
    arguments = parse(spec)
    torch.set_num_threads(arguments.threads)
    found: dict[str, dict[str, Any]] = {}
    code = 0
    try:
        for shape in arguments.shapes:
            measure(shape, spec, arguments, found.setdefault(shape, {method: [] for method in arguments.methods}))
    except KeyboardInterrupt:
        note("interrupted; these rounds are done:")
        code = 130
    print(json.dumps(found) if arguments.json else table(found, arguments))
    sys.exit(code)


def note(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def parse(spec: dict[str, Any]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(spec["shapes"]), default=["smollm2_135m", "qwen2_5_0_5b"])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["generate", "engine"])
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=120, help="new tokens of a candidate")
    parser.add_argument("--greedy-tokens", type=int, default=48, help="length of the greedy texts that are compared")
    parser.add_argument("--top-p", type=float, default=spec["sampling"]["top_p"])
    parser.add_argument("--rounds", type=int, help="instead of sample.yaml's for each shape")
    parser.add_argument(
        "--minutes", type=float, help="no round begins that would end later, by a shape's rounds so far"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def measure(name: str, spec: dict[str, Any], arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Put the rounds of each method into `result`, as they are done, and then how many greedy texts are equal."""
    shape = spec["shapes"][name]
    lengths = yaml.safe_load((HERE / "train_step.yaml").read_text())["lengths"]
    prompts = [list(row.prompt) for row in make_rows(arguments.queries, 1, lengths, shape["vocab_size"], seed=0)]
    contest = Contest(shape, arguments.candidates)
    temperature, rounds = spec["sampling"]["temperature"], arguments.rounds or shape["rounds"]
    note(
        f"{name}: {sum(one.numel() for one in contest.model.parameters()) / 1e6:.0f} million parameters, {rounds} round(s)"
    )
    for method in arguments.methods:
        METHODS[method](contest, prompts[:1], Sampling(temperature, arguments.top_p, 2))
    sampling, start = Sampling(temperature, arguments.top_p, arguments.tokens), time.perf_counter()
    for number in range(1, 1 + rounds):
        for method in arguments.methods:
            label = f"{name} {method}, round {number} of {rounds}"
            watch = Watch(contest.model, label, arguments.tokens)
            METHODS[method](contest, prompts, sampling)
            taken = watch.stop()
            result[method].append(taken)
            note(
                f"{label}: {taken.wall:.1f} s, {taken.cpu:.1f} CPU s ({taken.read:.1f} to read, {taken.step:.2f} a step)"
            )
        spent = (time.perf_counter() - start) / 60
        if number < rounds and arguments.minutes is not None and spent * (number + 1) / number > arguments.minutes:
            note(
                f"{name}: {number} round(s) took {spent:.0f} minutes; another would not end before {arguments.minutes:g}"
            )
            break
    result["equal_greedy"] = contest.equal_greedy_texts(prompts, arguments.greedy_tokens)


def table(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> str:
    """A Markdown table of the rounds in which every method is done; ratios are to plain `generate`."""
    count = arguments.queries * arguments.candidates * arguments.tokens
    lines = [
        f"{arguments.queries} queries x {arguments.candidates}, {arguments.tokens} new tokens, top_p {arguments.top_p}, "
        f"{arguments.threads} thread(s)",
        "",
        "| model | method | rounds | s | CPU s | to read | a step | tokens/CPU s | times generate | in CPU time | equal texts |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for shape, result in found.items():
        done = min(len(result[method]) for method in arguments.methods)
        for method in arguments.methods if done else ():
            wall, cpu, read, step = (statistics.median(times) for times in zip(*result[method][:done], strict=True))
            ratios = [f"{ratio(result, method, kind, done):.2f}" if "generate" in result else "" for kind in (0, 1)]
            equal = f"{result['equal_greedy']} of {arguments.queries}" if "equal_greedy" in result else "not compared"
            cells = [
                *(
                    shape,
                    method,
                    done,
                    f"{wall:.1f}",
                    f"{cpu:.1f}",
                    f"{read:.1f}",
                    f"{step:.2f}",
                    f"{count / cpu:.0f}",
                    *ratios,
                ),
                equal if method == "engine" else "",
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def ratio(result: dict[str, Any], method: str, kind: int, done: int) -> float:
    """How many times `generate`'s speed a method has: the median over rounds, in wall (kind 0) or CPU seconds (1)."""
    rounds = zip(result["generate"][:done], result[method][:done], strict=True)
    return statistics.median(plain[kind] / own[kind] for plain, own in rounds)


if __name__ == "__main__":
    main()
