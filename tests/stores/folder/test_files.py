"""Pieces of files: every line in exactly one of them, wherever the cuts fall."""

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.base.errors import InputError
from screener.stores.folder import files
from screener.stores.folder.files import Piece, blocks, line_number, pieces


def lines_of(found: list[Piece]) -> list[bytes]:
    return [line for piece in found for block in blocks(piece) for line in block.data.split(b"\n") if line]


@given(
    st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    st.integers(1, 40),
    st.integers(1, 16),
    st.booleans(),
)
def test_every_line_is_in_one_piece(
    lines: list[bytes],
    piece_bytes: int,
    block_bytes: int,
    ended: bool,  # noqa: FBT001
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "BLOCK_BYTES", block_bytes)
        file = Path(name) / "a.ndjson"
        file.write_bytes(b"\n".join(lines) + (b"\n" if ended and lines else b""))
        assert lines_of(pieces([file], piece_bytes)) == [line for line in lines if line]
        packed = Path(name) / "b.ndjson.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        assert lines_of(pieces([packed], piece_bytes)) == [line for line in lines if line]


@given(st.lists(st.binary(min_size=1, max_size=9).map(lambda line: line.replace(b"\n", b"x")), min_size=1, max_size=9))
def test_a_block_says_where_it_begins(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "BLOCK_BYTES", 7)
        file = Path(name) / "a.ndjson"
        file.write_bytes(b"\n".join(lines))
        whole = file.read_bytes()
        for piece in pieces([file], 5):
            for block in blocks(piece):
                assert whole[block.start :].startswith(block.data)
                assert line_number(file, block.start) == whole[: block.start].count(b"\n") + 1


@pytest.mark.parametrize("piece_bytes", [10**9, 50])
def test_a_line_that_is_too_long_is_one_bad_line_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 16)
    monkeypatch.setattr(files, "LINE_BYTES", 64)
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"one\n" + b"x" * 200 + b"\ntwo\nthree\n")
    found = [block for piece in pieces([file], piece_bytes) for block in blocks(piece)]
    assert [(block.start, block.problem) for block in found if block.problem] == [(4, files.TOO_LONG)]
    assert [line for block in found for line in block.data.split(b"\n") if line] == [b"one", b"two", b"three"]


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson"
    file.write_bytes(b"{}\n")
    (piece,) = pieces([file], 100)
    file.unlink()
    with pytest.raises(InputError, match=r"Cannot read a\.ndjson: No such file"):
        list(blocks(piece))
    with pytest.raises(InputError, match=r"Cannot read a\.ndjson"):
        pieces([file], 100)


def test_a_compressed_file_that_is_cut_short_gives_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "a.ndjson.gz"
    file.write_bytes(gzip.compress(b'{"a": 1}\n' * 200_000)[:-40])
    found = list(blocks(Piece(file, 0, file.stat().st_size)))
    assert found[-1].problem == files.CUT_SHORT
    assert sum(block.data.count(b"\n") for block in found) > 0
