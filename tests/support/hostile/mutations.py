"""What breaks a file: at random, but the same for the same seed."""

from __future__ import annotations

import struct

_EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
)
_NAMES = {
    "mp4": tuple(
        b"ftyp moov trak mdia minf stbl stsd stts ctts stsc stsz stco stss mdat mvhd tkhd mdhd elst hdlr dref moof traf trun "
        b"tfhd tfdt trex avc1 avcC hev1 hvcC vp09 vpcC mp4v mp4a esds Opus dOps".split()
    ),
    "png": (
        b"IHDR",
        b"PLTE",
        b"tRNS",
        b"IDAT",
        b"IEND",
        b"zTXt",
        b"iTXt",
        b"eXIf",
        b"acTL",
        b"fcTL",
        b"fdAT",
    ),
    "webp": (b"RIFF", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"EXIF", b"ICCP"),
    "wav": (b"RIFF", b"WAVE", b"fmt ", b"fact", b"LIST", b"data"),
    "jpeg": (
        b"\xff\xc0",
        b"\xff\xc2",
        b"\xff\xc4",
        b"\xff\xda",
        b"\xff\xdb",
        b"\xff\xdd",
        b"\xff\xe0",
        b"\xff\xe1",
        b"Exif",
    ),
    "mp3": (b"ID3", b"TIT2", b"TPE1", b"TSSE", b"Xing", b"Info", b"LAME", b"\xff\xfb", b"\xff\xf3"),
    "flac": (b"fLaC", b"\xff\xf8", b"\xff\xf9"),
}
"""Where a kind of file keeps its lengths and counts: around these names."""


def mutated(random, kind, sources, strangers):
    """Return one broken file: a source with one to four mutations, or, one time in ten, a stranger under a false name.

    Parameters
    ----------
    random
        Where all chance comes from.
    sources
        Whole files of this kind.
    strangers
        Whole files of other kinds.
    """
    if random.random() < 0.1:
        return random.choice(strangers)
    data = bytearray(random.choice(sources))
    for _ in range(random.choice((1, 1, 2, 4))):
        change = random.choice(_CHANGES)
        data = change(random, data, kind, sources, strangers)
    return bytes(data)


def _flip(random, data, kind, sources, strangers):
    for _ in range(random.choice((1, 3, 30, 300))):
        if data:
            data[_place(random, data)] ^= 1 << random.randrange(8)
    return data


def _place(random, data):
    """Return a position, half of the time among the first 512 bytes: the headers."""
    return random.randrange(min(len(data), 512) if random.random() < 0.5 else len(data))


def _overwrite_run(random, data, kind, sources, strangers):
    if data:
        at = _place(random, data)
        length = min(random.choice((1, 4, 64, 1_000, 20_000)), len(data) - at)
        data[at : at + length] = random.choice(
            (bytes(length), b"\xff" * length, random.randbytes(length))
        )
    return data


def _truncate(random, data, kind, sources, strangers):
    return data[: random.randrange(len(data) + 1)]


def _extend(random, data, kind, sources, strangers):
    more = random.choice((1, 100, 70_000))
    return data + random.choice((bytes(more), random.randbytes(more), bytes(data)))


def _cut_out(random, data, kind, sources, strangers):
    at = random.randrange(len(data) + 1)
    return data[:at] + data[at + random.choice((1, 2, 16, 500)) :]


def _repeat_part(random, data, kind, sources, strangers):
    begin, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:end] + data[begin:end] * random.choice((1, 1, 5)) + data[end:]


def _splice(random, data, kind, sources, strangers):
    other = random.choice(sources if random.random() < 0.7 else strangers)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _overwrite_number(random, data, kind, sources, strangers):
    """Write an extreme number where a header has one: beside a name, or anywhere in the first 256 bytes."""
    places = [data.find(name) for name in _NAMES[kind]]
    places = [place for place in places if place >= 0]
    if places and random.random() < 0.7:
        at = random.choice(places) + random.choice((-8, -4, 2, 4, 8, 12, 16, 20, 24, 28))
    else:
        at = random.randrange(max(min(len(data), 256), 1))
    form = random.choice("BHIQ")
    size = struct.calcsize(form)
    number = random.choice((*_EXTREMES, random.getrandbits(32))) % 256**size
    at = max(at, 0)
    if at + size <= len(data):
        struct.pack_into(random.choice("<>") + form, data, at, number)
    return data


_CHANGES = (
    _flip,
    _flip,
    _overwrite_run,
    _truncate,
    _extend,
    _cut_out,
    _repeat_part,
    _splice,
    _overwrite_number,
    _overwrite_number,
    _overwrite_number,
)
