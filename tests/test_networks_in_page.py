"""The networks over the kernels, forward, held against torch; and which kernels a browser gets."""

import base64
import re

import numpy as np
import pytest
import torch

from deit_edu.data import drawn_pictures, load_dataset, normalise
from deit_edu.inspect import token_similarity
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.preprocess import Prepared, Preprocessing
from deit_edu.teachers import CONVNETS, as_head_logits, create_teacher
from deit_edu.widgets.bundle import FOLDER, bundled
from deit_edu.widgets.kernels.script import kernels_script, learning_script
from deit_edu.widgets.network import export, in_half_precision

VARIANTS = ("relaxed", "plain")
# One image after the other, as the figures ask; and all at once, in batches of 8, as a race asks its teacher.
RUN = """
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const binaries = { relaxed: new Uint8Array(), plain: KERNELS.plain, [given.variant]: KERNELS[given.variant] };
    const kernels = openKernels(binaries), network = openNetwork(given.manifest, new DataView(bytes(given.weights)));
    const images = new Float32Array(bytes(given.images)), size = images.length / given.count, said = [], together = [];
    const one = new NetworkOnKernels(kernels, network, size);
    const listed = (found) => [found.class, found.distillation].map((logits) => logits && Array.from(logits));
    let first;
    for (let i = 0; i < given.count; i++) {
        const found = one.forward(images.subarray(i * size, (i + 1) * size));
        first ??= found;
        said.push(listed(found));
    }
    const side = Math.sqrt(size / given.manifest.in_channels);
    const many = layOutNetwork(kernels, network, { size: side, batch: 8 });
    kernels.settle();
    many.load();
    for (let at = 0; at < given.count; at += 8) {
        const count = Math.min(8, given.count - at);
        kernels.numbers(many.images, count * size).set(images.subarray(at * size, (at + count) * size));
        together.push(listed(many.forward(count)));
    }
    return { variant: kernels.variant, said, together, similarity: first.similarity,
             attention: first.attention && Array.from(first.attention) };
"""


@pytest.fixture(scope="module")
def page(browser):
    opened = browser.new_page()
    source = kernels_script("../network.js", "kernels.js", "networks_in_page.js")
    yield lambda body, given: opened.evaluate(
        "([text, given]) => new Function('given', text)(given)", [source + body, given]
    )
    opened.close()


def answers(page, model, images, variant="relaxed"):
    """What the page says: ({head: (n, K)} one by one, the same in batches, and all that it gave)."""
    manifest, weights = export(model)
    pixels = np.ascontiguousarray(images.numpy(), "<f4").tobytes()
    given = {"manifest": manifest, "count": len(images), "variant": variant}
    given |= {"weights": base64.b64encode(weights).decode(), "images": base64.b64encode(pixels).decode()}
    found = page(RUN, given)
    assert found["variant"] == variant
    heads = [head for head in (0, 1) if found["said"][0][head]]
    one_by_one = [torch.tensor([said[head] for said in found["said"]]) for head in heads]
    batches = [torch.cat([torch.tensor(said[head]) for said in found["together"]]) for head in heads]
    return one_by_one, [logits.view(len(images), -1) for logits in batches], found


@torch.no_grad()
def in_torch(model, images):
    return [logits for logits in as_head_logits(in_half_precision(model)(images)) if logits is not None]


def assert_same(page, model, images, variant="relaxed", tolerance=1e-4):
    expected, (one_by_one, batches, found) = in_torch(model, images), answers(page, model, images, variant)
    assert len(one_by_one) == len(batches) == len(expected)
    for one, batch, logits in zip(one_by_one, batches, expected, strict=True):
        assert (one - logits).abs().max() < tolerance and (batch - logits).abs().max() < tolerance
        assert (one.argmax(1) == logits.argmax(1)).all()
    return found


@pytest.fixture(scope="module")
def clutter():
    return load_dataset("fashion_clutter").test.images[:200]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_packaged_networks_answer_as_in_torch_on_200_test_images(page, clutter, role, variant):
    model, seen = load_network(packaged_path(f"fashion_clutter_{role}"))
    images = normalise(clutter, seen["mean"], seen["std"])
    found = assert_same(page, model, images, variant)
    with torch.no_grad():
        exact = [logits for logits in as_head_logits(model(images)) if logits is not None]
    for head, logits in enumerate(exact):  # in full precision
        said = torch.tensor([answer[head] for answer in found["said"]])
        assert (said - logits).abs().max() < 5e-3 and (said.argmax(1) == logits.argmax(1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("role", ["student", "teacher", "strong_teacher"])
def test_the_networks_of_cifar10_answer_as_in_torch(page, role, variant):
    model, seen = load_network(packaged_path(f"cifar10_{role}"))
    assert_same(page, model, normalise(drawn_pictures()[0], seen["mean"], seen["std"]), variant)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [dict(image_size=12, patch_size=4, in_channels=3), dict(image_size=14, patch_size=7, in_channels=1, depth=1)],
)
def test_any_deit_runs_and_its_attention_is_torchs(page, distilled, sizes):
    torch.manual_seed(0)
    sizes = dict(num_classes=7, embed_dim=24, depth=3, num_heads=3) | sizes
    model = DeiT(DeiTConfig(**sizes, distilled=distilled)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(9, sizes["in_channels"], sizes["image_size"], sizes["image_size"])
    found, rounded = assert_same(page, model, images), in_half_precision(model)
    maps = rounded.attention_maps(images[:1])[:, 0].detach()  # (L, h, T, T)
    assert np.abs(np.array(found["attention"]).reshape(maps.shape) - maps.numpy()).max() < 1e-5
    expected = token_similarity(rounded, images[:1]).tolist() if distilled else []
    assert found["similarity"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", CONVNETS)
def test_any_convnet_runs_with_its_batch_norms(page, name):
    torch.manual_seed(0)
    model = create_teacher(name, 3, 5)
    torch.nn.init.normal_(model.head.bias)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(norm.weight)  # also below 0: the largest before it is not the largest after
    if name == "convnet_whitening":
        model.whiten(torch.randn(8, 3, 13, 13))
        torch.nn.init.normal_(model.whitening.bias)
    model.train()(torch.randn(8, 3, 13, 13))  # statistics that are not 0 and 1
    assert_same(page, model.eval(), torch.randn(11, 3, 13, 13))


BACKENDS = """
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const none = new Uint8Array(), image = new Float32Array(bytes(given.image)), said = {};
    for (const binaries of [undefined, { ...KERNELS, relaxed: none }, { relaxed: none, plain: none }]) {
        const { runs, open } = chooseBackend(binaries);
        const networks = given.networks.map(
            ({ manifest, weights }) => open(manifest, new DataView(bytes(weights))));
        networks.forEach((network) => network(image)); // both are laid out in one memory, one after the other
        said[runs] = networks.map((network) => Array.from(network(image).class));
    }
    return said;
"""


def test_every_browser_gets_the_same_answers_from_the_fastest_it_can_run(page):
    models = [load_network(packaged_path(f"fashion_clutter_{role}"))[0] for role in ("student", "teacher")]
    images = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    networks = [
        {"manifest": manifest, "weights": base64.b64encode(weights).decode()}
        for manifest, weights in map(export, models)
    ]
    said = page(BACKENDS, {"networks": networks, "image": base64.b64encode(images.numpy().tobytes()).decode()})
    assert list(said) == ["relaxed SIMD", "SIMD", "plain JavaScript"]
    for answers in said.values():
        for found, model in zip(answers, models, strict=True):
            assert (torch.tensor(found) - in_torch(model, images)[0][0]).abs().max() < 1e-4


# What a browser runs first, to be one that can do less.
LESS = {
    "relaxed SIMD": "",
    "SIMD": "{ const able = WebAssembly.validate; let n = 0; WebAssembly.validate = (code) => n++ > 0 && able(code); }",
    "plain JavaScript": "WebAssembly.validate = () => false;",
}
ASK = """async ([text, networks, questions]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    for (const { role, manifest, weights } of networks) {
        worker.postMessage({ role, manifest, weights: new DataView(bytes(weights)) });
    }
    const answers = [];
    for (const { pixels, shape } of questions) {
        answers.push(await new Promise((resolve, reject) => {
            worker.onmessage = ({ data }) => resolve(data);
            worker.onerror = ({ message }) => reject(new Error(message));
            worker.postMessage({ id: 1, pixels: new Float32Array(pixels), shape });
        }));
    }
    worker.terminate();
    return answers.map(({ runs, said }) => ({ runs, said: Object.fromEntries(Object.entries(said).map(
        ([role, one]) => [role, [one.class, one.distillation].map((logits) => logits && Array.from(logits))])) }));
}"""
SHIPPED = ("fashion_clutter_student", "fashion_clutter_teacher", "cifar10_student", "cifar10_teacher",
           "cifar10_strong_teacher")  # fmt: skip


@pytest.fixture(scope="module")
def shipped():
    """Every network that ships, and what the page gets of it."""
    models, networks = {name: load_network(packaged_path(name))[0] for name in SHIPPED}, []
    for role, model in models.items():
        manifest, weights = export(model, model.preprocessing)
        networks.append({"role": role, "manifest": manifest, "weights": base64.b64encode(weights).decode()})
    return {name: in_half_precision(model) for name, model in models.items()}, networks


@pytest.mark.parametrize("runs", LESS)
def test_the_figures_worker_answers_as_torch_for_every_network_that_ships(browser, shipped, runs):
    """All are asked about a grey and a coloured picture of 28 pixels, brought to what each takes."""
    models, networks = shipped
    pictures = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 255
    pictures = [pictures[:1, :1], pictures[1:]]
    questions = [{"pixels": one.flatten().tolist(), "shape": list(one.shape[1:])} for one in pictures]
    page = browser.new_page()
    answers = page.evaluate(ASK, [LESS[runs] + bundled(FOLDER / "worker.js"), networks, questions])
    page.close()
    for picture, answer in zip(pictures, answers, strict=True):
        assert answer["runs"] == runs
        C = picture.shape[1]
        given = Preprocessing((C, 28, 28), (0.0,) * C, (1.0,) * C)
        for role, model in models.items():
            with torch.no_grad():
                heads = as_head_logits(Prepared(model, model.preprocessing, given)(picture / 255))
            for found, logits in zip(answer["said"][role], heads, strict=True):
                assert (found is None) == (logits is None)
                assert logits is None or found == pytest.approx(logits[0].tolist(), abs=1e-3)


def test_the_scripts_of_workers_import_nothing():
    assert not re.search(r"^(import|export) |\bimport\(", learning_script(), re.M)
