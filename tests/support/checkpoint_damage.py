"""Ways in which the files of a checkpoint go wrong, drawn by a seeded random number."""

from __future__ import annotations

import json
import struct

import numpy as np

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
ODD_VALUES = [
    None, True, False, -1, 0, 1, 2, 7, 2**31, 10**9, 10**19, 1e308, 0.5, -0.5, "", "x", "auto",
    "float8", "relu", [], {}, [1], [0, 0], [3, 3, 3], {"a": 1}, {"height": 0, "width": 5},
    {"shortest_edge": 10**9}, "\ud800", "../../etc/passwd",
]  # fmt: skip
ODD_KEYS = [
    "x", "quantization_config", "is_decoder", "chunk_size_feed_forward", "auto_map", "id2label",
    "dtype", "backend", "image_processor_type", "added_tokens_decoder", "model_max_length",
    "add_cross_attention", "unk_token", "tokenizer_class", "num_hidden_layers",
]  # fmt: skip


def damage(name, data, random):
    """Return the bytes of a file with something wrong, by the kind of file that its name tells."""
    if name.endswith(".safetensors"):
        return _damaged_weights(data, random)
    if name.endswith(".json") and random.random() < 0.8:
        return _changed_json(data, random)
    return _damaged_bytes(data, random)


def _changed_json(data, random):
    value = json.loads(data)
    path = random.choice([path for path in _paths(value) if path])
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if random.random() < 0.2:
        del parent[path[-1]]
    elif isinstance(parent, dict) and random.random() < 0.2:
        parent[random.choice(ODD_KEYS)] = random.choice(ODD_VALUES)
    else:
        parent[path[-1]] = random.choice(ODD_VALUES)
    return json.dumps(value).encode()


def _paths(value, path=()):
    """Yield the path of each value in JSON, of long lists those of the first five."""
    yield path
    inner = value.items() if isinstance(value, dict) else []
    if isinstance(value, list):
        inner = list(enumerate(value))[:5]
    for key, part in inner:
        yield from _paths(part, (*path, key))


def _damaged_bytes(data, random):
    changed = bytearray(data)
    for _ in range(random.choice([1, 3, 10])):
        changed[random.randrange(min(len(changed), 4_000))] = random.randrange(256)
    return random.choice(
        [data[: random.randrange(len(data))], b"", LFS_POINTER, b"[1]", *[bytes(changed)] * 4]
    )


def _damaged_weights(data, random):
    size = struct.unpack("<Q", data[:8])[0]
    kind = random.randrange(12)
    if kind < 4:
        return _damaged_bytes(data, random)
    if kind == 4:
        wrong = random.choice([0, 1, 2**63, 2**40, size + 1, size - 1, 10**8])
        return struct.pack("<Q", wrong) + data[8:]
    header = json.loads(data[8 : 8 + size])
    name = random.choice([name for name in header if name != "__metadata__"])
    tensor = header[name]
    if kind == 5:
        tensor["dtype"] = random.choice(["F8_E4M3", "I8", "F16", "BF16", "X", "U8", "F64"])
    elif kind == 6:
        tensor["shape"] = random.choice([[0], [10**12], [-1], [], "x", [16, 16, 16]])
    elif kind == 7:
        tensor["data_offsets"] = random.choice([[0, 0], [5, 2], [0, 10**15], [-1, 4], [0, 4]])
    elif kind == 8:
        header["new.weight"] = dict(tensor)
    elif kind == 9:
        header["encoder.layer.0.attention.self.distance_embedding.weight"] = header.pop(name)
    elif kind == 10:
        del header[name]
    else:
        start = 8 + size + tensor["data_offsets"][0]
        bad = np.float32(random.choice(["nan", "inf", "-inf"])).tobytes()
        return data[:start] + bad + data[start + 4 :]
    return with_header(header, data[8 + size :])


def with_header(header, tensors):
    """Return a safetensors file of this header and these bytes."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors
