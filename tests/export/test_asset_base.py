"""An adapter that was trained on an asset of this machine, exported for those who have no assets."""

import json
import shutil

import pytest
from peft import PeftConfig

from tests.assets.wheels import entry, make_wheel, write_manifest
from tests.chat_models import chatml_tokenizer
from tests.export.test_inside import with_adapter
from tests.trained import entry_of, run_of
from vpo.assets.folder import Record
from vpo.assets.manifest import read_manifest
from vpo.cli.export import export_command
from vpo.errors import UserError
from vpo.language.checkpoints.intake import fetch_and_check
from vpo.language.checkpoints.merging import Base, read_base


@pytest.fixture
def asset_base(home, monkeypatch):
    """The adapter's base as an asset of this machine, with an entry in a manifest."""

    def made(**fields):
        with_adapter(home, chatml_tokenizer())
        wheel = make_wheel(home, "tiny_model", {"tiny_model/model": b"x"})
        manifest = write_manifest(home / "manifest.yaml", tiny=entry(wheel, "tiny_model/model", **fields))
        monkeypatch.setattr("vpo.assets.manifest.MANIFEST", manifest)
        monkeypatch.setenv("VPO_ASSETS", str(home / "assets"))
        shutil.copytree(home / "base", home / "assets/tiny")
        origin = read_manifest()["tiny"].origin
        Record("tiny", origin.wheel, origin.sha256, {}, {}).write(home / "assets/tiny")
        return origin.sha256

    return made


@pytest.mark.parametrize("through", ["adapter_config", "start"])
def test_a_base_that_is_an_asset_is_named_as_the_hub_knows_it(home, asset_base, through):
    """So that PEFT finds it on a machine that knows no assets; which weights it was trained on stands on the card."""
    sha256 = asset_base(hub={"id": "someone/tiny", "revision": "1" * 40}, about="tiny, de-quantised from 4 bits")
    folder, start = entry_of(home, "dpo").folder / "policy", entry_of(home, "start").folder / "policy"
    if through == "start":  # as a run leaves it
        shutil.rmtree(start)
        start.mkdir()
        (start / "start.json").write_text(json.dumps({"model": "asset:tiny", "revision": sha256}))
        (folder / "base.json").write_text(json.dumps({"folder": str(start), "bits": None}))
    else:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "asset:tiny"}))
    export_command([run_of(home), "weights=adapter", "to=made"])
    config = PeftConfig.from_pretrained(home / "made")
    assert (config.base_model_name_or_path, config.revision) == ("someone/tiny", "1" * 40)
    card = " ".join((home / "made/README.md").read_text().split())
    assert json.loads((home / "made/base.json").read_text()) == {"asset": "tiny", "sha256": sha256}
    assert "it needs its base, someone/tiny at 1111" in card
    assert "trained on asset:tiny of vpo (tiny, de-quantised from 4 bits)" in card


def test_here_the_exported_adapter_finds_the_asset_and_elsewhere_the_hub(home, asset_base, monkeypatch):
    sha256 = asset_base(hub={"id": "someone/tiny", "revision": "1" * 40})
    path = entry_of(home, "dpo").folder / "policy/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "asset:tiny"}))
    export_command([run_of(home), "weights=adapter", "to=made"])
    assert read_base("made") == Base("asset:tiny", sha256)
    pointer = fetch_and_check("made", None, "{}", needs_chat_template=False)
    assert pointer["base"] == {"model": "asset:tiny", "revision": sha256}
    monkeypatch.setenv("VPO_ASSETS", str(home / "none"))
    assert read_base("made") == Base("someone/tiny", "1" * 40)
    with pytest.raises(UserError, match=r"its base=someone/tiny: no such folder.*the hub cannot be reached"):
        fetch_and_check("made", None, "{}", needs_chat_template=False)


def test_an_adapter_on_an_asset_that_the_hub_does_not_have_is_refused(home, asset_base):
    asset_base()
    path = entry_of(home, "dpo").folder / "policy/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "asset:tiny"}))
    with pytest.raises(UserError, match="stands on asset:tiny, of which no place on the hub is known; export it with"):
        export_command([run_of(home), "weights=adapter", "to=made"])
