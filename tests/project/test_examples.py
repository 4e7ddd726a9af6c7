"""The progress of the examples, on a terminal and in a file, and their pictures in the docs."""

import io
import pathlib
import re
import struct
import sys

import pytest
from rich.console import Console

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Those that `make pictures` copies.
PICTURES = re.search(r"^PICTURES := (.*)$", MAKEFILE, re.M)[1].split()
PAGES = [ROOT / "README.md", *DOCS.rglob("*.md")]

sys.path.insert(0, str(ROOT / "examples"))
import _progress  # noqa: E402


def texts_of(path):
    """Reads the text chunks of a PNG: https://www.w3.org/TR/png-3/#11textinfo."""
    data, found, at = path.read_bytes(), {}, 8
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"tIME"):
            key, _, value = data[at + 8 : at + 8 + length].partition(b"\0")
            found[key.decode()] = value.decode("latin-1")
        at += 12 + length
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_say_nothing_that_changes_from_run_to_run(name):
    texts = texts_of(DOCS / name)
    assert list(texts) == ["Software"]
    assert texts["Software"].startswith("Matplotlib version")


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_drawn_by_an_example_and_shown_on_a_page(name):
    stem = name.removesuffix(".png").removesuffix("_before").removesuffix("_after")
    examples = [path.read_text(encoding="utf-8") for path in (ROOT / "examples").glob("*.py")]
    assert any(re.search(rf'"(?:\w+/)?{stem}', text) for text in examples)
    assert any(re.search(rf"[(/]{name}\)", page.read_text(encoding="utf-8")) for page in PAGES)


def lines_of(monkeypatch, times, total, terminal=False):
    """Runs a task with a step at each of the times, and returns what is printed."""
    file, clock = io.StringIO(), [0.0]
    console = Console(file=file, force_terminal=terminal, width=80)
    monkeypatch.setattr(_progress, "console", console)
    monkeypatch.setattr(_progress, "seconds", lambda: clock[-1])
    with _progress.Display() as display:
        task = display.add_task("training", total=total)
        for now in times:
            clock.append(now)
            display.step(task, "seed 0")
    return file.getvalue().splitlines()


def test_a_file_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    every = _progress.EVERY
    times = [0.5 * every, 1.1 * every, 1.2 * every, 2.0 * every, 2.2 * every, 2.3 * every]
    lines = lines_of(monkeypatch, times, total=6)
    done = [re.search(r"training: (\d) of 6, seed 0$", line)[1] for line in lines]
    assert done == ["2", "5", "6"]


def test_a_terminal_gets_bars(monkeypatch):
    text = "\n".join(lines_of(monkeypatch, [0.1, 0.2], total=2, terminal=True))
    assert "2/2" in text
    assert "seed 0" not in text
