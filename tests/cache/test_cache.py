"""The store itself: what is put in comes out, or nothing; the oldest goes first; nothing foreign is touched."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dycl.cache import Cache, open_cache
from dycl.diagnostics import UsageError
from dycl.knobs import read_knobs

FIRST, SECOND, THIRD = ("1" * 64, "2" * 64, "3" * 64)
MIB = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "store", MIB)


def entry(cache: Cache, key: str) -> Path:
    return cache.directory / key[:2] / key


def test_an_entry_comes_out_as_it_went_in(cache: Cache) -> None:
    assert cache.get(FIRST) is None
    cache.put(FIRST, b"content")
    cache.put(SECOND, b"")
    assert (cache.get(FIRST), cache.get(SECOND), cache.get(THIRD)) == (b"content", b"", None)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:40] + b"x" + data[41:], lambda _: b""])
def test_a_damaged_entry_is_missing_and_can_be_replaced(cache: Cache, damage) -> None:
    cache.put(FIRST, b"some content of it")
    entry(cache, FIRST).write_bytes(damage(entry(cache, FIRST).read_bytes()))
    assert cache.get(FIRST) is None
    assert not entry(cache, FIRST).exists()
    cache.put(FIRST, b"some content of it")
    assert cache.get(FIRST) == b"some content of it"


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    for age, key in ((10, FIRST), (20, SECOND), (30, THIRD)):
        cache.put(key, bytes(400))
        os.utime(entry(cache, key), (age, age))
    assert cache.get(FIRST) is not None  # now it is the last one used
    cache.trim()
    assert (cache.get(FIRST) is None, cache.get(SECOND) is None, cache.get(THIRD) is None) == (False, True, False)
    assert cache.info().size <= 1000


def test_what_fits_stays(cache: Cache) -> None:
    cache.put(FIRST, bytes(1000))
    cache.trim()
    assert cache.get(FIRST) == bytes(1000)


def test_trim_removes_what_a_killed_process_left_and_nothing_that_is_being_written(cache: Cache) -> None:
    cache.put(FIRST, b"content")
    old, new = (entry(cache, FIRST).with_name(f"{FIRST}.{end * 16}.part") for end in "ab")
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.trim()
    assert (old.exists(), new.exists()) == (False, True)


def test_clear_leaves_foreign_files(cache: Cache) -> None:
    cache.put(FIRST, b"content")
    cache.put(SECOND, b"content")
    foreign = entry(cache, FIRST).with_name("notes.txt")
    foreign.write_text("mine")
    assert cache.info().entries == 2
    cache.clear()
    assert cache.info().entries == cache.info().size == 0
    assert foreign.read_text() == "mine"
    assert not entry(cache, SECOND).parent.exists()


def test_writers_at_the_same_time_leave_one_whole_entry(cache: Cache) -> None:
    seen: list[bytes | None] = []

    def work(letter: bytes) -> None:
        for _ in range(50):
            cache.put(FIRST, letter * 10_000)
            seen.append(cache.get(FIRST))
            cache.trim()

    workers = [threading.Thread(target=work, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(seen) <= {b"a" * 10_000, b"b" * 10_000, b"c" * 10_000}
    assert [path.name for path in entry(cache, FIRST).parent.iterdir()] == [FIRST]


def test_a_place_that_cannot_be_written_keeps_nothing_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "store", MIB)
    cache.put(FIRST, b"content")
    cache.trim()
    cache.clear()
    assert cache.get(FIRST) is None
    assert cache.info().entries == 0


def test_where_it_is_and_how_large(tmp_path: Path) -> None:
    knobs = read_knobs({"DYCL_CACHE_DIR": str(tmp_path), "DYCL_CACHE_SIZE": "3"})
    assert open_cache(knobs.cache_dir, knobs.cache_size) == Cache(tmp_path, 3 * MIB)
    assert read_knobs({"XDG_CACHE_HOME": str(tmp_path)}).cache_dir == tmp_path / "dycl"
    assert read_knobs({"DYCL_CACHE_DIR": ""}).cache_size == 256 * MIB
    off = read_knobs({"DYCL_CACHE_SIZE": "0"})
    assert open_cache(off.cache_dir, off.cache_size) is None
    with pytest.raises(UsageError, match="no number of MiB"):
        read_knobs({"DYCL_CACHE_SIZE": "much"})
