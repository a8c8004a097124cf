"""seccomp: system calls that no computation needs are refused by the kernel (seccomp(2), classic BPF).

The filter looks at the architecture first, refuses what it does not know, then the numbers of 32-bit pointers (x32),
then one call after the other. What is refused fails with EPERM, as without the right to it; `clone3`, whose flags a
filter cannot see, with ENOSYS, so that the C library goes on with `clone`, which may make threads and nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from typing import NamedTuple

from trivet.model.sandbox.kernel import call

SET_MODE_FILTER, ALL_THREADS = 1, 1
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, HAS_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
FIRST_ARGUMENT, SECOND_ARGUMENT = 16, 24  # of their low halves, little endian
THREAD = 0x00010000  # CLONE_THREAD
X32 = 0x40000000
SIGNALS_TO_OTHERS = (
    8,
    10,
    15,
)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a descriptor that tells somebody else of what arrives


def _table(text: str) -> dict[str, int]:
    """Return `name=number` pairs as a mapping."""
    pairs = (word.partition("=") for word in text.split())
    return {name: int(number) for name, _, number in pairs}


class Architecture(NamedTuple):
    """Where a filter can be made: the kernel's word for it, and its numbers."""

    audit: int
    seccomp: int
    clone: int
    clone3: int
    kill: int
    tgkill: int
    prlimit: int
    fcntl: int
    refused: dict[str, int]


ANY_ARCHITECTURE = _table(  # numbers given since the tables of all architectures are one
    """
    pidfd_send_signal=424 io_uring_setup=425 io_uring_enter=426 io_uring_register=427 open_tree=428
    move_mount=429 fsopen=430 fsconfig=431 fsmount=432 fspick=433 pidfd_open=434 pidfd_getfd=438
    process_madvise=440 mount_setattr=442 quotactl_fd=443 memfd_secret=447 process_mrelease=448 fchmodat2=452
    setxattrat=463 removexattrat=466 file_setattr=469
    """
)

ARCHITECTURES = {
    "x86_64": Architecture(
        audit=0xC000003E,
        seccomp=317,
        clone=56,
        clone3=435,
        kill=62,
        tgkill=234,
        prlimit=302,
        fcntl=72,
        refused=_table(
            """
            socket=41 connect=42 accept=43 sendto=44 sendmsg=46 bind=49 listen=50 socketpair=53 fork=57 vfork=58
            execve=59 execveat=322 accept4=288 sendmmsg=307 ptrace=101 setsid=112 setpgid=109 syslog=103 tkill=200
            rt_sigqueueinfo=129 rt_tgsigqueueinfo=297 personality=135 mknod=133 mknodat=259 pivot_root=155 chroot=161
            acct=163 mount=165 umount2=166 swapon=167 swapoff=168 reboot=169 iopl=172 ioperm=173 init_module=175
            delete_module=176 finit_module=313 kexec_load=246 kexec_file_load=320 quotactl=179 setns=308
            settimeofday=164 clock_settime=227 adjtimex=159 clock_adjtime=305 unshare=272 bpf=321 perf_event_open=298
            userfaultfd=323 memfd_create=319 fanotify_init=300 add_key=248 request_key=249 keyctl=250
            process_vm_readv=310 process_vm_writev=311 name_to_handle_at=303 open_by_handle_at=304 setuid=105
            setgid=106 setreuid=113 setregid=114 setgroups=116 setresuid=117 setresgid=119 setfsuid=122 setfsgid=123
            capset=126 modify_ldt=154 shmget=29 semget=64 msgget=68 mq_open=240 kcmp=312 migrate_pages=256
            move_pages=279 sethostname=170 chmod=90 fchmod=91 fchmodat=268 chown=92 fchown=93 lchown=94 fchownat=260
            utime=132 utimes=235 futimesat=261 utimensat=280 setxattr=188 lsetxattr=189 fsetxattr=190 removexattr=197
            lremovexattr=198 fremovexattr=199 truncate=76 shmat=30 shmctl=31 semop=65 semctl=66 semtimedop=220
            msgsnd=69 msgrcv=70 msgctl=71 setpriority=141 sched_setaffinity=203 sched_setparam=142
            sched_setscheduler=144 sched_setattr=314 ioprio_set=251
            """
        ),
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        seccomp=277,
        clone=220,
        clone3=435,
        kill=129,
        tgkill=131,
        prlimit=261,
        fcntl=25,
        refused=_table(
            """
            socket=198 socketpair=199 bind=200 listen=201 accept=202 connect=203 sendto=206 sendmsg=211 accept4=242
            sendmmsg=269 execve=221 execveat=281 ptrace=117 setsid=157 setpgid=154 syslog=116 tkill=130
            rt_sigqueueinfo=138 rt_tgsigqueueinfo=240 personality=92 mknodat=33 pivot_root=41 chroot=51 acct=89
            mount=40 umount2=39 swapon=224 swapoff=225 reboot=142 init_module=105 delete_module=106 finit_module=273
            kexec_load=104 kexec_file_load=294 quotactl=60 setns=268 settimeofday=170 clock_settime=112 adjtimex=171
            clock_adjtime=266 unshare=97 bpf=280 perf_event_open=241 userfaultfd=282 memfd_create=279
            fanotify_init=262 add_key=217 request_key=218 keyctl=219 process_vm_readv=270 process_vm_writev=271
            name_to_handle_at=264 open_by_handle_at=265 setuid=146 setgid=144 setreuid=145 setregid=143 setgroups=159
            setresuid=147 setresgid=149 setfsuid=151 setfsgid=152 capset=91 shmget=194 semget=190 msgget=186
            mq_open=180 kcmp=272 migrate_pages=238 move_pages=239 sethostname=161 fchmod=52 fchmodat=53 fchownat=54
            fchown=55 utimensat=88 setxattr=5 lsetxattr=6 fsetxattr=7 removexattr=14 lremovexattr=15 fremovexattr=16
            truncate=45 shmctl=195 shmat=196 semctl=191 semtimedop=192 semop=193 msgctl=187 msgrcv=188 msgsnd=189
            setpriority=140 sched_setaffinity=122 sched_setparam=118 sched_setscheduler=119 sched_setattr=274
            ioprio_set=30
            """
        ),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


ACCEPTING = ("accept", "accept4")  # for who answers on a socket it listened on before


def install(*, accepts: bool = False) -> None:
    """Put the filter on all threads of this process, for good. With `accepts` it may take connections of others.

    Needs `no_new_privs`. Raises `OSError` where the kernel has no such filters or the architecture is not known here.
    """
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise OSError(errno.ENOSYS, f"no filter is known for {platform.machine()}")
    if accepts:
        refused = {name: number for name, number in architecture.refused.items() if name not in ACCEPTING}
        architecture = architecture._replace(refused=refused)
    code = program(architecture, os.getpid())
    filter_ = _Program(len(code) // 8, code)
    call(architecture.seccomp, SET_MODE_FILTER, ALL_THREADS, ctypes.byref(filter_))


def program(architecture: Architecture, pid: int) -> bytes:
    """Return the filter for a process with the number `pid`, which may send signals to itself."""
    refuse = REFUSE | errno.EPERM
    steps = [
        _step(LOAD, ARCHITECTURE),
        _step(EQUAL, architecture.audit, skip_if=1),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER),
    ]
    if architecture.audit == ARCHITECTURES["x86_64"].audit:
        steps += [_step(AT_LEAST, X32, skip_unless=1), _step(RETURN, refuse)]
    for number in (*architecture.refused.values(), *ANY_ARCHITECTURE.values()):
        steps += [_step(EQUAL, number, skip_unless=1), _step(RETURN, refuse)]
    steps += [_step(EQUAL, architecture.clone3, skip_unless=1), _step(RETURN, REFUSE | errno.ENOSYS)]
    steps += _only_if(architecture.clone, _step(HAS_BIT, THREAD, skip_unless=1), refuse)
    for number in (architecture.kill, architecture.tgkill):
        steps += _only_if(number, _step(EQUAL, pid, skip_unless=1), refuse)
    steps += _only_if(architecture.prlimit, _step(EQUAL, 0, skip_unless=1), refuse)  # 0: of itself
    steps += _never_with(architecture.fcntl, SIGNALS_TO_OTHERS, refuse)
    return b"".join([*steps, _step(RETURN, ALLOW)])


def _only_if(number: int, condition: bytes, refuse: int) -> list[bytes]:
    """Return the steps that allow the call `number` where its first argument meets `condition`, and refuse it else."""
    return [
        _step(EQUAL, number, skip_unless=4),
        _step(LOAD, FIRST_ARGUMENT),
        condition,
        _step(RETURN, ALLOW),
        _step(RETURN, refuse),
    ]


def _never_with(number: int, values: Sequence[int], refuse: int) -> list[bytes]:
    """Return the steps that refuse the call `number` where its second argument is one of `values`."""
    tests = [step for value in values for step in (_step(EQUAL, value, skip_unless=1), _step(RETURN, refuse))]
    return [
        _step(EQUAL, number, skip_unless=2 + len(tests)),
        _step(LOAD, SECOND_ARGUMENT),
        *tests,
        _step(RETURN, ALLOW),
    ]


def _step(code: int, value: int, *, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    """Return one instruction, struct sock_filter: how many to skip when it is true, and when not."""
    return struct.pack("=HBBI", code, skip_if, skip_unless, value)
