from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random model of each true class, by the names of `vpo.assets.tiny.vision`."""
    from transformers.utils.logging import disable_progress_bar

    from vpo.assets.tiny import vision

    disable_progress_bar()
    root = tmp_path_factory.mktemp("tiny")
    for name, make in vision.MODELS.items():
        (root / name).mkdir()
        make(root / name)
    return root
