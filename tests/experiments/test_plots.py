"""Figures are the same bytes from the same numbers, in both formats."""

from experiments import plots


def drawn():
    with plots.style():
        figure, axes = plots.new()
        axes.plot([1, 2], [3, 4], label="a")
        axes.set(xlabel="entries", ylabel="ns a comparison")
        axes.legend()
    return figure


def test_svg_and_png_are_deterministic_and_undated(tmp_path):
    assert plots.as_bytes(drawn(), "svg") == plots.as_bytes(drawn(), "svg")
    assert plots.as_bytes(drawn(), "png") == plots.as_bytes(drawn(), "png")
    assert b"dc:date" not in plots.as_bytes(drawn(), "svg")
    paths = plots.save({"a": drawn()}, tmp_path)
    assert sorted(path.name for path in paths) == ["a.png", "a.svg"]


def test_every_series_has_its_own_look_and_the_baseline_is_black():
    assert plots.look("plaintext")[0] == plots.BLACK
    protocols = [plots.look(name) for name in ("plaintext", "bfv", "scan", "blind")]
    assert len(set(protocols)) == 4
    assert plots.look("made-up") == plots.look("made-up")
