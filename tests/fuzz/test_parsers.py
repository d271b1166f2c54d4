"""Every parser keeps the promise of tests/fuzz/targets.py, whatever it is given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.golden import GOLDEN, INPUTS, digest
from tests.fuzz.shapes import SHAPES
from tests.fuzz.targets import CORPUS, TARGETS, BrokenPromiseError, keeps_promise, seeds
from tocsin.errors import Code, refuse

ROOT = Path(__file__).parents[2]
FUZZING_SECONDS = 20
# Pieces that mean something to one parser or another.
PIECES = [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"\0", b"\xff", b"\\u0000", b"\\ud800"]
PIECES += [b"null", b"NaN", b"1e999", b"-1", b'{"', b"9" * 20, b"0001-01-01T00:00:00Z", b"\x0a\x7f", b"{{ default }}"]


@st.composite
def damaged(draw: st.DrawFn, name: str) -> bytes:
    """What a real client sent, cut up; or anything at all."""
    body = bytearray(draw(st.sampled_from(seeds(name)) | st.binary(max_size=200)))
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(body)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=8) | st.just(bytes(body[start : start + 40])))
        body[start : start + draw(st.sampled_from([0, 0, 1, 4, 40]))] = piece
    return bytes(body)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_comes_is_taken_or_refused_in_time(name: str, data: st.DataObject) -> None:
    keeps_promise(name, data.draw(damaged(name)))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_a_megabyte_of_the_worst_kind_is_read_in_time(shape: str) -> None:
    name, make = SHAPES[shape]
    # On a quiet machine it is within the promise. A busy one shares its caches, and takes up to three times as long.
    keeps_promise(name, make(), slowness=5.0)


@pytest.mark.parametrize("name", INPUTS)
def test_what_is_made_of_an_input_does_not_change_by_itself(name: str) -> None:
    assert digest(name) == json.loads(GOLDEN.read_text(encoding="utf-8"))[name]


@pytest.mark.parametrize("name", TARGETS)
def test_there_is_something_to_begin_with(name: str) -> None:
    assert seeds(name)
    for seed in seeds(name):
        assert len(seed) < 10_000
        keeps_promise(name, seed)


def test_what_is_kept_to_begin_with_belongs_to_a_target() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_a_broken_promise_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_: bytes) -> list[object]:
        raise KeyError("never escapes")

    def takes_long(_: bytes) -> list[object]:
        return [number for number in range(3_000_000) if number < 0]

    def refuses(_: bytes) -> list[object]:
        raise refuse(Code.INVALID, "as it may")

    monkeypatch.setattr(targets, "TARGETS", {"raises": raises, "takes long": takes_long, "refuses": refuses})
    monkeypatch.setattr(targets, "PLAIN_SECONDS", 0.001)
    with pytest.raises(KeyError):
        keeps_promise("raises", b"")
    with pytest.raises(BrokenPromiseError, match="more than"):
        keeps_promise("takes long", b"")
    keeps_promise("refuses", b"")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="atheris is installed on Linux only")
def test_a_fuzzer_finds_nothing_in_a_while(tmp_path: Path) -> None:
    fuzz = [sys.executable, "-m", "tools.fuzz", "all", "--findings", str(tmp_path)]
    done = subprocess.run(
        [*fuzz, "--seconds", str(FUZZING_SECONDS), "--seed", "17"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=FUZZING_SECONDS + 100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    assert "Done" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
