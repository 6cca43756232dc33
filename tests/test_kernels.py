"""The kernels that run in the page, held against torch: the same binaries, run by wasmtime, without a browser."""

import importlib.metadata
import math
import re
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deit_edu.errors import DeiTEduError
from deit_edu.widgets.kernels import build
from deit_edu.widgets.kernels.build import BINARIES, FOLDER, compiled

wasmtime = pytest.importorskip("wasmtime")
PAGE = 65536
SHAPES = [(1, 1, 1), (4, 8, 8), (5, 3, 9), (18, 16, 18), (7, 33, 10), (64, 257, 17), (3, 600, 5)]  # n, k, m


class Kernels:
    """One binary, and a memory that its arguments are put into: `put` and `room` give places, `get` reads one."""

    def __init__(self, name):
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        self.memory = wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(256, 256)))
        module = wasmtime.Module(engine, (FOLDER / name).read_bytes())
        self.exports = wasmtime.Instance(self.store, module, [self.memory]).exports(self.store)
        self.reset()

    def reset(self):
        self.free = self.exports["__heap_base"].value(self.store)

    def put(self, array):
        values = np.ascontiguousarray(array, "<f4")
        at = self.room(values.size)
        self.memory.write(self.store, values.tobytes(), at)
        return at

    def room(self, count):
        """Room for `count` numbers, and after it a fence that `get` finds where it was."""
        at, self.free = self.free, self.free + 4 * count + 64
        self.memory.write(self.store, b"\xff" * (4 * count) + b"fence---" * 8, at)
        return at

    def get(self, at, *shape):
        end = at + 4 * math.prod(shape)
        assert self.memory.read(self.store, end, end + 64) == b"fence---" * 8, "written past the end"
        return torch.tensor(np.frombuffer(bytes(self.memory.read(self.store, at, end)), "<f4").reshape(shape).copy())

    def __getattr__(self, name):
        return lambda *arguments: self.exports[name](self.store, *arguments)

    def product(self, a, b, transpose_a=False, transpose_b=False, start=None, bias=None):
        """A B, A^T B or A B^T of tensors, as the page asks for them."""
        (n, k), m = a.T.shape if transpose_a else a.shape, b.shape[0] if transpose_b else b.shape[1]
        panels, c = self.room(-(-m // 8) * 8 * k), self.room(n * m) if start is None else self.put(start)
        self.pack(self.put(b), panels, k, m, *((1, k) if transpose_b else (m, 1)))
        steps = (1, n) if transpose_a else (k, 1)
        bias = 0 if bias is None else self.put(bias)
        self.exports["product"](self.store, self.put(a), *steps, panels, c, m, n, k, m, 0 if start is None else c, bias)
        return self.get(c, n, m)


@pytest.fixture(scope="module", params=BINARIES)
def loaded(request):
    return Kernels(request.param)


@pytest.fixture
def kernels(loaded):
    torch.manual_seed(0)
    loaded.reset()
    return loaded


def near(found, expected, tolerance=1e-5):
    """Equal to within `tolerance` of the largest number there is."""
    assert torch.isfinite(expected).all()
    return (found - expected).abs().max() <= tolerance * max(expected.abs().max().item(), 1e-30)


def any_shapes(count, *largest):
    random = np.random.RandomState(0)
    return [tuple(int(random.randint(1, most + 1)) for most in largest) for _ in range(count)]


# ---- the binaries ----


@pytest.mark.parametrize("name", BINARIES)
def test_the_binary_is_what_kernels_c_compiles_to(name):
    pytest.importorskip("ziglang", reason="ziglang is not installed: the binaries were NOT compiled again")
    pinned = re.search(r"^ziglang==(.+)$", (FOLDER.parents[2] / "constraints.txt").read_text(), re.M)[1]
    if importlib.metadata.version("ziglang") != pinned:
        pytest.skip(f"the binaries are compiled by ziglang {pinned}: another version was NOT compared")
    assert compiled(name) == (FOLDER / name).read_bytes(), "run python -m deit_edu.widgets.kernels.build"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("python: No module named ziglang", "the compiler is missing: pip install ziglang -c constraints.txt"),
        ("kernels.c:7: error: no semicolon", "kernels.c does not compile:\nkernels.c:7: error: no semicolon"),
    ],
)
def test_what_cannot_be_compiled_is_said(said, message, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(build.subprocess, "run", lambda *given, **named: failed)
    with pytest.raises(DeiTEduError) as raised:
        compiled("kernels.wasm")
    assert str(raised.value) == message


def test_the_build_writes_both_binaries(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    monkeypatch.setattr(build, "compiled", lambda name: name.encode())
    build.main()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: name for name in BINARIES}
    assert capsys.readouterr().out == "kernels.wasm: 12 bytes\nkernels_relaxed.wasm: 20 bytes\n"


@pytest.mark.parametrize("name", BINARIES)
def test_the_binary_is_small_and_needs_nothing_but_a_memory(name):
    data = (FOLDER / name).read_bytes()
    assert len(data) <= 16 * 1024
    imports = wasmtime.Module(wasmtime.Engine(), data).imports
    assert [(wanted.module, wanted.name) for wanted in imports] == [("env", "memory")]


def test_the_source_stays_readable():
    lines = (FOLDER / "kernels.c").read_text().splitlines()
    assert len(lines) <= 400 and max(map(len, lines)) <= 120


# ---- products ----


@pytest.mark.parametrize("shape", SHAPES + any_shapes(12, 40, 70, 40))
def test_products_and_their_transposes_are_torchs(kernels, shape):
    n, k, m = shape
    a, b = torch.randn(n, k), torch.randn(k, m)
    assert near(kernels.product(a, b), a @ b)
    assert near(kernels.product(a.T.contiguous(), b, transpose_a=True), a @ b)
    assert near(kernels.product(a, b.T.contiguous(), transpose_b=True), a @ b)
    assert near(kernels.product(a, b, start=torch.ones(n, m), bias=torch.arange(m)), a @ b + 1 + torch.arange(m))


def test_a_product_keeps_to_its_columns_of_a_wider_matrix(kernels):
    a, b, wide = torch.randn(6, 5), torch.randn(5, 7), torch.randn(6, 20)
    panels, c = kernels.room(5 * 8), kernels.put(wide)
    kernels.pack(kernels.put(b), panels, 5, 7, 7, 1)
    kernels.exports["product"](kernels.store, kernels.put(a), 5, 1, panels, c + 4 * 9, 20, 6, 5, 7, 0, 0)
    wide[:, 9:16] = a @ b
    assert near(kernels.get(c, 6, 20), wide)


@pytest.mark.parametrize("size", [1e-20, 1e15])
def test_products_of_tiny_and_of_large_numbers(kernels, size):
    a, b = size * torch.randn(9, 13), size * torch.randn(13, 11)
    if size < 1:
        b = b / size  # both tiny: the products would be below what float32 can hold
    assert near(kernels.product(a, b), a @ b)
    assert not kernels.product(torch.zeros(9, 13), b).any()


@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (18, 64), (33, 7)])
def test_the_sums_of_columns(kernels, n, m):
    x, sums = torch.randn(n, m), kernels.room(m)
    kernels.sum_rows(kernels.put(x), sums, n, m)
    assert near(kernels.get(sums, m), x.sum(0))


# ---- softmax and attention ----


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (5, 3), (18, 18), (7, 51)])
def test_softmax_and_its_gradient(kernels, n, m, size):
    x, g = (size * torch.randn(n, m)).requires_grad_(), torch.randn(n, m)
    expected = x.softmax(dim=1)
    expected.backward(g)
    p, back = kernels.put(x.detach()), kernels.put(g)
    kernels.softmax(p, n, m)
    assert near(kernels.get(p, n, m), expected.detach(), 1e-6)
    kernels.softmax_backward(p, back, n, m)
    assert (kernels.get(back, n, m) - x.grad).abs().max() < 2e-6


def test_softmax_passes_on_what_is_no_number(kernels):
    p = kernels.put(torch.tensor([[0.0, math.nan, 1.0]]))
    kernels.softmax(p, 1, 3)
    assert kernels.get(p, 1, 3).isnan().all()


@pytest.mark.parametrize(
    ("images", "tokens", "queries", "heads", "d"),
    [(1, 1, 1, 1, 1), (2, 18, 18, 4, 16), (3, 11, 2, 3, 5), (2, 51, 51, 2, 24)],
)
def test_attention_and_its_gradient(kernels, images, tokens, queries, heads, d):
    qkv = torch.randn(images, tokens, 3, heads, d, requires_grad=True)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    expected = (q[:, :, :queries] @ k.transpose(-2, -1) / d**0.5).softmax(dim=-1)  # (B, h, queries, T)
    answers = (expected @ v).transpose(1, 2)  # (B, queries, h, d)
    g = torch.randn(answers.shape)
    answers.backward(g)
    sizes, work = (images, tokens, queries, heads, d), kernels.room((tokens + 8) * (d + 8) + queries * tokens)
    given, weights, said = kernels.put(qkv.detach()), kernels.room(expected.numel()), kernels.room(answers.numel())
    kernels.attention(given, weights, said, *sizes, work)
    assert near(kernels.get(weights, *expected.shape), expected.detach())
    assert near(kernels.get(said, *answers.shape), answers.detach())
    back = kernels.room(qkv.numel())
    kernels.attention_backward(given, weights, kernels.put(g), back, *sizes, work)
    assert near(kernels.get(back, *qkv.shape), qkv.grad)


# ---- layer norm, GELU and the rest between two products ----


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize(("n", "D"), [(1, 1), (5, 3), (7, 64), (4, 30)])
def test_layer_norm_and_its_gradient(kernels, n, D, size):
    x = size * torch.randn(n, D) + size
    x[0] = 0  # a row of zeros
    x.requires_grad_()
    gain, bias = (torch.randn(D, requires_grad=True) for _ in range(2))
    expected, g, before = F.layer_norm(x, (D,), gain, bias, 1e-6), torch.randn(n, D), torch.randn(n, D)
    expected.backward(g)
    y, z, scale, dx, d_gain, d_bias = (kernels.room(count) for count in (n * D, n * D, n, n * D, D, D))
    own = kernels.put(gain.detach())
    kernels.layer_norm(kernels.put(x.detach()), own, kernels.put(bias.detach()), y, z, scale, n, D)
    assert near(kernels.get(y, n, D), expected.detach(), 2e-5)
    dx = kernels.put(torch.zeros(n, D))
    kernels.layer_norm_backward(kernels.put(g), own, z, scale, dx, d_gain, d_bias, n, D)
    for row, wanted in zip(kernels.get(dx, n, D), x.grad, strict=True):  # a row of zeros has a scale of its own: 1000
        assert (row - wanted).abs().max() <= 5e-5 * max(wanted.abs().max(), g.abs().max() * x.grad.new_tensor(1 / size))
    assert near(kernels.get(d_gain, D), gain.grad, 5e-5) and near(kernels.get(d_bias, D), bias.grad)
    dx = kernels.put(before)  # a gradient is added to what came by the other way
    kernels.layer_norm_backward(kernels.put(g), own, z, scale, dx, d_gain, d_bias, n, D)
    assert near(kernels.get(dx, n, D), before + x.grad, 5e-5)


def test_gelu_is_the_exact_one_with_its_slope(kernels):
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, 1e-20, -1e-20, 1e4, -1e4, 3e38])]).requires_grad_()
    expected = F.gelu(x.double())  # in float32, with AVX-512 and for seven numbers or more, torch has inf for 3e38
    expected.sum().backward()
    n, given = len(x), kernels.put(x.detach())
    y, slope = kernels.room(n), kernels.room(n)
    kernels.gelu(given, y, slope, n)
    apart = (kernels.get(y, n) - expected.detach()).abs()
    assert (apart <= 1e-6 * x.detach().abs().clamp(max=1) + 2e-7 * x.detach().abs()).all()
    assert (kernels.get(slope, n) - x.grad).abs().max() < 2e-6
    kernels.gelu(given, given, 0, n)  # in place, without the slope
    assert (kernels.get(given, n) == kernels.get(y, n)).all()


@pytest.mark.parametrize("n", [1, 4, 7, 30])
def test_products_and_cuts_number_by_number(kernels, n):
    x, y = torch.randn(2, n)
    product, alone, joined = (kernels.put(x) for _ in range(3))
    kernels.multiply(product, kernels.put(y), n)
    assert near(kernels.get(product, n), x * y)
    kernels.relu(alone, 0, n)
    kernels.relu(joined, kernels.put(y), n)
    assert (kernels.get(alone, n) == x.relu()).all() and (kernels.get(joined, n) == (x + y).relu()).all()


# ---- pictures ----


@pytest.mark.parametrize(("count", "C", "S", "P", "prefix"), [(2, 1, 14, 7, 1), (3, 3, 12, 4, 2), (1, 2, 9, 3, 2)])
def test_patches_are_those_of_the_patch_embedding(kernels, count, C, S, P, prefix):
    images, weight = torch.randn(count, C, S, S), torch.randn(5, C, P, P)
    tokens, inner = prefix + (S // P) ** 2, C * P * P
    patches = kernels.room(count * tokens * inner)
    kernels.patchify(kernels.put(images), patches, count, C, S, P, prefix)
    found = kernels.get(patches, count, tokens, inner)
    assert not found[:, :prefix].any()
    expected = F.conv2d(images, weight, stride=P).flatten(2).transpose(1, 2)
    assert near(found[:, prefix:] @ weight.flatten(1).T, expected)


@pytest.mark.parametrize(
    ("count", "S", "C", "K", "k", "stride", "pad"),
    [
        (1, 1, 1, 1, 1, 1, 0),
        (3, 13, 3, 5, 3, 1, 1),
        (2, 14, 4, 9, 3, 2, 1),
        (2, 7, 6, 8, 1, 2, 0),
        (5, 8, 3, 24, 2, 1, 0),
    ],
)
@pytest.mark.parametrize("rows", [1, 4, 100])
def test_a_convolution_is_torchs(kernels, count, S, C, K, k, stride, pad, rows):
    x, weight, bias = torch.randn(count, C, S, S), torch.randn(K, C, k, k), torch.randn(K)
    expected = F.conv2d(x, weight, bias, stride, pad).permute(0, 2, 3, 1)
    inner, panels, y = k * k * C, kernels.room(-(-K // 8) * 8 * k * k * C), kernels.room(expected.numel())
    kernels.pack(kernels.put(weight.permute(0, 2, 3, 1)), panels, inner, K, 1, inner)
    work = kernels.room(rows * expected.shape[2] * inner)
    last = kernels.put(x.permute(0, 2, 3, 1))
    kernels.convolution(last, panels, kernels.put(bias), y, count, S, C, K, k, stride, pad, work, rows)
    assert near(kernels.get(y, *expected.shape), expected)
    kernels.get(work, rows * expected.shape[2] * inner)  # nothing was written past its room


@pytest.mark.parametrize(("count", "S", "C"), [(1, 2, 1), (3, 13, 5), (2, 8, 24)])
def test_pooling_and_batch_norm_are_torchs(kernels, count, S, C):
    x, scale, shift = torch.randn(count, C, S, S) - 1, torch.randn(C), torch.randn(C)
    last, pooled = x.permute(0, 2, 3, 1), F.max_pool2d(x, 2).permute(0, 2, 3, 1)
    given, y, one = kernels.put(last), kernels.room(pooled.numel()), kernels.room(count * C)
    kernels.max_pool(given, y, count, S, C)
    assert (kernels.get(y, *pooled.shape) == pooled).all()
    kernels.pool_all(given, one, count, S * S, C, 1)
    assert (kernels.get(one, count, C) == x.amax(dim=(2, 3))).all()
    kernels.pool_all(given, one, count, S * S, C, 0)
    assert near(kernels.get(one, count, C), x.mean(dim=(2, 3)))
    kernels.scale_and_shift(given, kernels.put(scale), kernels.put(shift), count * S * S, C)
    assert near(kernels.get(given, *last.shape), last * scale + shift)


# ---- AdamW ----


@pytest.mark.parametrize("n", [1, 6, 64])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adamw_takes_torchs_steps(kernels, n, decay):
    start = torch.randn(n)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW([parameter], lr=0.0, weight_decay=decay, eps=1e-8)
    x, mean, square = kernels.put(start), kernels.put(torch.zeros(n)), kernels.put(torch.zeros(n))
    for step in range(1, 21):
        g, rate = torch.randn(n) * 10.0 ** (step % 5 - 3), 1e-3 * step
        if step == 7:
            g = torch.zeros(n)
        parameter.grad, optimizer.param_groups[0]["lr"] = g, rate
        optimizer.step()
        kernels.adamw(x, kernels.put(g), mean, square, n, rate, decay, 1 - 0.9**step, 1 - 0.999**step)
    assert near(kernels.get(x, n), parameter.detach())
