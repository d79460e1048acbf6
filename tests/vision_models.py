"""Small random models that look at frames, in folders."""

from pathlib import Path

from vpo.assets.tiny import vision


def write_models(root: Path, *names: str) -> Path:
    """A folder for each of these models of `vpo.assets.tiny.vision`, by its name, in `root`, which is returned."""
    for name in names:
        (root / name).mkdir(parents=True)
        vision.MODELS[name](root / name)
    return root
