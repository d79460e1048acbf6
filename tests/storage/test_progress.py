"""Progress where there is no terminal: a plain line now and then, also of a work whose end nobody knows."""

import logging

from vpo.storage import progress
from vpo.storage.progress import Bar, log_to_console


def test_a_line_says_how_much_is_left_where_that_is_known(monkeypatch, caplog):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1)
    with caplog.at_level(logging.INFO), Bar("clips", total=10) as bar:
        bar.advance(4)
    assert "clips 4/10, " in caplog.text
    assert " s left" in caplog.text


def test_without_a_total_a_line_says_what_is_done(monkeypatch, caplog):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1)
    with caplog.at_level(logging.INFO), Bar("queries read", total=None) as bar:
        bar.advance(3000)
        bar.advance(500)
    assert "queries read 3000, " in caplog.text
    assert "queries read 3500, " in caplog.text
    assert "left" not in caplog.text


def test_the_log_on_stderr_holds_no_secret(monkeypatch, capsys):
    """A message of a library or a server may hold the key that a request was made with."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    monkeypatch.setattr(logging.getLogger("vpo"), "handlers", [])
    log_to_console()
    log_to_console()  # the second one of a sweep adds nothing
    logging.getLogger("vpo.language.server").warning("401 for key sk-0123456789abcdef")
    assert capsys.readouterr().err == "401 for key ***\n"
