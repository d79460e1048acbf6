"""What a failed download or an editor leaves in the place of a model's files is recognised, and named in one line."""

import os
import shutil

import pytest
import torch

from tests.chat_models import edit_json, llama3_tokenizer, save_llama
from tests.language.folders import LFS_POINTER, prepare
from tests.training_jobs import job, train_here
from vpo.errors import UserError
from vpo.language.checkpoints.files import share
from vpo.language.checkpoints.loading import load_pretrained


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_llama(tmp_path_factory.mktemp("whole") / "model", llama3_tokenizer())


@pytest.fixture
def model(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


JSON = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
FAULTS = {
    "pointer": (LFS_POINTER.encode(), "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    "empty": (b"", "is empty; copy it again"),
    "blank": (b" \n", "is empty; copy it again"),
    "page": (b"<!DOCTYPE html><html><title>404</title></html>", "is a web page, not the file itself"),
}  # fmt: skip
JSON_FAULTS = FAULTS | {
    "mark": (b'\xef\xbb\xbf{"a": 1}', "begins with a byte order mark; save it as UTF-8 without one"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "is not UTF-8"),
    "comma": (b'{"a": 1,\n "b": 2,}', r"is not valid JSON \(.*line 2 column .*\); fix it there"),
    "cut": (b'{"a": [1, 2', r"is not valid JSON \(.*line 1 column 12"),
    "list": (b"[1, 2]", r"holds a list, not an object"),
}


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("fault", JSON_FAULTS)
def test_every_json_file_of_a_model_is_read_before_it_is_relied_on(model, name, fault):
    content, message = JSON_FAULTS[fault]
    (model / name).write_bytes(content)
    with pytest.raises(UserError, match=f"backbone.model={model}: {name} {message}") as found:
        prepare(model)
    assert "\n" not in str(found.value)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_in_the_header(path):
    path.write_bytes(path.read_bytes()[:100])


WEIGHT_FAULTS = {
    **{name: (lambda path, content=content: path.write_bytes(content), message) for name, (content, message) in FAULTS.items()},
    "half": (cut, r"is cut off, \d+ of \d+ bytes; copy it again"),
    "header": (cut_in_the_header, "is no safetensors file, or damaged"),
    "pickle": (lambda path: torch.save({}, path), "is no safetensors file, or damaged"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WEIGHT_FAULTS)
def test_damaged_weights_are_one_line_at_the_start_and_in_the_training_child(model, tmp_path, fault):
    spoil, message = WEIGHT_FAULTS[fault]
    start = prepare(model)
    spoil(model / "model.safetensors")  # after the check
    assert train_here(job(tmp_path / "sft", start)) == 2
    told = (tmp_path / "sft/error.txt").read_text()
    with pytest.raises(UserError, match=f"backbone.model={model}: model.safetensors {message}") as found:
        prepare(model)
    assert told == str(found.value)
    with pytest.raises(UserError, match=message):
        load_pretrained(model, torch.float32)


def test_a_shard_that_is_a_pointer_is_named(model):
    model_, tokenizer = load_pretrained(model, torch.float32)
    model_.save_pretrained(model.with_name("shards"), max_shard_size="60KB")
    tokenizer.save_pretrained(model.with_name("shards"))
    prepare(model.with_name("shards"))
    last = sorted(model.with_name("shards").glob("model-*.safetensors"))[-1]
    last.write_text(LFS_POINTER)
    with pytest.raises(UserError, match=f"{last.name} is a Git LFS pointer"):
        prepare(model.with_name("shards"))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_to_nothing_is_named(model, name):
    """What is left of a hub's snapshot that was copied without its blobs."""
    (model / name).unlink()
    (model / name).symlink_to("../../blobs/4d7a")
    with pytest.raises(
        UserError, match=rf"{name} is a link to ../../blobs/4d7a, which is not there; copy the files them"
    ):
        prepare(model)


def test_an_index_without_a_map_is_one_line(model):
    (model / "model.safetensors.index.json").write_text('{"metadata": {}}')
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json has no weight_map"):
        prepare(model)


def test_weights_under_another_name_are_named(model):
    (model / "model.safetensors").rename(model / "weights.safetensors")
    with pytest.raises(UserError, match=r"no model\.safetensors and no .*index\.json, only weights\.safetensors"):
        prepare(model)


def test_a_generation_config_that_cannot_be_is_one_line(model):
    edit_json(model / "generation_config.json", max_new_tokens=-5)
    with pytest.raises(
        UserError, match=r"generation_config.json says what cannot be \(.*max_new_tokens.*\); fix it, or delete it"
    ):
        prepare(model)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes for groups")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_are_as_readable_as_their_folder(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        (tmp_path / "made").mkdir()
    finally:
        os.umask(before)
    (tmp_path / "made/weights").write_text("1")
    (tmp_path / "made/weights").chmod(0o600)
    share(tmp_path / "made")
    assert (tmp_path / "made/weights").stat().st_mode & 0o777 == mode
