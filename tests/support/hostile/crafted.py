"""Files written by hand: headers that lie, bombs, and texts under a medium's name that point elsewhere."""

from __future__ import annotations

import struct
import zlib

from support.hostile.sources import sources_of, write_video


def crafted_files(kind, *, is_slice=False):
    """Return hand-made files of one kind, by a name that says what is wrong with each; the slice lacks what takes long."""
    if kind == "mp4":
        return {"empty": b"", **_videos(), **({} if is_slice else _long_videos())}
    makers = {
        "jpeg": _jpegs,
        "png": _pngs,
        "webp": _webps,
        "wav": _waves,
        "mp3": _mp3s,
        "flac": _flacs,
    }
    return {"empty": b"", **makers[kind]()}


def traps(secret, address):
    """Return texts that FFmpeg or Ghostscript would follow to the file ``secret`` and to the server at ``address``."""
    svg = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>"
    texts = {
        "ffconcat": f"ffconcat version 1.0\nfile 'file:{secret}'\nfile '{secret}'\n",
        "ffconcat with an address": f"ffconcat version 1.0\nfile {address}/a.mp4\n",
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{secret}\n#EXTINF:3,\n{address}/a.ts\n#EXT-X-ENDLIST\n",
        "hls with a key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{address}/k"\n#EXTINF:3,\nconcat:{secret}|{secret}\n',
        "hls of a subfile": f"#EXTM3U\n#EXTINF:3,\nsubfile,,start,0,end,99,,:{secret}\n",
        "m3u": f"{secret}\n{address}/a.mp3\n",
        "dash": f"<?xml version='1.0'?><MPD><Period><BaseURL>{address}/</BaseURL><BaseURL>file://{secret}</BaseURL></Period></MPD>",
        "svg": f"{svg}<image xlink:href='file://{secret}'/><image xlink:href='{address}/a.png'/></svg>",
        "postscript": f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({secret}) (r) file closefile showpage\n",
        "pdf": f"%PDF-1.4\n1 0 obj <</F ({secret}) /URI ({address})>> endobj\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio {address.rsplit(':')[-1]} RTP/AVP 0\n",
        "imagemagick": f"push graphic-context\nimage over 0,0 0,0 'url({address}/a)'\nimage over 0,0 0,0 '{secret}'\n",
        "avisynth": f'DirectShowSource("{secret}")\n',
        "rtsp redirect": f"[Reference]\nRef1={address}/a\nRef2=file://{secret}\n",
        "shebang": f"#!/bin/sh\ncat {secret}\n",
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "outside reference": _outside_reference(secret)
    }


def _outside_reference(secret):
    """Return a QuickTime file whose samples lie, it says, in another file."""
    data = bytearray(sources_of("mp4")[0])
    at = data.index(b"dref") + 12  # version and flags, the number of entries; then the one entry
    path = str(secret).encode() + b"\0"
    data[at : at + 12] = struct.pack(">I", 12 + len(path)) + b"url \0\0\0\0" + path
    return bytes(data)


def _chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png(width, height, *chunks, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _pngs():
    zeros = zlib.compress(bytes(50_000_000), 9)
    text = _chunk(b"zTXt", b"a\0\0" + zeros)
    dot = _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0"))
    return {
        "2^31 - 1 pixels wide": _png(2**31 - 1, 1, dot),
        "60,000 x 60,000": _png(60_000, 60_000, _chunk(b"IDAT", zeros)),
        "exactly the pixel cap": _png(
            8_000, 8_000, _chunk(b"IDAT", zlib.compress(bytes(8_000 * 24_001), 9))
        ),
        "64,000,000 x 1": _png(64_000_000, 1, _chunk(b"IDAT", zeros), depth=1, colour=0),
        "no pixels": _png(0, 0, dot),
        "text that unpacks to 50 MB": _png(1, 1, text, dot),
        "20 texts that unpack to 50 MB": _png(1, 1, *[text] * 20, dot),
        "profile that unpacks to 50 MB": _png(1, 1, _chunk(b"iCCP", b"a\0\0" + zeros), dot),
        "100,000 empty chunks": _png(1, 1, *[_chunk(b"tEXt", b"")] * 100_000, dot),
        "2^32 - 1 frames": _png(1, 1, _chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0)), dot),
        "a palette image without palette": _png(4, 4, dot, colour=3),
        "depth 16 of palette": _png(4, 4, dot, depth=16, colour=3),
        "EXIF that points at itself": _png(1, 1, _chunk(b"eXIf", _circular_exif()), dot),
    }


def _circular_exif():
    """Return an EXIF block whose directories, EXIF and GPS pointers all name the first directory, 65,535 entries long."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005))
    orientation = struct.pack("<HHII", 0x0112, 3, 2**32 - 1, 2**31)
    return b"II*\0" + struct.pack("<IH", 8, 65_535) + entries + orientation + struct.pack("<I", 8)


def _jpegs():
    plain = sources_of("jpeg")[0]
    frame = plain.index(b"\xff\xc0")
    exif = b"Exif\0\0" + _circular_exif()

    def sized(height, width):
        return plain[: frame + 5] + struct.pack(">HH", height, width) + plain[frame + 9 :]

    def with_segment(marker, body):
        return (
            plain[:2]
            + b"\xff"
            + bytes([marker])
            + struct.pack(">H", len(body) + 2)
            + body
            + plain[2:]
        )

    orientations = {
        f"orientation {number}": with_segment(
            0xE1, b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, number, 0)
        )
        for number in (0, 9, 65_535)
    }
    return {
        "65,535 x 65,535": sized(65_535, 65_535),
        "8,000 x 8,000": sized(8_000, 8_000),
        "no height": sized(0, 96),
        "EXIF that points at itself": with_segment(0xE1, exif),
        "1,000 EXIF blocks": plain[:2]
        + with_segment(0xE1, exif)[2 : -len(plain) + 2] * 1_000
        + plain[2:],
        "1,000 profile parts": plain[:2]
        + (b"\xff\xe2\x00\x12ICC_PROFILE\0\x01\xff") * 1_000
        + plain[2:],
        "photo directory that points outside": with_segment(
            0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"
        ),
        "only markers": b"\xff\xd8\xff" + b"\xff" * 200_000,
        "comment of a declared length and no more": b"\xff\xd8\xff\xfe\xff\xff",
        **orientations,
    }


def _webps():
    def riff(*chunks):
        body = b"WEBP" + b"".join(
            name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
            for name, data in chunks
        )
        return b"RIFF" + struct.pack("<I", len(body)) + body

    def canvas(flags):
        return (b"VP8X", struct.pack("<I", flags) + b"\xff\x3f\0" * 2)  # 16,384 x 16,384

    frame = (
        b"ANMF",
        bytes(6)
        + b"\xff\x3f\0" * 2
        + bytes(4)
        + b"VP8L"
        + struct.pack("<I", 5)
        + b"/\xff\xff\xff\xff\0",
    )
    return {
        "16,384 x 16,384, still": riff(canvas(0), (b"VP8L", b"/\xff\xff\xff\x0f" + bytes(40))),
        "16,384 x 16,384, animated": riff(canvas(2), (b"ANIM", bytes(6)), frame),
        "20,000 frames": riff(
            (b"VP8X", struct.pack("<I", 2) + bytes(6)), (b"ANIM", bytes(6)), *[frame] * 20_000
        ),
        "RIFF in RIFF": riff((b"RIFF", riff((b"RIFF", b"")))),
        "no chunk": riff(),
    }


def _atom(name, *parts):
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def _videos():
    plain = sources_of("mp4")[0]

    def changed(name, offset, form, *values):
        data = bytearray(plain)
        struct.pack_into(form, data, data.index(name) + offset, *values)
        return bytes(data)

    nested = b""
    for _ in range(5_000):
        nested = _atom(b"moov", nested)
    return {
        "65,535 x 65,535 in the header": changed(b"avc1", 28, ">HH", 65_535, 65_535),
        "2^32 - 1 samples": changed(b"stsz", 12, ">I", 2**32 - 1),
        "2^32 - 1 times": changed(b"stts", 8, ">I", 2**32 - 1),
        "2^32 - 1 chunks": changed(b"stco", 8, ">I", 2**32 - 1),
        "one time of 2^32 - 1 frames": changed(b"stts", 12, ">II", 2**32 - 1, 2**32 - 1),
        "samples of 2^32 - 1 bytes": changed(b"stsz", 8, ">I", 2**32 - 1),
        "no time base": changed(b"mdhd", 16, ">I", 0),
        "a time base of 2^32 - 1": changed(b"mdhd", 16, ">I", 2**32 - 1),
        "a duration of 2^32 - 1": changed(b"mdhd", 20, ">I", 2**32 - 1),
        "an edit list into the future": changed(b"elst", 12, ">Ii", 2**32 - 1, 2**31 - 1),
        "chunks beyond the end": changed(b"stco", 12, ">I", 2**32 - 16),
        "atom of no length": changed(b"moov", -4, ">I", 0),
        "atom of length 1": changed(b"moov", -4, ">I", 1),
        "5,000 nested atoms": plain[:32] + nested,
        "100,000 empty atoms": plain[:32] + _atom(b"free") * 100_000 + plain[32:],
        "300 tracks": plain[:32]
        + _atom(b"moov", *[plain[plain.index(b"trak") - 4 : plain.index(b"udta") - 4]] * 300),
        "a matrix of nonsense": changed(b"tkhd", 44, ">9i", *[2**31 - 1, -(2**31), 7] * 3),
        "only a file type": plain[:32],
    }


def _long_videos():
    return {
        "8,000 x 7,984 pixels": write_video("mpeg4", size=(8_000, 7_984), frame_count=2, rate=1),
        "16,384 x 8,192 pixels": write_video(
            "mjpeg", size=(16_384, 8_192), frame_count=1, pixel_format="yuvj420p"
        ),
        "1,000 frames a second": write_video("mpeg4", frame_count=4_000, rate=1_000),
    }


def _waves():
    def wave(*, channels=1, rate=16_000, bits=16, code=1, said=None, data=bytes(40_000), extra=b""):
        form = struct.pack(
            "<HHIIHH",
            code,
            channels,
            rate,
            rate * channels * bits // 8 % 2**32,
            channels * bits // 8 % 2**16,
            bits,
        )
        said = len(data) if said is None else said
        chunks = (
            b"fmt "
            + struct.pack("<I", len(form))
            + form
            + extra
            + b"data"
            + struct.pack("<I", said)
            + data
        )
        return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks

    return {
        "2^31 bytes": wave(said=2**31),
        "2^32 - 1 bytes": wave(said=2**32 - 1),
        "65,535 channels": wave(channels=65_535),
        "4,000 channels": wave(channels=4_000, data=bytes(4_000_000)),
        "64 channels": wave(channels=64, data=bytes(2_000_000)),
        "no channel": wave(channels=0),
        "rate 0": wave(rate=0),
        "rate 1": wave(rate=1),
        "rate 2^32 - 1": wave(rate=2**32 - 1),
        "rate 767,999": wave(rate=767_999, data=bytes(4_000_000)),
        "0 bits": wave(bits=0),
        "65,535 bits": wave(bits=65_535),
        "floats that are no numbers": wave(
            code=3, bits=32, data=struct.pack("<f", float("nan")) * 10_000
        ),
        "floats without end": wave(code=3, bits=32, data=struct.pack("<f", float("inf")) * 10_000),
        "unknown code": wave(code=0xFFFE),
        "a chunk of 4 GB": wave(extra=b"LIST" + struct.pack("<I", 2**32 - 1)),
        "100,000 chunks": wave(extra=b"junk\0\0\0\0" * 100_000),
        "nothing in it": wave(data=b""),
        "one sample": wave(data=b"\0\0"),
    }


def _mp3s():
    plain = sources_of("mp3")[0]
    frame = plain[plain.index(b"\xff\xf3") :]

    def tagged(size, body):
        synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
        return b"ID3\x03\0\0" + synchsafe + body

    picture = b"APIC" + struct.pack(">I", 2**31 - 1) + b"\0\0\0image/png\0\x03\0"
    return {
        "tag of 256 MB": tagged(2**28 - 1, bytes(1_000)) + frame,
        "picture of 2 GB": tagged(1_000, picture.ljust(1_000, b"\0")) + frame,
        "100 tags": tagged(10, bytes(10)) * 100 + frame,
        "10,000 text frames": tagged(
            120_000, (b"TXXX" + struct.pack(">I", 2) + b"\0\0\0a") * 10_000
        )
        + frame,
        "only a tag": tagged(1_000, bytes(1_000)),
        "sync words without end": b"\xff\xfb" * 200_000,
        "one header": frame[:4],
        "layer and rate reserved": bytes([0xFF, 0xE9, 0xFF, 0xFF]) * 10_000,
    }


def _flacs():
    plain = sources_of("flac")[0]

    def info(rate, channels, bits, samples):
        packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples
        return plain[:18] + struct.pack(">Q", packed) + plain[26:]

    comment = b"\0\0\0\0" + struct.pack("<I", 2**32 - 1)
    return {
        "2^36 - 1 samples": info(16_000, 1, 16, 2**36 - 1),
        "rate 0": info(0, 1, 16, 24_000),
        "rate 2^20 - 1": info(2**20 - 1, 1, 16, 24_000),
        "8 channels of 32 bits": info(16_000, 8, 32, 24_000),
        "1 bit": info(16_000, 1, 1, 24_000),
        "2^32 - 1 comments": plain[:42]
        + b"\x04"
        + len(comment).to_bytes(3, "big")
        + comment
        + plain[42:],
        "picture of 16 MB": plain[:42] + b"\x06\xff\xff\xff" + plain[42:],
        "10,000 paddings": plain[:42] + b"\x01\0\0\0" * 10_000 + plain[42:],
        "no frame": plain[:42],
    }
