"""Tiny pipelines, each made once a session."""

import pytest


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """From the name of a tiny model to its folder."""
    from vpo.assets.tiny.pipelines import MODELS

    root, made = tmp_path_factory.mktemp("tiny"), {}

    def folder(name: str):
        if name not in made:
            made[name] = root / name
            MODELS[name](made[name])
        return made[name]

    return folder
