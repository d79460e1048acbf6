import pytest
import torch


def pytest_collection_modifyitems(items):
    """All of this folder needs a GPU; without one it is skipped, and says so."""
    for item in items:
        if "tests/gpu" in item.path.as_posix():
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU, and torch sees none"))
