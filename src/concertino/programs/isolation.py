"""What the kernel forbids this process for good, with no privilege needed: files by Landlock, calls by seccomp.

Landlock (landlock(7), Linux 5.13) leaves reading of the folders that are named, and no writing but to /dev/null. The
seccomp filter (seccomp(2)) answers EPERM to whatever makes sockets or processes, sends signals, or changes another
process or a file's owner, mode or times. It is a list of what is denied, made for programs of language models: a
barrier against accidents and the usual mischief, not against whoever holds an exploit of the kernel. Both work in
containers, as root and as anybody. Standard library only.
"""

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Iterable

from concertino.programs.outcome import Barrier

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_SECCOMP_ALLOW, _SECCOMP_EPERM = 0x7FFF0000, 0x00050001
_CAPABILITIES_V3 = 0x20080522

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
"""The same on every architecture."""
_LANDLOCK_VERSION = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""By version of Landlock, all that it can forbid of files; later ones add nothing that matters here."""

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_X32 = 0x40000000
"""Calls of x86_64's second table, which would pass a filter of the first."""

_DENIED: dict[str, tuple[int | None, int | None]] = {
    # The network.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "io_uring_setup": (425, 425), "mq_open": (240, 180),
    # Other processes: made, run, signalled, looked into, or slowed.
    "clone": (56, 220), "fork": (57, None), "vfork": (58, None), "clone3": (435, 435),
    "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "prlimit64": (302, 261), "setpriority": (141, 140),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119), "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    # What Landlock does not see of files.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "truncate": (76, 45),
    # Memory that outlives the process, other name spaces, and doors into the kernel that nothing here needs.
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "memfd_create": (319, 279),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
"""Name -> number on x86_64 and on aarch64."""


def isolate(readable: Iterable[str]) -> list[Barrier]:
    """Shut this process in; what it may still read are the paths named. Returns the barriers that are missing."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a killed evaluation leaves nothing behind
    _drop_capabilities()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    missing = []
    if not _restrict_files(readable):
        missing.append(Barrier.FILES)
    if not _restrict_calls():
        missing.append(Barrier.CALLS)
    return missing


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _prctl(option: int, *values: int) -> bool:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    return bool(_libc().prctl(option, *padded) == 0)


def _drop_capabilities() -> None:
    """Root without capabilities cannot raise its limits again (capset(2)); for others this changes nothing."""
    header, data = struct.pack("=Ii", _CAPABILITIES_V3, 0), bytes(24)
    _libc().capset(header, data)


def _restrict_files(readable: Iterable[str]) -> bool:
    version = _libc().syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION))
    if version < 1:
        return False
    handled = _RIGHTS[min(version, max(_RIGHTS))]
    attributes = struct.pack("=Q", handled)
    rules = _libc().syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        for path in readable:
            _allow(rules, path, _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE)  # noqa: PTH112
        _allow(rules, os.devnull, _READ_FILE | _WRITE_FILE)
        return bool(_libc().syscall(_LANDLOCK_RESTRICT, ctypes.c_int(rules), ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there need not be read
    try:
        rule = struct.pack("=Qi", rights, place)
        _libc().syscall(_LANDLOCK_ADD, ctypes.c_int(rules), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)


def _restrict_calls() -> bool:
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return False
    code = _filter(*architecture)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(held))
    return bool(_libc().prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), program, 0, 0) == 0)


def _filter(audit: int, place: int) -> bytes:
    """The filter as classic BPF: another architecture's calls and the denied ones get EPERM, all others pass."""
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    numbers = sorted(found for pair in _DENIED.values() if (found := pair[place]) is not None)
    steps = [(load, 0, 0, 4), (equal, 1, 0, audit), (answer, 0, 0, _SECCOMP_EPERM), (load, 0, 0, 0)]
    steps += [(at_least, len(numbers) + 1, 0, _X32)]
    steps += [(equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    steps += [(answer, 0, 0, _SECCOMP_ALLOW), (answer, 0, 0, _SECCOMP_EPERM)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
