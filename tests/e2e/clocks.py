"""A clock at 1970 for whole processes: a small C library, preloaded, that moves the wall clock and nothing else.

It answers for Python and for OpenSSL alike; running time (the monotonic clock) stays as it is, as on a small machine
that boots without a battery and without the network's time.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = """\
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <stdlib.h>

static long moved(void) {
    static long back = -1;
    if (back < 0) {
        const char *text = getenv("MOVED_BACK_S");
        back = text ? atol(text) : 0;
    }
    return back;
}

int clock_gettime(clockid_t which, struct timespec *into) {
    long failed = syscall(SYS_clock_gettime, which, into);
    if (!failed && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) into->tv_sec -= moved();
    return (int)failed;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into) *into = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *into, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    into->tv_sec = now.tv_sec;
    into->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


def environment_at_1970(folder: Path) -> dict[str, str]:
    """What to add to a process's environment so that its clock stands a minute after 1970 began; skips the test where
    there is no C compiler, or where the library does not answer for both Python and OpenSSL."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler to move the clock of a process")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True, capture_output=True)
    now = int(subprocess.run(["date", "+%s"], check=True, capture_output=True).stdout)
    moved = {"LD_PRELOAD": str(library), "MOVED_BACK_S": str(now - 60)}
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(int(time.time()))"], check=True, capture_output=True,
        env={**os.environ, **moved},
    )  # fmt: skip
    if not 0 <= int(told.stdout) < 3600:
        pytest.skip(f"the clock of a process cannot be moved here: it says {told.stdout!r}")
    return moved
