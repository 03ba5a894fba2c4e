"""What training keeps of epochs."""

import json

from launch import train_session


def test_rows_up_to_a_checkpoint_without_a_line_that_was_cut(tmp_path):
    rows = [{"step": step, "loss": 1.0} for step in (6, 12, 18)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / train_session.METRICS).write_text(text[:-20])
    assert train_session.read_rows(tmp_path, 6) == rows[:1]
    assert train_session.read_rows(tmp_path, 18) == rows[:2]
    assert train_session.read_rows(tmp_path / "none", 18) == []
