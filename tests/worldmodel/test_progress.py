"""A bar that is not shown prints nothing and still counts."""

from worldmodel.progress import step_progress


def test_a_hidden_bar_prints_nothing(capsys):
    with step_progress("training", 3, start=1, shown=False) as advance:
        advance("flow 0.5")
    assert capsys.readouterr().out == ""


def test_a_shown_bar_tells_name_and_steps(capsys):
    with step_progress("training", 3, start=1, shown=True) as advance:
        advance("flow 0.5")
    shown = capsys.readouterr().out
    assert "training" in shown and "2/3" in shown and "flow 0.5" in shown
