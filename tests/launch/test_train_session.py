"""How training is asked to end, and what it keeps of epochs."""

import json
import os
import signal

import pytest

from launch import train_session


def test_the_first_signal_is_collected_and_the_second_is_not():
    def interrupt(number, _):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with train_session.collected_signals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals == [signal.SIGTERM]
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signals == [signal.SIGTERM]
        with train_session.collected_signals():
            pass
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ends_with_the_code_of_its_signal(capsys):
    with pytest.raises(SystemExit) as ended:
        train_session.exit_after_saving([signal.SIGINT])
    assert ended.value.code == 130
    assert "the same command goes on from here" in capsys.readouterr().out


def test_rows_up_to_a_checkpoint_without_a_line_that_was_cut(tmp_path):
    rows = [{"step": step, "loss": 1.0} for step in (6, 12, 18)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / train_session.METRICS).write_text(text[:-20])
    assert train_session.read_rows(tmp_path, 6) == rows[:1]
    assert train_session.read_rows(tmp_path, 18) == rows[:2]
    assert train_session.read_rows(tmp_path / "none", 18) == []
