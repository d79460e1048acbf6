"""Whether scoring clips while others are rendered would make a run shorter, by the sketch world's generator and reward.

    python experiments/benchmarks/overlap.py [clips]

Each clip is rendered and scored in this process, and its CPU time taken, which other work on the machine does not change. From these
times follow the wall times of two devices: a generator's and a reward's, one after the other (stages as they are) or at once (a clip
is scored as soon as it is there), and both devices on each stage in turn (executor=processes, a model on both).
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from vpo.build import build
from vpo.checking.composing import compose
from vpo.records import Prompt
from vpo.stages.render import render_prompts
from vpo.stages.score import absolute


def at_once(rendered: Sequence[float], scored: Sequence[float]) -> float:
    """The time of two devices, of which the second takes each clip when it is there and the clip before is scored."""
    there = done = 0.0
    for first, second in zip(rendered, scored, strict=True):
        there += first
        done = max(there, done) + second
    return done


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the CPU seconds that it took."""
    start = time.process_time()
    found = call()
    return found, time.process_time() - start


def main() -> None:
    """Print the times."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    config = compose("experiment=smoke").config
    queries = build({**config["dataset"], "sft": count}).splits()["sft"][:count]
    generator, reward = build(config["generator"]), build(config["reward"])
    rendered, scored = [], []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for query in queries:
            prompt = Prompt(query.id, query.id, query.text, query.text, "original")
            (clip,), seconds = timed(lambda prompt=prompt: render_prompts(generator, [prompt], folder=place, seed=0))
            rendered.append(seconds)
            _, seconds = timed(lambda clip=clip: reward.score([absolute(clip, place)]))
            scored.append(seconds)
    one, two = sum(rendered), sum(scored)
    together = at_once(rendered, scored)
    print(f"{len(queries)} clips: rendering {one:.2f} s, scoring {two:.2f} s of CPU")
    print(
        f"a device each, stage after stage: {one + two:.2f} s; the devices are idle for 50 % of the time that they have"
    )
    print(f"a device each, at once: {together:.2f} s; idle for {1 - (one + two) / (2 * together):.1%}")
    print(f"both devices for each stage: {(one + two) / 2:.2f} s; idle for 0 % but for the last clips of a stage")


if __name__ == "__main__":
    main()
