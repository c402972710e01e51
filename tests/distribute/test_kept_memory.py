"""Freed memory is kept between steps, and given back after the run; measured in page faults, in a fresh process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, resource
from tfft.distribute.kept_memory import kept_memory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
library.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
SIZE = 48 * 2**20

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        block = library.malloc(SIZE)
        library.memset(block, 1, SIZE)
        library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

before = faults()
with kept_memory() as kept:
    faults()
    inside, held = faults(), resident()
print(int(kept), before, inside, held - resident(), faults())
"""
#: Pages of the block that the program allocates five times, and half of its bytes.
PAGES, HALF = 5 * 48 * 2**20 // os.sysconf("SC_PAGE_SIZE"), 24 * 2**20


def run(**environment: str) -> list[int]:
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env={**paths, **environment}
    )
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_blocks_are_used_again_inside_and_given_back_afterwards() -> None:
    kept, before, inside, given_back, after = run()
    assert kept
    if before < PAGES / 2:
        pytest.skip("this system hands out larger pages")
    assert inside < before / 100
    assert given_back > HALF
    assert after > PAGES / 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_own_settings_are_left_alone() -> None:
    kept, before, inside, *_ = run(MALLOC_TOP_PAD_="131072")
    assert not kept
    assert inside > before / 2
