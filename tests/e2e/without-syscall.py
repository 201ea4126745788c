#!/usr/bin/env python3
"""Runs a command in a kernel that lacks one system call: a seccomp filter answers it with ENOSYS.

usage: without-syscall.py NUMBER COMMAND [ARGUMENT...]     (as root; x86-64 numbers)
"""
import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
RET_ERRNO, RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K


def instruction(code, on_true, on_false, operand):
    return struct.pack("=HBBI", code, on_true, on_false, operand)


def main():
    number, command = int(sys.argv[1]), sys.argv[2:]
    program = b"".join([
        instruction(LOAD_WORD, 0, 0, 0),  # seccomp_data.nr
        instruction(JUMP_EQUAL, 0, 1, number),
        instruction(RETURN, 0, 0, RET_ERRNO | errno.ENOSYS),
        instruction(RETURN, 0, 0, RET_ALLOW),
    ])
    buffer = ctypes.create_string_buffer(program, len(program))
    filters = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filters, 0, 0) != 0:
        sys.exit("seccomp: " + os.strerror(ctypes.get_errno()))
    os.execvp(command[0], command)


main()
