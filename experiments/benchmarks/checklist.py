"""What sharing a clip's keys and values saves: VisionReward's 64 questions at once against one forward pass for each, on one model.

    python experiments/benchmarks/checklist.py                      # a Markdown table; about ten minutes on a quiet thread
    python experiments/benchmarks/checklist.py --frames 8 --height 112 --width 168
    python experiments/benchmarks/checklist.py --shapes tiny        # does it run?
    python experiments/benchmarks/checklist.py --path Qwen/Qwen2.5-VL-7B-Instruct --dtype bfloat16 --device cuda --rounds 3
    python experiments/benchmarks/checklist.py --json

Both ways read the same frames, decoded beforehand, and the same token ids. One forward a question is transformers' own path: it is
given the clip's pixels each time, and finds positions and masks by itself. The ways take turns, after one question of each that does
not count; the median over the rounds of the ratio of their CPU seconds (on a GPU, seconds) counts. All answers must be the same, else
the script ends with an error. Weights are random, unless `--path` names a model: they have no part in the time.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from transformers import AutoConfig, AutoModelForImageTextToText  # noqa: E402

from vpo.assets.tiny.vlm import MODELS  # noqa: E402
from vpo.errors import UserError  # noqa: E402
from vpo.reward.asking.checklist import Checklist  # noqa: E402
from vpo.reward.asking.families import Footage  # noqa: E402
from vpo.reward.asking.model import VisionLanguageModel  # noqa: E402
from vpo.reward.asking.yes_no import NO, YES, by_probability, token_ids  # noqa: E402

QUESTIONS = HERE.parents[1] / "conf/reward/base/visionreward.yaml"
TEXTS = HERE.parents[2] / "shared/data/visionreward/video_qa.txt"
QUERY, INSTRUCTION = "A small brown dog runs along a beach at sunset", " Answer with yes or no."
EVERY = 15.0  # seconds between two lines of progress
GOAL = 5.0


class Round(NamedTuple):
    """What one way took for all questions, in seconds."""

    wall: float
    cpu: float


class Contest:
    """One model, one clip and the questions about it."""

    def __init__(self, model: VisionLanguageModel, footage: Footage, texts: list[str]) -> None:
        self.model, self.footage, self.texts = model, footage, texts
        self.ids = [token_ids(model.tokenizer, words, model.where) for words in (YES, NO)]

    def run_shared(self, texts: list[str]) -> torch.Tensor:
        """Ours: first-token logits (questions, vocabulary)."""
        return self.model.first_token_logits(self.footage, texts)

    @torch.inference_mode()
    def run_single(self, texts: list[str]) -> torch.Tensor:
        """One forward pass a question."""
        rows, shown = [], time.perf_counter()
        for number, text in enumerate(texts):
            if time.perf_counter() - shown > EVERY:
                shown = time.perf_counter()
                note(f"one forward a question: {number} of {len(texts)}")
            rows.append(
                self.model.model(**self.model.inputs(self.footage, text), logits_to_keep=1).logits[0, -1].float().cpu()
            )
        return torch.stack(rows)

    def answers(self, logits: torch.Tensor) -> list[bool | None]:
        """Yes or no to each question."""
        likely = logits.softmax(-1)
        yes, no = (likely[:, ids].sum(-1).tolist() for ids in self.ids)
        return [by_probability(one, other, 0.0) for one, other in zip(yes, no, strict=True)]

    @property
    def parameters(self) -> int:
        """Of the model."""
        return sum(one.numel() for one in self.model.model.parameters())

    @property
    def tokens(self) -> tuple[int, int]:
        """Shared tokens of the prompts, and all others of all questions together."""
        asked = self.model.ask(self.footage, self.texts)
        return len(asked.shared), sum(map(len, asked.own))


def main() -> None:
    """Measure, then print the table or the JSON. Raises SystemExit where answers differ."""
    spec = yaml.safe_load((HERE / "checklist.yaml").read_text(encoding="utf-8"))
    arguments = parse(spec)
    torch.set_num_threads(arguments.threads)
    found = {}
    for shape in [arguments.path] if arguments.path else arguments.shapes:
        with TemporaryDirectory() as folder:
            if not arguments.path:
                save(spec["shapes"][shape], Path(folder))
            model = VisionLanguageModel(
                arguments.path or folder, None, arguments.dtype, arguments.device, 3136, 12845056, "--path"
            )
        found[shape] = measure(
            shape, Contest(model, footage(arguments), texts(arguments.questions, arguments.texts)), arguments
        )
    print(json.dumps(found) if arguments.json else table(found, arguments))
    differing = [shape for shape, one in found.items() if one["equal"] != one["questions"]]
    if differing:
        sys.exit(f"{differing[0]}: answers differ")


def parse(spec: dict[str, Any]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=list(spec["shapes"]), default=["qwen2_5_vl_60m"])
    parser.add_argument("--path", help="a real model instead: folder or hub id")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--height", type=int, default=168)
    parser.add_argument("--width", type=int, default=252)
    parser.add_argument("--questions", type=int, default=64, help="the first so many")
    parser.add_argument("--texts", type=Path, default=TEXTS, help="VisionReward_video_qa.txt of THUDM/VisionReward")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def save(shape: dict[str, Any], folder: Path) -> None:
    """Write a model of a shape with random weights, with the tokenizer of the tiny one of its family."""
    MODELS[shape["family"]](folder)
    config = AutoConfig.from_pretrained(folder)
    for part in ("text_config", "vision_config"):
        for name, value in shape[part].items():
            setattr(getattr(config, part), name, value)
    text = config.text_config
    text.layer_types = ["full_attention"] * text.num_hidden_layers
    torch.manual_seed(0)
    for part in (config, text, config.vision_config):
        part.initializer_range = (
            1.1 / text.hidden_size**0.5
        )  # large enough for attention, and so for the question, to matter
    AutoModelForImageTextToText.from_config(type(config).from_dict(config.to_dict())).save_pretrained(folder)


def footage(arguments: argparse.Namespace) -> Footage:
    """Frames of noise, an eighth of a second apart."""
    shape = (arguments.frames, arguments.height, arguments.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return Footage(frames, [place / 8 for place in range(len(frames))], 1 / 8)


def texts(count: int, file: Path) -> list[str]:
    """VisionReward's questions about one query."""
    asked = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))["questions"][:count]
    try:
        return [text + INSTRUCTION for text in Checklist(asked, "sum_of_yes", str(file)).texts(QUERY)]
    except UserError as error:
        sys.exit(f"checklist: {error}")


def measure(name: str, contest: Contest, arguments: argparse.Namespace) -> dict[str, Any]:
    """The rounds of both ways, and how their answers compare."""
    shared, own = contest.tokens
    note(f"{name}: {contest.parameters / 1e6:.0f} million parameters, {shared} shared tokens, {own} of the questions")
    ways: dict[str, Callable[[list[str]], torch.Tensor]] = {"single": contest.run_single, "shared": contest.run_shared}
    for run in ways.values():
        run(contest.texts[:1])
    rounds: dict[str, list[Round]] = {way: [] for way in ways}
    logits = {}
    for number in range(1, 1 + arguments.rounds):
        for way, run in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            logits[way] = run(contest.texts)
            if arguments.device == "cuda":
                torch.cuda.synchronize()
            taken = Round(time.perf_counter() - wall, time.process_time() - cpu)
            rounds[way].append(taken)
            note(f"{name} {way}, round {number} of {arguments.rounds}: {taken.wall:.1f} s, {taken.cpu:.1f} CPU s")
    one, other = (contest.answers(logits[way]) for way in ways)
    return {
        "parameters": contest.parameters, "shared_tokens": shared, "own_tokens": own, "rounds": rounds, "questions": len(one),
        "equal": sum(x == y for x, y in zip(one, other, strict=True)), "yes": sum(map(bool, one)),
        "difference": float((logits["single"] - logits["shared"]).abs().max()),
        "spread": float(logits["single"].std(0).mean()),  # of a token's logit over the questions
    }  # fmt: skip


def table(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> str:
    """A Markdown table."""
    lines = [
        f"{arguments.questions} questions, {arguments.frames} frames of {arguments.height} x {arguments.width}, "
        f"{arguments.dtype}, {arguments.device}, {arguments.threads} thread(s); goal {GOAL:g} times",
        "",
        "| model | parameters | clip's tokens | questions' tokens | one forward each: CPU s | shared: CPU s | times faster | "
        "in seconds | equal answers (yes) | largest difference of logits | their spread over questions |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for shape, one in found.items():
        single, shared = (statistics.median(taken.cpu for taken in one["rounds"][way]) for way in ("single", "shared"))
        lines.append(
            f"| {shape} | {one['parameters'] / 1e6:.1f} M | {one['shared_tokens']} | {one['own_tokens']} | {single:.1f} | "
            f"{shared:.1f} | {ratio(one, 1):.1f} | {ratio(one, 0):.1f} | {one['equal']} of {one['questions']} "
            f"({one['yes']}) | {one['difference']:.1e} | {one['spread']:.2f} |"
        )
    return "\n".join(lines)


def ratio(one: dict[str, Any], kind: int) -> float:
    """How many times as fast the shared way is: the median over rounds, in seconds (kind 0) or CPU seconds (1)."""
    pairs = zip(one["rounds"]["single"], one["rounds"]["shared"], strict=True)
    return statistics.median(single[kind] / shared[kind] for single, shared in pairs)


def note(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
