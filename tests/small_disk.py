"""`tests.small_disk FOLDER SIZE MODULE WORDS`: the module, with a small file system at a folder.

It is in a mount namespace of its own, which ends with the process and what it starts.
"""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

from tests import forking

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # of linux/sched.h


def mount(folder: str, size: str) -> None:
    """Mounts a file system of `size` at `folder` for this process and its children alone."""
    user, group = os.geteuid(), os.getegid()
    kinds = NEW_MOUNTS | (NEW_USER if user else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds):
        raise OSError(ctypes.get_errno(), "unshare")
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", f"size={size}", "none", folder]):
        subprocess.run(["/usr/bin/mount", *words], check=True)


if __name__ == "__main__":
    mount(*sys.argv[1:3])
    forking.run(*sys.argv[3:])
