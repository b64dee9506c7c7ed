"""What a process that reads strangers' bytes may still do, once it has all it needs: the kernel sees to it.

Landlock: read Python and its libraries, write nothing (files to write are handed over open), no TCP, no signals to
others. seccomp: no sockets, no new programs or processes, no looking into others. Both through documented system
calls, with ctypes: docs/decisions/0014 says why. Limits on time, memory, files and processes hold on every Unix.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

from server.paths import HOME, ROOT

try:
    import resource
except ImportError:  # Windows, where no file reaches this process
    resource = None  # type: ignore[assignment]

MEMORY = 2 << 30  # bytes of address space: what a decoder may ask for; a recording needs a tenth of it
OPEN_FILES = 64

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2  # of prctl(2)
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every processor
_VERSION, _BENEATH = 1, 1  # landlock_create_ruleset's flag; landlock_add_rule's kind
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights over files each version of Landlock knows
_TCP = 0b11  # bind and connect, from version 4
_OTHERS = 0b11  # abstract sockets and signals of others, from version 6

# System calls that nobody needs who decodes sound, by processor: (AUDIT_ARCH_…, of clone, of the others). They are
# socket connect bind listen [fork vfork: x86 only] execve ptrace mount bpf execveat process_vm_readv/_writev,
# perf_event_open userfaultfd unshare setns add_key keyctl io_uring_setup.
_X86 = (41, 42, 49, 50, 57, 58, 59, 101, 165, 321, 322, 310, 311, 298, 323, 272, 308, 248, 250, 425)
_ARM = (198, 203, 200, 201, 221, 117, 40, 280, 281, 270, 271, 241, 282, 97, 268, 217, 219, 425)
_FORBIDDEN = {"x86_64": (0xC000003E, 56, _X86), "aarch64": (0xC00000B7, 220, _ARM)}
_CLONE3, _CLONE_THREAD = 435, 0x10000
_X32 = 0x40000000  # the same calls once more, under x86_64's other numbers


def missing() -> str | None:
    """Which protection this system does not give, in words for the operator; None when it gives all."""
    if sys.platform != "linux":
        return "Landlock and seccomp are Linux's"
    lacks = []
    if (version := _landlock_version()) < 1:
        lacks.append("Landlock (files)")
    elif version < 4:
        lacks.append("Landlock's rules for the network")
    if platform.machine() not in _FORBIDDEN:
        lacks.append(f"a list of system calls for {platform.machine()}")
    elif not _has_seccomp():
        lacks.append("seccomp")
    return ", ".join(lacks) or None


def limit(max_file_bytes: int, memory: int = MEMORY) -> None:
    """Limits that hold from the start: memory, size of a file, open files, no core dumps."""
    for kind, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, max_file_bytes),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def enter() -> None:
    """Give up everything else, for good: with one thread, when all has been loaded. Raises OSError."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    if (version := _landlock_version()) >= 1:
        _landlock(libc, version)
    if platform.machine() in _FORBIDDEN and _has_seccomp():
        _seccomp(libc, *_FORBIDDEN[platform.machine()])


def no_more_threads() -> None:
    """Once those that are needed run. Root has no such limit; its processes are seccomp's business."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def allow_cpu(seconds: float) -> None:
    """From now on, so much of a processor's time: then SIGXCPU ends the process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    until = round(spent.ru_utime + spent.ru_stime + seconds) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
    )


def readable() -> list[Path]:
    """What is read of the disk after the start: modules that are imported late, their libraries, the time zone."""
    system = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/localtime", "/usr/share/zoneinfo")
    modules = [Path(entry).resolve() for entry in sys.path if entry]
    ours = [ROOT / "server", ROOT / "stream"]
    libraries = [Path(sys.base_prefix) / "lib", *map(Path, system)]
    return [path for path in [*modules, *ours, *libraries] if path.exists() and not HOME.is_relative_to(path)]


def _landlock_version() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))


def _landlock(libc: ctypes.CDLL, version: int) -> None:
    rights = (1 << _FS_RIGHTS.get(version, 16)) - 1
    rules = struct.pack("=QQQ", rights, _TCP if version >= 4 else 0, _OTHERS if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    rule_set = _checked(libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(size), 0))
    try:
        for path in readable():
            at = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                allowed = _READ_FILE | _READ_DIR if path.is_dir() else _READ_FILE
                beneath = struct.pack("=Qi", allowed, at)
                _checked(libc.syscall(_ADD_RULE, rule_set, _BENEATH, beneath, 0))
            finally:
                os.close(at)
        _checked(libc.syscall(_RESTRICT_SELF, rule_set, 0))
    finally:
        os.close(rule_set)


def _has_seccomp() -> bool:
    """As seccomp(2) says: a filter that is nowhere is refused as such only where filters are known."""
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(_SET_SECCOMP, _FILTER, None, 0, 0) < 0 and ctypes.get_errno() == errno.EFAULT


def _seccomp(libc: ctypes.CDLL, arch: int, clone: int, numbers: tuple[int, ...]) -> None:
    """A filter of classic BPF: another processor's calls, those listed and new processes fail with EPERM."""
    load, equal, at_least, has_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, refuse, unknown = 0x7FFF0000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
    checks = [(equal, number) for number in numbers] + ([(at_least, _X32)] if arch == 0xC000003E else [])
    n = len(checks)
    # A step: what, how many steps to skip if so, if not, and the value; loads are from struct seccomp_data.
    steps = [(load, 0, 0, 4), (equal, 0, n + 6, arch), (load, 0, 0, 0)]
    steps += [(kind, n - i + 4, 0, number) for i, (kind, number) in enumerate(checks)]
    steps += [(equal, 5, 0, _CLONE3), (equal, 0, 2, clone)]  # clone3 hides its flags; libc then takes clone
    steps += [(load, 0, 0, 16), (has_bit, 0, 1, _CLONE_THREAD)]
    steps += [(give, 0, 0, allow), (give, 0, 0, refuse), (give, 0, 0, unknown)]
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("@HP", len(steps), ctypes.addressof(held))
    _checked(libc.prctl(_SET_SECCOMP, _FILTER, described, 0, 0))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
