#!/usr/bin/env python3
"""Reads every file of a mounted estargz-blob.py image, 64 KiB at a time, and prints "right=N error=N wrong=N": bytes that were as
they must be, reads that failed, and reads that brought other bytes.

    read-files.py --files N --bytes SIZE [--seed N] [--first N] MNT
"""
import argparse
import os

import blob_files

STEP = 64 << 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("mnt")
    options = parser.parse_args()
    right = error = wrong = 0
    for number in range(options.first, options.files):
        try:
            file = os.open(os.path.join(options.mnt, blob_files.file_name(number)), os.O_RDONLY)
        except OSError:
            error += 1
            continue
        for offset in range(0, options.bytes, STEP):
            length = min(STEP, options.bytes - offset)
            try:
                data = os.pread(file, length, offset)
            except OSError:
                error += 1
                continue
            # A short read is what came before the first page that failed.
            if data != blob_files.content(options.seed, number, offset, len(data)) or not data:
                wrong += 1
            elif len(data) == length:
                right += length
            else:
                error += 1
        os.close(file)
    print(f"right={right} error={error} wrong={wrong}")


main()
