"""How cards name models and their licences."""

import pytest

from vpo.assets.models import OF_VPO, UNKNOWN, licence_of, models_in, named, said_of


@pytest.mark.parametrize(
    ("model", "revision", "shown"),
    [
        ("openai/clip-vit-base-patch32", "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268", "openai/clip-vit-base-patch32@3d74acf9"),
        ("asset:all-minilm-l6-v2", None, "all-minilm-l6-v2"),
        ("/home/me/models/mine/", None, "mine"),
        ("~/models/mine", None, "mine"),
        ("gpt-4o", None, "gpt-4o"),
    ],
)  # fmt: skip
def test_a_model_is_named_without_its_folders(model, revision, shown):
    assert named(model, revision) == shown


def test_licences_are_those_of_the_manifest_and_of_the_list():
    """The asset and the model of the hub that it is are one; of a folder nothing is known, whatever it is called."""
    assert licence_of("asset:nudenet-320n") == "AGPL-3.0-only"
    assert licence_of("asset:all-minilm-l6-v2") == licence_of("sentence-transformers/all-MiniLM-L6-v2") == "Apache-2.0"
    assert licence_of("facebook/dino-vitb16") == "Apache-2.0"
    assert licence_of("./dino-vitb16") == UNKNOWN


def test_a_role_says_who_answers():
    llm = {
        "_target_": "vpo.judge.llm.LLMJudge",
        "engine": {"_target_": "x.Server", "model": "gpt-4o", "endpoint": "there"},
    }
    panel = {
        "_target_": "vpo.judge.panel.Panel",
        "judges": {"a": llm, "b": {**llm, "engine": {"model": "asset:smollm2-135m-instruct"}}},
    }
    assert said_of({"_target_": "vpo.judge.rules.judge.RulesJudge"}) == ("RulesJudge, without a model", OF_VPO)
    assert said_of(llm) == ("LLMJudge by gpt-4o", f"gpt-4o: {UNKNOWN}")
    model, licence = said_of(panel)
    assert model == "Panel by gpt-4o, smollm2-135m-instruct"
    assert "smollm2-135m-instruct: Apache-2.0" in licence
    assert said_of({"_target_": "a.Checklist", "path": "q/vl", "licence": "as agreed"}) == (
        "Checklist by q/vl",
        "as agreed",
    )
    assert list(models_in({"path": "???", "model": ""})) == []
