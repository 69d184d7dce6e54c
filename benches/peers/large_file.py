"""A file that compresses as a memory image does."""

import random


def write(path, mib):
    """Write half noise, half text: like a memory image, it compresses to about half."""
    noise, text = random.Random(mib).randbytes(1 << 19), b"evidence of something " * 23832
    with path.open("wb") as file:
        for at in range(mib):
            # Rotated, so that gzip does not find the noise of the previous MiB again.
            offset = at * 7919 % len(noise)
            file.write(noise[offset:] + noise[:offset] + text[: 1 << 19])
    return path
