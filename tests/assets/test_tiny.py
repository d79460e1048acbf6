"""`vpo assets get tiny`: small random models, made here once and whole."""

import json
import sys

import pytest

from vpo.assets import making, tiny
from vpo.assets.folder import find_asset, version_of
from vpo.cli.entry import main
from vpo.errors import UserError

MODULE = """
import json
CALLS = []
def note(folder):
    CALLS.append("note")
    (folder / "config.json").write_text(json.dumps({"calls": len(CALLS)}))
def broken(folder):
    (folder / "config.json").write_text("{}")
    raise RuntimeError("half way")
MODELS = {"note": note}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A further module of tiny models, called `extra`, in place of ours, and an empty folder of assets."""
    place = tmp_path / "modules"
    place.mkdir()
    (place / "extra.py").write_text(MODULE)
    (place / "helpers.py").write_text("WORDS = ['a']\n")  # a module without models
    monkeypatch.setattr(tiny, "__path__", [str(place)])
    monkeypatch.setenv("VPO_ASSETS", str(tmp_path / "assets"))
    yield tmp_path
    for name in ("extra", "helpers"):
        sys.modules.pop(f"vpo.assets.tiny.{name}", None)
        if hasattr(tiny, name):
            delattr(tiny, name)


def calls(world):
    return json.loads((world / "assets/tiny/note/config.json").read_text())["calls"]


def test_models_are_made_once_and_anew_where_their_code_changed(world, capsys):
    assert main(["assets", "get", "tiny"]) == 0
    assert capsys.readouterr().out == f"{world / 'assets/tiny/note'}\n"
    assert main(["assets", "get", "tiny"]) == 0
    assert "tiny/note: is there" in capsys.readouterr().err
    assert calls(world) == 1
    assert main(["assets", "get", "tiny/note", "force=true"]) == 0
    assert calls(world) == 2
    with (world / "modules/helpers.py").open("a") as file:
        file.write("WORDS += ['b']\n")
    assert main(["assets", "get", "tiny"]) == 0
    assert calls(world) == 3
    assert sorted(path.name for path in (world / "assets/tiny").iterdir()) == ["note", "note.lock"]


def test_a_model_is_found_by_its_name_and_known_by_its_content(world):
    with pytest.raises(UserError, match=r"this tiny model is not in .*; make them with `vpo assets get tiny`"):
        find_asset("asset:tiny/note", None, "generator.path")
    assert version_of("asset:tiny/note") is None
    making.make_tiny(world / "assets", print)
    folder, sha256 = find_asset("asset:tiny/note", None, "generator.path")
    assert folder == world / "assets/tiny/note"
    assert sha256 == version_of("asset:tiny/note")
    making.make_tiny(world / "assets", print, force=True)
    assert version_of("asset:tiny/note") != sha256
    with pytest.raises(UserError, match="there is no such asset"):
        find_asset("asset:tiny/../note", None, "generator.path")


def test_ls_and_verify_know_them(world, capsys):
    assert main(["assets", "ls"]) == 0
    assert "tiny  not here; `vpo assets get tiny` makes them" in capsys.readouterr().out
    assert main(["assets", "verify"]) == 0
    making.make_tiny(world / "assets", print)
    assert main(["assets", "ls"]) == 0
    assert "tiny  1 here" in capsys.readouterr().out
    assert main(["assets", "verify"]) == 0
    assert "tiny/note: all 1 files have the right sha256" in capsys.readouterr().out
    assert main(["assets", "verify", "tiny"]) == 0
    (world / "assets/tiny/note/config.json").write_text("{}")
    assert main(["assets", "verify", "tiny/note"]) == 2
    assert "tiny/note: config.json has changed" in capsys.readouterr().err


def test_one_that_cannot_be_made_leaves_nothing_behind(world):
    source = world / "modules/extra.py"
    source.write_text(MODULE.replace('{"note": note}', '{"note": broken}'))
    with pytest.raises(RuntimeError, match="half way"):
        making.make_tiny(world / "assets", print)
    assert not (world / "assets/tiny/note").exists()
    source.write_text(MODULE.replace('{"note": note}', '{"note": lambda folder: __import__("nowhere")}'))
    sys.modules.pop("vpo.assets.tiny.extra")
    with pytest.raises(
        UserError, match="assets: tiny/note: a package is missing that it needs: No module named 'nowhere'"
    ):
        making.make_tiny(world / "assets", print)


def test_an_unknown_name_and_a_wheel_are_refused(world, capsys):
    assert main(["assets", "get", "tiny/nots"]) == 2
    assert "there is no tiny model nots; did you mean tiny/note?" in capsys.readouterr().err
    assert main(["assets", "get", "tiny", f"from={world}"]) == 2
    assert "it is made here, from no wheel" in capsys.readouterr().err
