"""A pipeline on a hub: which files are fetched, when, and at which commit. A real local server stands in for the hub."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.generator.tiny import node_of
from tests.hub_server import OWNER, Repository, running_hub

PROGRAM = """
import json, pathlib, sys
from vpo.build import build
generator = build(json.loads(sys.argv[1]))
said = generator.describe()
files = lambda: sorted({one.relative_to(root).as_posix() for one in root.rglob("*") if not one.is_dir()})
root = next(pathlib.Path(sys.argv[2]).glob("hub/models--*/snapshots/*"))
first = files()
generator.pipeline()
print(json.dumps([said["revision"], first, files()]))
"""


def ask(address, home, node):
    environment = {
        **os.environ,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(node), str(home)], env=environment, capture_output=True, text=True, timeout=300
    )  # fmt: skip


@pytest.mark.slow
def test_only_the_components_of_one_variant_are_fetched_and_weights_last(tiny, tmp_path):
    folder = tiny("cogvideox")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    others = (
        "cogvideox.safetensors", "transformer/diffusion_pytorch_model.fp16.safetensors", "transformer/weights.bin", "README.md",
        "upscaler/diffusion_pytorch_model.safetensors",
    )  # fmt: skip
    with running_hub() as hub:
        hub.repositories[f"{OWNER}/film"] = Repository(
            False, [{**files, **dict.fromkeys(others, b"not to be fetched")}]
        )
        (commit,) = hub.repositories[f"{OWNER}/film"].names()
        done = ask(hub.address, tmp_path / "home", node_of("cogvideox_2b", f"{OWNER}/film", f"revision={commit}"))
        assert done.returncode == 0, done.stderr
        revision, first, all_files = json.loads(done.stdout.splitlines()[-1])
        assert revision == commit
        assert first == sorted(one for one in files if one.endswith(".json"))
        assert all_files == sorted(files)
        wrong = ask(hub.address, tmp_path / "other", node_of("cogvideox_2b", f"{OWNER}/films"))
        assert f"generator.path={OWNER}/films: no such folder, and the hub has no such model" in wrong.stderr
