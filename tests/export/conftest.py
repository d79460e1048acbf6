import pytest

from tests.trained import make_run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The working folder of a user who has a finished run."""
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
