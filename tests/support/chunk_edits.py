"""Chunks with other bytes that a checksum, or every digest, agrees with."""

from __future__ import annotations

from crossan.common.stores.checksums import crc32c
from support.redigest import redigest

GENERATOR = 0x11EDC6F41
"""The polynomial of CRC32C, x^32 first: adding a multiple of it keeps the sum."""


def unseen_edit(data, first_bit):
    """Return a chunk file's bytes with the same CRC32C and 17 other bits, from one on."""
    edited = bytearray(data)
    for power in range(33):
        if GENERATOR >> (32 - power) & 1:
            bit = first_bit + power  # the sum takes the lowest bit of a byte first
            edited[bit // 8] ^= 1 << bit % 8
    return bytes(edited)


def put_bits(chunk, start, bits):
    """Put bytes into a chunk file, and make every digest of its store fit."""
    payload = chunk.read_bytes()[:-4]
    payload = payload[:start] + bits + payload[start + len(bits) :]
    chunk.write_bytes(payload + crc32c(payload).to_bytes(4, "little"))
    redigest(chunk.parents[6])  # segments/ID/hidden_states/c/N/0/0
