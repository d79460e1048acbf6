"""A run with a finished training, made in a second: real weights, a real store, results written by hand."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from vpo.backbone.tiny import TinyBackbone
from vpo.evaluator.alignment import Alignment
from vpo.evaluator.reward import RewardScore
from vpo.storage.store import Entry, Store
from vpo.templates import read_template

CORPUS = ["a dog runs on a beach at sunset", "a red ball rolls over grass", "Query: a cat", "Prompt: a slow pan"]
SHAPE = {"vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "layers": 2, "heads": 2}
BACKBONE = {"_target_": "vpo.backbone.tiny.TinyBackbone", "template": "tiny", **SHAPE}
RECIPE = {"epochs": 3, "optimizer": {"lr": 5.0e-5}}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARDS = {"alignment": Alignment.card.to_json(), "reward": RewardScore.card.to_json()}
RESULTS = {
    "original": {"aligned": {"mean": 0.91, "n": 200, "n_failed": 0, "ci95": 0.0397}},
    "sft": {"aligned": {"mean": 0.655, "n": 200, "n_failed": 0, "ci95": 0.066}},
    "dpo": {
        "aligned": {"mean": 0.68, "n": 198, "n_failed": 2, "ci95": 0.065},
        "reward": {"mean": 5.194, "n": 200, "n_failed": 0, "ci95": 0.17},
    },
}


def make_policy(folder: Path, seed: int, **shape: int) -> None:
    """Random weights, tokenizer and template, as a training leaves them."""
    folder.mkdir(parents=True)
    settings = {**SHAPE, **shape, "initializer_range": 0.2, "max_positions": 256, "template": "tiny"}
    TinyBackbone(CORPUS, seed, **settings).prepare(folder)
    (folder / "template.txt").write_bytes(read_template("tiny").encode())


def make_run(home: Path, *, base: str | None = None, overrides: tuple[str, ...] = (), dataset: str = "sketch") -> Path:
    """`home/store` and a finished run in `home/runs/default/seed=1-1234abcd`; returns the run's folder.

    Args:
        base: the hub id of the model that training started from; None for the tiny one.
        overrides: what the run was started with.
        dataset: "sketch" or "file".
    """
    store = Store(home / "store")
    backbone = {"_target_": "vpo.backbone.hf.HFBackbone", "model": base, "revision": None} if base else BACKBONE
    targets = {"sketch": "vpo.sketch.dataset.SketchDataset", "file": "vpo.dataset.file.FileDataset"}
    data = {"_target_": targets[dataset], "path": "/home/someone/queries.json"}
    start = store.get("start", {"backbone": backbone}, {}, policy(0, base=base))
    queries = store.get("queries", {"dataset": data}, {}, lines("sft.jsonl", 3))
    sft = store.get("sft", {"recipe": RECIPE, "seed": 1}, {"start": start, "drafts": queries}, policy(1, "sft"))
    pairs = store.get("pair", {"feedback": {"text": True}, "seed": 1}, {"candidates": queries}, lines("pairs.jsonl", 2))
    node = {"objective": {"beta": 0.1, **RECIPE}, "seed": 1}
    dpo = store.get("dpo", node, {"start": sft, "pairs": pairs}, policy(2, "dpo"))
    run = home / "runs/default/seed=1-1234abcd"
    run.mkdir(parents=True)
    sampling = {"temperature": 0.0, "top_p": 1.0, "max_new_tokens": 6}
    config = {
        "paths": {"store": str(store.root)},
        "dataset": data,
        "method": {"original": {}, "sft": {"policy": "sft", **sampling}, "dpo": {"policy": "dpo", **sampling}},
    }
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    facts = facts_by_hand({"start": start, "sft": sft, "dpo": dpo}, queries)
    facts |= {"overrides": ["seed=1", *overrides], "store": str(store.root), "entries": sorted(store.used)}
    facts["base"] = {"target": backbone["_target_"], "model": base, "revision": COMMIT if base else None}
    facts["roles"]["dataset"]["target"] = data["_target_"]
    (run / "entries.json").write_text(json.dumps(sorted(store.used)))
    (run / "results.json").write_text(
        json.dumps({"schema": 1, "methods": RESULTS, "evaluators": CARDS, "run": facts}), encoding="utf-8"
    )
    return run


def facts_by_hand(policies: dict[str, Entry], queries: Entry) -> dict[str, Any]:
    """What "run" in results.json says of a run with the rows of RESULTS, as far as it can be said without running it."""
    names = {name: f"{entry.stage}/{entry.key}" for name, entry in policies.items()}
    made = {"prompts": "optimize/0123456789abcdef", "clips": None, "evaluations": {}}
    code = "fedcba9876543210"
    return {
        "seed": 1, "experiment": "default", "world": {"backbone": "tiny"}, "overrides": [], "started": "2026-01-01T00:00:00Z",
        "seconds": 3.5, "store": "store", "entries": [], "versions": {"vpo": "0.1.0", "torch": "2.13.0"},
        "code": {"commit": COMMIT, "dirty": False, "sha256": "5" * 64},
        "device": {
            "accelerator": "cpu", "devices": 1, "platform": "Linux", "cpu": "a processor", "cores": 2, "threads": 1, "gpus": [],
        },
        "data": {
            "entry": f"queries/{queries.key}", "seed": 0, "fingerprint": None,
            "splits": {"sft": {"rows": 3, "sha256": "a" * 64}, "test": {"rows": 200, "sha256": "b" * 64}},
        },
        "roles": {
            "dataset": {"target": "vpo.sketch.dataset.SketchDataset", "version": None, "code": code},
            "judge": {"target": "vpo.judge.rules.judge.RulesJudge", "version": "rules 7", "code": code},
        },
        "evaluators": {"alignment": {"target": "vpo.evaluator.alignment.Alignment", "version": "3", "code": code}},
        "base": None,
        "policies": {
            "start": {"entry": names["start"], "training": [], "taught_by": []},
            "sft": {"entry": names["sft"], "training": [names["sft"]], "taught_by": ["judge"]},
            "dpo": {"entry": names["dpo"], "training": [names["sft"], names["dpo"]], "taught_by": ["judge"]},
        },
        "policy": "dpo",
        "rows": {
            "original": {"policy": None, "entry": None, **made},
            "sft": {"policy": "sft", "entry": names["sft"], **made},
            "dpo": {"policy": "dpo", "entry": names["dpo"], **made},
        },
        "stages": [], "failed": {},
    }  # fmt: skip


def policy(seed: int, label: str | None = None, base: str | None = None):
    """The work of a training stage."""

    def work(folder: Path) -> dict[str, int]:
        make_policy(folder / "policy", seed)
        if label is None:  # the start: nothing was trained
            (folder / "policy" / "template.txt").unlink()
            if base:
                (folder / "policy" / "start.json").write_text(json.dumps({"model": base, "revision": COMMIT}))
        else:
            (folder / "stage.yaml").write_text(yaml.safe_dump({"label": label, "out": str(folder)}))
            (folder / "rows.jsonl").write_text('{"query": "a dog"}\n')
        return {"steps": 7}

    return work


def lines(name: str, count: int):
    """The work of a stage that writes one file of rows."""

    def work(folder: Path) -> dict[str, int]:
        (folder / name).write_text('{"id": "x"}\n' * count)
        return {"rows": count}

    return work


def entry_of(home: Path, stage: str) -> Entry:
    """The store's only result of a stage."""
    (manifest,) = (home / "store" / stage).glob("*/manifest.json")
    return Entry(stage, manifest.parent.name, manifest.parent)


def run_of(home: Path) -> str:
    """The run's folder, as a user in `home` names it."""
    return str((home / "runs/default/seed=1-1234abcd").relative_to(home))


def logits(model: Any) -> torch.Tensor:
    """What a policy of this shape says of two sequences of ten tokens."""
    with torch.inference_mode():
        return model.eval()(torch.arange(3, 23).reshape(2, 10)).logits
