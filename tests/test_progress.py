"""What commands show while they go on: one line on a terminal, now and then a line elsewhere."""

import re
import time

import pytest

from runtime.progress import PLAIN_EVERY, WIDTH, Bar, Line, Progress

STEP = {"epoch": 1, "step": 2, "loss": 0.5, "top1": 0.25, "lr": 0.01, "images_per_second": 7.0}


class Clock:
    """Goes on when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_off_a_terminal_a_line_comes_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with Bar("prepare", 10_000) as bar:
        for _ in range(100):
            clock.now += PLAIN_EVERY / 10
            bar.add(50)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in (9, 10)  # the clock's sums are rounded
    assert all(line.startswith("prepare ") and "/10000  100 images/s" in line for line in lines)


def test_the_time_left_is_told_from_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with Bar("check", 1000) as bar:
        clock.now += 100
        bar.add(20)
    assert capsys.readouterr().err == "check 20/1000  0 images/s  1:21:40 left\n"


def test_a_terminal_gets_lines_that_stay_and_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Progress(steps=4, epochs=2) as progress:
        progress.say("said [this]")
        progress.step(STEP)
    shown = capsys.readouterr().err
    assert "said [this]" in shown
    assert "epoch 1/2  step 2/4  loss 0.5000  top1 25.0%" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # erased in the end


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_share_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Line() as line:
        line.show("on the way", share)
    shown = capsys.readouterr().err
    done = re.search(r"\x1b\[91m(━+)", shown)  # the colour of what is done
    assert done
    assert len(done[1]) == share * WIDTH
    assert "on the way" in shown
