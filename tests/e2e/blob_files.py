"""The files of an estargz-blob.py image: their names, and their content as little-endian 8-byte words (seed << 48 | N << 32 | word
number), so that every word tells where it belongs."""
import array


def content(seed, number, offset, length):
    """Bytes [offset, offset + length) of file `number`."""
    first, last = offset // 8, (offset + length + 7) // 8
    base = seed << 48 | number << 32
    words = array.array("Q", range(base + first, base + last)).tobytes()
    return words[offset - first * 8:offset - first * 8 + length]


def file_name(number):
    return "d%03d/f%05d" % (number // 1000, number)
