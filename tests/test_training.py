"""Training through Lightning: resuming, accumulation, guards. Tiny models of the true class."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import ROOT
from vpo.backbone.hf import GumbelNoise, HFLanguageModel, load_pretrained
from vpo.backbone.rendering import Renderer
from vpo.backbone.tiny import TinyBackbone
from vpo.errors import UserError
from vpo.records import Example, Pair
from vpo.rows import write_rows
from vpo.templates import read_template, template_hash
from vpo.training import launch
from vpo.training.data import Batch, PlannedDataModule, Row, arrange, pair_rows, plan_steps, sft_rows, share_of_rank
from vpo.training.forward import Reader
from vpo.training.record import JsonlLogger
from vpo.training.reference import reference_logprobs

WORDS = ["a red dog runs", "two blue cats in the snow", "a kite over the sea at night", "three boats, slow pan"]
RECIPE = {
    "epochs": 1, "max_steps": 10, "global_batch_size": 4, "max_length": 128, "validation": 0, "validate_every": 5,
    "checkpoint_every": 5, "log_every": 1, "loss": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "sft_weight": 0.0,
    "optimizer": {"lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1, "clip": 1.0},
}  # fmt: skip
TRAINER = {
    "accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true", "per_device_batch_size": 4, "packing": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    TinyBackbone(WORDS, 0, 300, 32, 64, 2, 2, 0.09, 512, "tiny").prepare(folder)
    return folder


@pytest.fixture(scope="module")
def renderer(start) -> Renderer:
    return Renderer(load_pretrained(start, torch.float32)[1], read_template("tiny"))


def job(folder: Path, start: Path, task: str = "sft", recipe: dict | None = None, trainer: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    queries = [f"{words} {number}" for number in range(6) for words in WORDS]
    if task == "sft":
        write_rows(folder / "rows.jsonl", [Example(q, q, f"In the film {q} and {q}.") for q in queries])
    else:
        write_rows(
            folder / "rows.jsonl", [Pair(q, q, f"A fine {q}.", f"Some {q}, it is bad.", "text") for q in queries]
        )
    spec = {
        "task": task, "label": task, "seed": 0, "recipe": RECIPE | (recipe or {}), "trainer": TRAINER | (trainer or {}),
        "template": "tiny", "start": str(start), "rows": str(folder / "rows.jsonl"), "out": str(folder),
        "reference": str(folder / "reference.jsonl"),
    }  # fmt: skip
    (folder / "stage.yaml").write_text(yaml.safe_dump(spec))
    return folder / "stage.yaml"


def work(spec: Path, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "vpo.training.worker", str(spec)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL)


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from vpo.training import worker

moment = sys.argv[1]

def then_die(function, right=lambda *arguments: True):
    def wrapped(*arguments):
        function(*arguments)
        if right(*arguments):
            os.kill(os.getpid(), signal.SIGKILL)
    return wrapped

if moment == "the end":
    worker.finish = then_die(worker.finish)
elif moment == "saving":
    import pytorch_lightning as pl
    pl.Trainer.save_checkpoint = then_die(pl.Trainer.save_checkpoint, lambda trainer, path: trainer.global_step == 6)
else:
    Path.replace = then_die(Path.replace, lambda path, target: target.name == "last.ckpt")
sys.exit(worker.main(Path(sys.argv[2])))
"""


def work_until(moment: str, spec: Path) -> int:
    """A worker that kills itself at the worst moments: a checkpoint saved ("saving"), renamed ("renaming"), or "the end"."""
    return subprocess.run([sys.executable, "-c", KILLED_AT, moment, str(spec)], cwd=ROOT, check=False).returncode


def steps(folder: Path, figure: str = "train/loss") -> list[int]:
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().split("\n")[:-1]]
    return [line["step"] for line in lines if figure in line]


def weights(folder: Path) -> bytes:
    return (folder / "policy/model.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


@pytest.mark.slow
def test_five_steps_a_kill_and_five_more_are_bit_identical_to_ten(tmp_path, start):
    """Kills right after the first rename and right after the second save; steps 3, 6 and 9 are validated too."""
    recipe = {"checkpoint_every": 3, "validation": 0.2, "validate_every": 3}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert work(job(whole, start, recipe=recipe)).wait() == 0
    assert steps(whole) == list(range(10))
    assert steps(whole, "val/loss") == [2, 5, 8]
    spec = job(killed, start, recipe=recipe)
    for moment in ("renaming", "saving"):
        assert work_until(moment, spec) == -signal.SIGKILL
        assert not (killed / "policy").exists()
        assert torch.load(killed / "last.ckpt", weights_only=True)["global_step"] == 3
    assert work(spec).wait() == 0
    assert weights(killed) == weights(whole)
    assert (killed / "training.jsonl").read_bytes() == (whole / "training.jsonl").read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.mark.slow
def test_a_kill_after_the_end_does_not_repeat_the_training(tmp_path, start):
    spec = job(tmp_path, start)
    assert work_until("the end", spec) == -signal.SIGKILL
    trained = (tmp_path / "policy/model.safetensors").stat()
    assert (tmp_path / "steps.txt").read_text() == "10\n"
    (tmp_path / "rows.jsonl").unlink()  # who trained again would need it
    assert work(spec).wait() == 0
    assert (tmp_path / "policy/model.safetensors").stat().st_mtime_ns == trained.st_mtime_ns
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.slow
def test_sigterm_saves_and_the_next_start_goes_on(tmp_path, start):
    recipe = {"max_steps": 400, "checkpoint_every": 10_000}
    spec = job(tmp_path / "a", start, recipe=recipe)
    process = work(spec)
    while not (tmp_path / "a/training.jsonl").exists() or len(losses(tmp_path / "a")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    done = torch.load(tmp_path / "a/last.ckpt", weights_only=True)["global_step"]
    assert 3 <= done < 400
    assert steps(tmp_path / "a") == list(range(done))
    assert work(spec).wait() == 0
    assert steps(tmp_path / "a") == list(range(400))


@pytest.mark.slow
def test_two_ranks_save_together_when_one_is_asked(tmp_path, start):
    """On two ranks: one validation row for both, and a SIGTERM that reaches the second alone."""
    recipe = {"max_steps": 400, "checkpoint_every": 10_000, "validation": 0.05}
    trainer = {"devices": 2, "strategy": "ddp", "per_device_batch_size": 2}
    spec = job(tmp_path, start, recipe=recipe, trainer=trainer)
    port = launch._free_port()
    ranks = [launch._start(spec, rank, 2, port) for rank in (0, 1)]
    try:
        while not (tmp_path / "training.jsonl").exists() or len(losses(tmp_path)) < 12:
            assert [rank.poll() for rank in ranks] == [None, None]
            time.sleep(0.01)
        ranks[1].send_signal(signal.SIGTERM)
        assert [rank.wait(timeout=60) for rank in ranks] == [128 + signal.SIGTERM] * 2
    finally:
        launch._end(ranks)
    done = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    assert steps(tmp_path) == list(range(done))
    assert steps(tmp_path, "val/loss") == list(range(4, done, 5))


def test_a_rank_that_does_not_leave_is_killed(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.2)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    deaf = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE)
    deaf.stdout.read(1)
    failed = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    assert launch._wait([failed, deaf]) == [3, -15]
    assert deaf.returncode == -signal.SIGKILL
    done = [subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2)]
    assert launch._wait(done) == [0, 0]


def test_a_resumed_run_forgets_what_it_will_do_again(tmp_path, monkeypatch):
    path = tmp_path / "training.jsonl"
    kept = '{"step": 0, "note": "a\u2028b"}\n{"step": 1}\n'
    path.write_text(kept + '{"step": 2}\n{"step": 3, "tr', encoding="utf-8")
    written = path.read_bytes()
    monkeypatch.setenv("RANK", "1")
    JsonlLogger(path).forget_after(2)
    assert path.read_bytes() == written
    monkeypatch.setenv("RANK", "0")
    JsonlLogger(path).forget_after(2)
    assert path.read_text(encoding="utf-8") == kept
    assert list(tmp_path.iterdir()) == [path]


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


def write_reference(folder: Path, start: Path, renderer: Renderer, shift: float = 0.0) -> None:
    model = load_pretrained(start, torch.float32)[0].eval()
    pairs = [Pair(**json.loads(line)) for line in (folder / "rows.jsonl").read_text().splitlines()]
    rows, _ = pair_rows(pairs, renderer, 128)
    sums = reference_logprobs(Reader.of(model, packing=False, longest=128), rows, renderer.pad_id)
    known = [
        {"query_id": row.query_id, "chosen": c + shift, "rejected": r} for row, (c, r) in zip(rows, sums, strict=True)
    ]
    write_rows(folder / "reference.jsonl", known)


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


def test_plan_is_epochs_of_permutations_counted_in_rows():
    steps = plan_steps(10, epochs=2.5, global_batch_size=4, seed=3)
    assert [len(step) for step in steps] == [4, 4, 4, 4, 4, 4, 1]  # 25 rows
    stream = [row for step in steps for row in step]
    assert sorted(stream[:10]) == sorted(stream[10:20]) == list(range(10))
    assert stream[:10] != stream[10:20]
    assert steps == plan_steps(10, epochs=2.5, global_batch_size=4, seed=3)
    assert steps != plan_steps(10, epochs=2.5, global_batch_size=4, seed=4)


def test_ranks_share_a_step_without_losing_or_repeating_a_row():
    shares = [share_of_rank([7, 8, 9, 5, 6], rank=rank, world=2, per_device=2, accumulate=2) for rank in (0, 1)]
    assert [[len(micro) for micro in share] for share in shares] == [[2, 2], [2, 2]]
    real = sorted(row for share in shares for micro in share for row, is_real in micro if is_real)
    assert real == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_ranks_validate_equally_many_batches_and_every_row_once(count):
    rows = [Row(str(number), (1,), ((number + 2, 9),)) for number in range(count)]
    shares = {world: [validation_of(rows, rank, world) for rank in range(world)] for world in (1, 3)}
    for share in shares.values():
        assert len({len(batches) for batches in share}) == 1
        assert bool(share[0]) == bool(count)
        real = [
            ids[1] for batches in share for batch in batches
            for ids, weight in zip(batch.sequences.input_ids.tolist(), batch.weight, strict=True) if weight
        ]  # fmt: skip
        assert sorted(real) == list(range(2, count + 2))
    assert sum(len(batch.weight) for batch in shares[1][0]) == count  # alone, nothing is filled up


def validation_of(rows: list[Row], rank: int, world: int) -> list[Batch]:
    data = PlannedDataModule(
        [Row("a", (1,), ((2,),))], rows, pad_id=0, packing=False, pad_to=1, by="rows", epochs=1, global_batch_size=6,
        per_device=2, rank=rank, world=world, seed=0,
    )  # fmt: skip
    return list(data.val_dataloader())


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(
        UserError, match=r"global_batch_size=6 is not per_device_batch_size=4 x accumulation x devices=1"
    ):
        PlannedDataModule(
            [Row("a", (1,), ((2,),))], [], pad_id=0, packing=False, pad_to=1, by="rows", epochs=1, global_batch_size=6,
            per_device=4, rank=0, world=1, seed=0,
        )  # fmt: skip


def test_unusable_rows_are_left_out_and_counted(renderer):
    examples = [Example("a", "a dog", "A dog."), Example("b", "a dog", " "), Example("c", "a dog", "dog " * 200)]
    rows, left_out = sft_rows(examples, renderer, max_length=64)
    assert ([row.query_id for row in rows], left_out) == (["a"], 2)
    rows, left_out = pair_rows(
        [Pair("a", "q", "same", "same ", "text"), Pair("b", "q", "x", "y", "text")], renderer, 64
    )
    assert ([row.query_id for row in rows], left_out) == (["b"], 1)


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


def test_vpos_template_is_byte_exact():
    """sha256 from facts: the released VPO-2B and VPO-5B were trained with exactly this text."""
    assert template_hash("optimizer") == "d8f31468644532ef4ffda2bbd0e0ddd2a7cc27a5fd56d441ea17bc384fe6d24f"
    assert len(read_template("optimizer")) == 819


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(start, renderer):
    model = HFLanguageModel(load_pretrained(start, torch.float32)[0].eval(), renderer)
    options = {"temperature": 0.9, "top_p": 0.9, "max_new_tokens": 12}
    together = model.sample(WORDS, [1, 2, 3, 4], **options)
    alone = [model.sample([query], [seed], **options)[0] for query, seed in zip(WORDS, [1, 2, 3, 4], strict=True)]
    assert together == alone
    assert model.sample(WORDS, [5, 6, 7, 8], **options) != together


def test_gumbel_noise_draws_from_the_softmax():
    """Frequencies of 20,000 draws against softmax(logits / T), within four standard errors."""
    logits, count = torch.tensor([[1.0, 0.0, -1.0, 2.0]]), 20_000
    noise = GumbelNoise(range(count), temperature=0.5, top_p=1.0, device=torch.device("cpu"))
    drawn = noise(None, logits.expand(count, -1)).argmax(-1)
    frequency = torch.bincount(drawn, minlength=4) / count
    expected = (logits[0] / 0.5).softmax(-1)
    assert torch.all((frequency - expected).abs() < 4 * (expected * (1 - expected) / count).sqrt())


def test_nucleus_keeps_the_smallest_set_that_holds_top_p():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    noise = GumbelNoise([0], temperature=1.0, top_p=0.8, device=torch.device("cpu"))
    assert torch.isinf(noise(None, logits)).tolist() == [[False, False, True, True]]  # 0.5 + 0.3 >= 0.8


def test_packed_and_padded_batches_read_the_same(start, renderer):
    model = load_pretrained(start, torch.float32)[0].eval()
    rows, _ = pair_rows([Pair(q, q, f"A fine {q}", f"A bad {q} it is", "text") for q in WORDS], renderer, 128)
    packed = Reader.of(model, packing=True, longest=128)
    sums = [packed.logprobs(arrange(rows, packing=one, pad_id=renderer.pad_id)).sums for one in (True, False)]
    assert torch.allclose(*sums, rtol=1e-5)
