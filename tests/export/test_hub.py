"""Push and pull by `huggingface_hub`'s own client, over HTTP, against a small Hub on this machine."""

import json

import pytest
import torch
from transformers import AutoTokenizer

from tests.chat_models import chatml_tokenizer, save_llama
from tests.conftest import run_vpo
from tests.export.test_weights import add_adapter
from tests.hub_server import OWNER, TOKEN, Repository, running_hub
from tests.trained import make_policy
from vpo.backbone.hf import HFBackbone
from vpo.export.inside import put_instruction_inside
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.loading import load_pretrained, load_tokenizer
from vpo.templates import read_template

REPO = f"{OWNER}/optimizer"


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


@pytest.fixture
def model(tmp_path):
    """A folder as `vpo export` leaves it, with things in it that are not to be published."""
    folder = tmp_path / "model"
    make_policy(folder, seed=1)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model\n")
    (folder / "optimizer.pt").write_bytes(b"state")
    (folder / ".env").write_text("HF_TOKEN=hf_other")
    (folder / "notes").mkdir()
    (folder / "notes/mine.json").write_text("{}")
    return folder


def vpo(hub, cwd, *arguments, token=TOKEN, **environment):
    """The command line of someone whose Hub this is."""
    home = {
        "HF_HOME": str(cwd / "hf-home"),
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    done = run_vpo(*arguments, cwd=cwd, **{**home, "HF_TOKEN": token, **environment})
    assert TOKEN not in done.stdout + done.stderr
    return done


def only_line(done):
    """The one line of a refusal."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vpo: ")]
    return line


def published(hub, repo=REPO):
    return {name: content for name, content in hub.repositories[repo].commits[-1].items() if name != ".gitattributes"}


@pytest.mark.parametrize("transfer", ["lfs", "regular"])
def test_a_model_goes_up_private_and_comes_down_the_same(tmp_path, model, transfer):
    with running_hub(lfs=transfer == "lfs") as hub:
        disable_xet = "1" if transfer == "lfs" else "0"
        up = vpo(hub, tmp_path, "push", "model", REPO, HF_HUB_DISABLE_XET=disable_xet)
        assert up.returncode == 0, up.stderr
        assert hub.repositories[REPO].private
        assert f"{hub.address}/{REPO}" in up.stdout
        assert "private" in up.stdout
        due = "README.md config.json generation_config.json model.safetensors template.txt tokenizer.json tokenizer_config.json"
        assert published(hub) == {name: (model / name).read_bytes() for name in due.split()}
        assert len(hub.objects) == (transfer == "lfs")
        down = vpo(hub, tmp_path, "pull", REPO, HF_HUB_DISABLE_XET=disable_xet)
        assert down.returncode == 0, down.stderr
    pulled = tmp_path / "models" / REPO
    assert {path.name: path.read_bytes() for path in pulled.iterdir()} == published(hub)
    assert f"backbone=hf backbone.model=models/{REPO} backbone.template=tiny" in down.stdout
    (mine, _), (theirs, _) = load_pretrained(model, torch.float32), load_pretrained(pulled, torch.float32)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("kind", ["merged", "adapter"])
def test_a_model_with_the_instruction_inside_comes_down_as_it_went_up(tmp_path, hub, kind):
    """Whole, or as an adapter alone; a client's ids are the same there, and ours."""
    template, model = read_template("optimizer"), tmp_path / "model"
    save_llama(model, chatml_tokenizer())
    if kind == "adapter":
        model.rename(tmp_path / "base")
        add_adapter(model, tmp_path / "base", seed=1)
        chatml_tokenizer().save_pretrained(model)
    (model / "template.txt").write_bytes(template.encode())
    put_instruction_inside(model)
    done = vpo(hub, tmp_path, "push", "model", REPO)
    assert done.returncode == 0, done.stderr
    done = vpo(hub, tmp_path, "pull", REPO, "to=mine")
    assert done.returncode == 0, done.stderr
    assert "backbone.template=optimizer" in done.stdout
    renderer, query = Renderer(chatml_tokenizer(), template), "a {dog}"
    turn = [{"role": "user", "content": query}]
    client = AutoTokenizer.from_pretrained(tmp_path / "mine")
    ids = client.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
    assert ids == renderer.prompt_ids(query)
    assert Renderer(load_tokenizer(tmp_path / "mine"), template).prompt_ids(query) == ids
    (tmp_path / "start").mkdir()
    HFBackbone(str(tmp_path / "mine"), None, "optimizer", True, "float32", "cpu").prepare(tmp_path / "start")
    assert Renderer(load_tokenizer(tmp_path / "start"), template).prompt_ids(query) == ids


def test_public_is_only_what_was_asked_for(tmp_path, hub, model):
    assert vpo(hub, tmp_path, "push", "model", REPO, "public=true").returncode == 0
    assert not hub.repositories[REPO].private
    before = len(hub.repositories[REPO].commits)
    line = only_line(vpo(hub, tmp_path, "push", "model", REPO))
    assert f"{REPO} is there already and is public; add public=true if that is meant" in line
    assert len(hub.repositories[REPO].commits) == before


def test_weights_of_an_earlier_push_do_not_stay_beside_the_new_ones(tmp_path, hub, model):
    """`model.safetensors` wins over shards, so a stale one would be loaded in their place."""
    hub.repositories[REPO] = Repository(private=True)
    hub.repositories[REPO].commits.append({"model.safetensors": b"old", "LICENSE": b"mine"})
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    assert vpo(hub, tmp_path, "push", "model", REPO).returncode == 0
    assert "model.safetensors" not in published(hub)
    assert {"model-00001-of-00001.safetensors", "LICENSE"} <= set(published(hub))


def test_pull_takes_no_file_that_can_hold_code(tmp_path, hub, model):
    hub.repositories[REPO] = Repository(private=False)
    mine = {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors", "template.txt")}
    odd = {
        "pytorch_model.bin": b"pickle",
        "modeling.py": b"import os",
        "sub/config.json": b"{}",
        "training_args.bin": b"",
    }
    hub.repositories[REPO].commits.append(mine | odd)
    done = vpo(hub, tmp_path, "pull", REPO, "to=mine", token="")  # public: nobody needs to be logged in
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == mine


def test_a_revision_is_pinned(tmp_path, hub, model):
    hub.repositories[REPO] = Repository(private=False)
    for text in (b"one {}", b"two {}"):
        files = {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors")}
        hub.repositories[REPO].commits.append({**files, "template.txt": text})
    first = hub.repositories[REPO].names()[1]
    done = vpo(hub, tmp_path, "pull", REPO, f"revision={first}", "to=mine")
    assert first in done.stdout
    assert (tmp_path / "mine/template.txt").read_bytes() == b"one {}"
    assert "backbone.template" not in done.stdout  # a template of its own
    assert "mine is there already" in only_line(vpo(hub, tmp_path, "pull", REPO, "to=mine"))
    assert vpo(hub, tmp_path, "pull", REPO, "to=mine", "force=true").returncode == 0
    assert (tmp_path / "mine/template.txt").read_bytes() == b"two {}"


def test_a_broken_download_is_gone_on_with(tmp_path, hub, model):
    hub.repositories[REPO] = Repository(private=False)
    hub.repositories[REPO].commits.append(
        {name: (model / name).read_bytes() for name in ("config.json", "model.safetensors")}
    )
    hub.fail_on = "model.safetensors"
    assert "the Hub answered 507; start again later" in only_line(vpo(hub, tmp_path, "pull", REPO, "to=mine"))
    assert not (tmp_path / "mine").exists()
    hub.fail_on, hub.requests[:] = "", []
    assert vpo(hub, tmp_path, "pull", REPO, "to=mine").returncode == 0
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"config.json", "model.safetensors"}
    assert not any(one.startswith("GET") and one.endswith("resolve/config.json") for one in hub.requests)


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["push", "model", REPO], {"token": ""}, "push: not logged in to the Hub; `hf auth login` once, or set HF_TOKEN"),
        (["push", "model", REPO], {"token": "hf_wrong"}, "the Hub does not know your token (401)"),
        (["push", "model", "other/x"], {}, "your token may not do this there (403)"),
        (["push", "model", "a/b/c"], {}, "'a/b/c' is no name of a repository; write <owner>/<name>"),
        (["push", "model"], {}, "push: the following arguments are required: <owner>/<name>; use `vpo push <folder> <owner>/<name>"),
        (["push", "model", REPO, "private=false"], {}, "private is unknown"),
        (["push", "model/notes", REPO], {}, "model/notes holds no model (config.json and *.safetensors)"),
        (["push", "model", REPO], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids the network"),
        (["push", "model", REPO], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9 (ConnectError)"),
        (["pull", REPO], {}, f"no repository {REPO} that you can see"),
        (["pull", f"{OWNER}/hidden"], {"token": ""}, f"no repository {OWNER}/hidden that you can see"),
        (["pull", f"{OWNER}/hidden", "revision=v9"], {}, f"{OWNER}/hidden has no revision v9"),
        (["pull", f"{OWNER}/hidden"], {}, f"{OWNER}/hidden holds no model as safetensors with a config.json"),
        (["pull", REPO], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach http://127.0.0.1:9 (ConnectError)"),
        (["pull", "../../etc"], {}, "is no name of a repository"),
    ],
)  # fmt: skip
def test_refusals_are_one_line_with_the_cure(tmp_path, hub, model, arguments, settings, message):
    hub.repositories[f"{OWNER}/hidden"] = Repository(private=True)
    hub.repositories[f"{OWNER}/hidden"].commits.append({"pytorch_model.bin": b"", "config.json": b"{}"})
    assert message in only_line(vpo(hub, tmp_path, *arguments, **settings))
    assert list(hub.repositories) == [f"{OWNER}/hidden"]
    assert not (tmp_path / "models").exists()


def test_a_login_by_file_is_used_as_the_variable_is(tmp_path, hub, model):
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home/token").write_text(TOKEN)
    assert vpo(hub, tmp_path, "push", "model", REPO, token="").returncode == 0
    assert json.loads(published(hub)["config.json"])["model_type"] == "llama"
