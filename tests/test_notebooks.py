import json
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_a_finished_run(path: Path, smoke, monkeypatch, capsys):
    """The code cells in order, in one namespace, beside runs/ and store/."""
    monkeypatch.chdir(smoke)
    namespace: dict = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}:{cell['id']}", "exec"), namespace)
    assert capsys.readouterr().out
    assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"])  # results are not committed
