"""Which edits make a stored result one of older code, and which do not."""

import pytest

from vpo import stages, templates
from vpo.storage.code_hash import code_hash, code_of, templates_of

REWARD = {"reward": {"_target_": "vpo.sketch.reward.SketchReward"}}
GENERATOR = {"generator": {"_target_": "vpo.sketch.generator.SketchGenerator"}}
JUDGE = {"judge": {"_target_": "vpo.judge.rules.judge.RulesJudge"}}
DRAFTER = {"drafter": {"_target_": "vpo.sketch.drafter.SketchDrafter"}}
DATASET = {"dataset": {"_target_": "vpo.sketch.dataset.SketchDataset"}}
MOTION = {"evaluator": {"_target_": "vpo.evaluator.motion.Motion"}}
BACKBONE = {"backbone": {"_target_": "vpo.backbone.hf.HFBackbone"}}
STAGES = {
    "queries": ("queries", DATASET),
    "start": ("start", BACKBONE),
    "draft": ("draft", DRAFTER),
    "critique": ("critique", JUDGE),
    "refine": ("refine", JUDGE),
    "sft": ("sft", {}),
    "sample": ("sample", BACKBONE),
    "render": ("render", GENERATOR),
    "score": ("score", REWARD),
    "pair": ("pair", {}),
    "reference": ("reference", BACKBONE),
    "dpo": ("dpo", {}),
    "grpo": ("grpo", JUDGE),
    "optimize": ("optimize", BACKBONE),
    "evaluate reward": ("evaluate", {"evaluator": {"_target_": "vpo.evaluator.reward.RewardScore"}, **REWARD}),
    "evaluate motion": ("evaluate", MOTION),
}
RUNS = {stage.name: stage.runs for stage in stages.STAGES}


@pytest.mark.parametrize(
    ("module", "used"),
    [
        ("vpo.feedback.pairing", {"sft", "render", "pair"}),
        ("vpo.video.clips", {"render", "score", "evaluate reward", "evaluate motion"}),
        ("vpo.training.losses", {"sft", "dpo", "grpo", "reference"}),
        ("vpo.training.online.grpo", {"grpo"}),
        ("vpo.training.data", {"sft", "dpo", "grpo", "reference"}),
        ("vpo.judge.rules.lexicon", {"critique", "refine", "grpo"}),
        ("vpo.sketch.drafter", {"draft"}),
        ("vpo.storage.store", set()),
        ("vpo.stages.context", set()),
        ("vpo.tables.run_tables", set()),
    ],
)  # fmt: skip
def test_an_edit_is_one_of_the_stages_that_use_the_module(module, used):
    assert {name for name, (stage, node) in STAGES.items() if module in code_of(stage, node, RUNS[stage])} == used


def test_the_rewards_arithmetic_and_the_seeds_are_watched():
    for name in ("score", "evaluate reward"):
        assert "vpo.feedback.checklist" in code_of(*STAGES[name])
    for name in ("sample", "render", "draft", "queries"):
        assert "vpo.seeding" in code_of(*STAGES[name])
    assert "vpo.feedback.checklist" not in code_of(*STAGES["critique"])


def test_every_stage_has_code():
    for stage, node in STAGES.values():
        assert f"vpo.stages.{stage}" in code_of(stage, node)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's own package: a judge that imports words, which reads a list, and a module that nobody imports."""
    folder = tmp_path / "minetotest"
    (folder / "words").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "judge.py").write_text("from .words import known\nimport json\n\nclass Mine: ...\n")
    (folder / "words/__init__.py").write_text("def known():\n    from vpo import seeding\n")
    (folder / "words/list.txt").write_text("dog\n")
    (folder / "other.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


NODE = {"judge": {"_target_": "minetotest.judge.Mine"}}


@pytest.mark.parametrize("edited", ["judge.py", "words/__init__.py", "words/list.txt"])
def test_a_line_in_what_the_class_imports_changes_the_hash(mine, edited):
    before = code_hash("critique", NODE)
    assert "vpo.seeding" in code_of("critique", NODE)
    with (mine / edited).open("a") as file:
        file.write("# a line\n")
    assert code_hash("critique", NODE) != before
    assert code_hash("queries", {}) == code_hash("queries", {"n": 1})


def test_a_line_elsewhere_does_not(mine):
    before = code_hash("critique", NODE)
    (mine / "other.py").write_text("x = 2\n")
    assert code_hash("critique", NODE) == before


@pytest.mark.parametrize("target", ["torch.optim.AdamW", "Mine", "__main__.Mine", "nowhere.to.be.Found", "sys.path"])
def test_names_that_lead_to_no_file_of_ours_add_nothing(target):
    assert code_hash("critique", {"judge": {"_target_": target}}) == code_hash("critique", {})


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Templates of a judge, which asks in several ways, beside those that vpo has."""
    folder = tmp_path / "templates"
    folder.mkdir()
    for name in ("ask", "ask_twice", "mend", "read_safety", "read_intent", "declared", "usual", "nobodys"):
        (folder / f"{name}.txt").write_text(f"{name} {{}}")
    monkeypatch.setattr(templates, "FOLDER", folder)
    return folder


ASKING = """
from vpo import templates
from vpo.templates import read_template
class Judge:
    TEMPLATES = ["declared"]
    def __init__(self, name="nobodys", *, template="usual", templates=None): ...
    def critique(self, kind): return read_template("ask"), templates.read_template(f"read_{kind}")
"""
ASK_BY_NAME = {"judge": {"_target_": "minetotest.judge.Judge", "template": "mend", "other": "nobodys"}}
GROUPED = {"judge": {"_target_": "minetotest.judge.Judge", "templates": {"mending": ["mend"]}}}


@pytest.mark.parametrize("node", [ASK_BY_NAME, GROUPED])
def test_templates_of_a_judge_are_code_of_the_stages_that_ask_it(mine, texts, node):
    (mine / "judge.py").write_text(ASKING)
    wanted = ["ask", "declared", "mend", "read_intent", "read_safety", "usual"]
    for stage in ("critique", "refine", "grpo"):
        assert [file.stem for file in templates_of(stage, node)] == wanted
    assert templates_of("render", GENERATOR) == []


@pytest.mark.parametrize(
    ("edited", "changes"),
    [
        ("ask", True),
        ("declared", True),
        ("mend", True),
        ("read_safety", True),
        ("ask_twice", False),
        ("nobodys", False),
    ],
)
def test_an_edited_template_changes_the_hash_of_critique_and_not_of_render(mine, texts, edited, changes):
    (mine / "judge.py").write_text(ASKING)
    critique, render = code_hash("critique", ASK_BY_NAME), code_hash("render", GENERATOR)
    (texts / f"{edited}.txt").write_text("asked otherwise {}")
    assert (code_hash("critique", ASK_BY_NAME) != critique) is changes
    assert code_hash("render", GENERATOR) == render


def test_the_template_of_a_backbone_is_its_stages():
    node = {"backbone": {"_target_": "vpo.backbone.hf.HFBackbone", "template": "optimizer"}}
    assert [file.stem for file in templates_of("start", node)] == ["optimizer"]
    assert templates_of("critique", JUDGE) == []
