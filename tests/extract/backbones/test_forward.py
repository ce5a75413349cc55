"""One forward per batch, launched and waited for: what it computes, what it leaves out, what it does without memory."""

import gc
import shutil
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import load_backbone
from crossan.extract.backbones.batches import within_memory
from support.counts import of_full

CPU = torch.device("cpu")


def load(tiny, family, **options):
    modality, folder = tiny[family]
    return load_backbone(modality, str(folder), **{"device": "cpu", **options})


def count_calls(modules):
    """Return a list that grows by a module's number whenever it has run."""
    calls = []
    for number, module in enumerate(modules):
        module.register_forward_hook(lambda *_, number=number: calls.append(number))
    return calls


def prepared_titles(backbone):
    return [
        backbone.prepare(title)
        for title in ("a red fox", "x", "many more words than the other two have")
    ]


def test_begin_and_encode_give_the_same(tiny):
    backbone = load(tiny, "bert")
    batch = prepared_titles(backbone)
    first, second = backbone.begin(batch), backbone.begin(batch[:1])
    assert np.array_equal(first(), backbone.encode(batch))
    assert second().shape == (1, 7, 32)
    assert first().dtype == np.float32


@pytest.mark.parametrize(
    ("layers", "ran"), [("0", []), ("0,3", [0, 1, 2]), ("2,5", [0, 1, 2, 3, 4]), ("all", range(12))]
)
def test_the_forward_ends_with_the_last_kept_layer(tiny, layers, ran):
    backbone = load(tiny, "vit", layers=layers, pooling="mean")
    norms = count_calls([backbone.model.layernorm])
    calls = count_calls(backbone.blocks)
    batch = [backbone.prepare(np.full((40, 40, 3), grey, np.uint8)) for grey in (0, 90, 200)]
    found = backbone.encode(batch)
    assert calls == list(ran)
    assert norms == []
    whole = load(tiny, "vit", layers="all", pooling="mean").encode(batch)
    assert np.array_equal(found, whole[:, list(backbone.layers)])


def test_one_forward_whatever_the_number_of_kept_layers_and_no_hook_left(tiny):
    backbone = load(tiny, "bert", layers="all")
    starts = []
    backbone.model.register_forward_pre_hook(lambda *_: starts.append(1))
    calls = count_calls(backbone.blocks)
    for _ in range(3):
        backbone.encode(prepared_titles(backbone))
    assert len(starts) == 3
    assert calls == [*range(12)] * 3
    assert all(
        len(block._forward_hooks) == 1 and not block._forward_pre_hooks for block in backbone.blocks
    )  # ours, above


def test_a_mask_is_given_only_where_there_is_padding(tiny):
    backbone = load(tiny, "bert", pooling="mean")
    padded, is_real = backbone.model_inputs(prepared_titles(backbone))
    assert padded["attention_mask"].sum(dim=1).tolist() == is_real.sum(dim=1).tolist()
    alone, is_real = backbone.model_inputs(prepared_titles(backbone)[:1])
    assert list(alone) == ["input_ids"]
    assert is_real.all()


class Hungry(nn.Module):
    """Asks for more memory than any machine has."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden, *args, **kwargs):
        self.seen = weakref.ref(hidden)
        torch.empty(2**60)
        return hidden


def test_a_forward_without_memory_is_a_memory_error_and_leaves_nothing_behind(tiny):
    backbone = load(tiny, "bert", layers="0,1")
    batch = prepared_titles(backbone)
    expected = backbone.encode(batch)
    block = backbone.blocks[0]
    hungry = Hungry(block)
    plain, block.forward = block.forward, hungry.forward
    with pytest.raises(
        MemoryError, match="no memory left on cpu for a batch of 3 items of text: .*allocate"
    ) as caught:
        backbone.begin(batch)
    gc.collect()
    assert caught.value.__context__ is None
    assert (
        hungry.seen() is None
    )  # the tensors of the failed forward are gone while the error is still at hand
    block.forward = plain
    assert np.array_equal(backbone.encode(batch), expected)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_every_way_to_be_out_of_memory_is_a_memory_error_of_one_line(error):
    def fetch():
        raise error

    with pytest.raises(MemoryError) as caught:
        within_memory(fetch, CPU, "a batch")
    assert str(caught.value) == f"no memory left on cpu for a batch: {str(error).splitlines()[0]}"


def test_another_error_of_the_forward_stays_what_it_is():
    def fail():
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="^shapes cannot be multiplied$"):
        within_memory(fail, CPU, "a batch")


@pytest.mark.slow
@pytest.mark.parametrize("family", of_full(["bert", "vit"], ["bert"]))
def test_compiled_blocks_agree(tiny, family):
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler, there is no g++ here")
    torch.compiler.reset()
    plain, compiled = (
        load(tiny, family, layers="0,1,2"),
        load(tiny, family, layers="0,1,2", is_compiled=True),
    )
    if family == "bert":
        batches = [prepared_titles(plain), prepared_titles(plain)[:2], prepared_titles(plain)[2:]]
    else:
        pictures = [plain.prepare(np.full((40, 40, 3), grey, np.uint8)) for grey in (0, 90, 200)]
        batches = [pictures, pictures[:2]]
    for batch in batches:
        np.testing.assert_allclose(
            compiled.encode(batch), plain.encode(batch), rtol=1e-5, atol=1e-5
        )
    assert compiled.provenance()["is_compiled"]
    assert compiled.identity("float16", "raw") == plain.identity("float16", "raw")
    assert not hasattr(
        compiled.blocks[2].forward, "_torchdynamo_orig_callable"
    )  # after the last kept layer


def test_compiling_without_a_compiler_is_refused_at_once(tiny, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UsageError, match="--compile: expected a C.. compiler, found no no-such-compiler"
    ):
        load(tiny, "vit", is_compiled=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(
    "family", ["bert", "vit", "audio-spectrogram-transformer", "videomae", "vivit"]
)
def test_cuda_gives_what_the_cpu_gives(tiny, family):
    here, there = load(tiny, family), load(tiny, family, device="cuda")
    random = np.random.default_rng(0)
    media = {
        Modality.TEXT: ["a red fox", "x"],
        Modality.IMAGE: list(random.integers(0, 256, (2, 50, 40, 3), np.uint8)),
        Modality.VIDEO: list(
            random.integers(0, 256, (2, here.frame_count or 0, 50, 40, 3), np.uint8)
        ),
        Modality.AUDIO: [
            random.normal(0, 0.1, count).astype(np.float32) for count in (9_000, 20_000)
        ],
    }[here.modality]
    batch = [here.prepare(medium) for medium in media]
    ours, theirs = here.model_inputs(batch)[0], there.model_inputs(batch)[0]
    for name, tensor in ours.items():
        exact = here.modality is not Modality.AUDIO
        torch.testing.assert_close(theirs[name].cpu(), tensor, rtol=0, atol=0 if exact else 1e-5)
    results = [there.begin(batch) for _ in range(3)]
    for result in results:
        np.testing.assert_allclose(result(), here.encode(batch), rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_goes_on_after_a_batch_that_did_not_fit(tiny, monkeypatch):
    backbone = load(tiny, "vit", device="cuda")
    batch = [backbone.prepare(np.full((40, 40, 3), grey, np.uint8)) for grey in (0, 90)]
    block = backbone.blocks[0]
    with monkeypatch.context() as patch:
        patch.setattr(block, "forward", lambda hidden, *_, **__: torch.empty(2**50, device="cuda"))
        with pytest.raises(MemoryError, match="no memory left on cuda"):
            backbone.begin(batch)
    assert backbone.encode(batch).shape == (2, 7, 32)
