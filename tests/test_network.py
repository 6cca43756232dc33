"""The networks in plain JavaScript, for a browser without SIMD, held against torch."""

import base64
import re

import numpy as np
import pytest
import torch

from deit_edu.data import drawn_pictures, load_dataset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import token_similarity
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.teachers import CONVNETS, as_head_logits, create_teacher
from deit_edu.widgets.bundle import FOLDER, bundled
from deit_edu.widgets.network import export, in_half_precision

RUN = """async ([source, manifest, weights, images]) => {
    const { openNetwork, forward } = await import(URL.createObjectURL(new Blob([source], {type: 'text/javascript'})));
    const bytes = (text) => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer;
    const network = openNetwork(manifest, new DataView(bytes(weights)));
    const pixels = new Float32Array(bytes(images[0])), size = pixels.length / images[1], answers = [];
    for (let i = 0; i < images[1]; i++) {
        const said = forward(network, pixels.subarray(i * size, (i + 1) * size));
        answers.push({class: Array.from(said.class), distillation: said.distillation && Array.from(said.distillation),
                      similarity: said.similarity,
                      attention: i === 0 && said.attention ? Array.from(said.attention) : null});
    }
    return answers;
}"""


def in_the_page(browser, model, images):
    """What network.js says of images (n, C, H, W): {head: (n, K)}, and all that it says of the first."""
    manifest, weights = export(model)
    given = [base64.b64encode(images.numpy().astype("<f4").tobytes()).decode(), len(images)]
    page = browser.new_page()
    source = bundled(FOLDER / "network.js") + "\nexport { openNetwork, forward };"
    found = page.evaluate(RUN, [source, manifest, base64.b64encode(weights).decode(), given])
    page.close()
    said = {
        head: torch.tensor([answer[head] for answer in found]) for head in ("class", "distillation") if found[0][head]
    }
    return said, found[0]


@torch.no_grad()
def in_torch(model, images):
    heads = as_head_logits(model(images))
    return {"class": heads.class_logits} | (
        {} if heads.distillation_logits is None else {"distillation": heads.distillation_logits}
    )


@pytest.fixture(scope="module")
def clutter():
    dataset = load_dataset("fashion_clutter")
    return normalise(dataset.test.images[:200], dataset.mean, dataset.std)


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_packaged_networks_answer_as_in_torch_on_200_test_images(browser, clutter, role):
    model, _ = load_network(packaged_path(f"fashion_clutter_{role}"))
    said, _ = in_the_page(browser, model, clutter)
    exact, rounded = in_torch(model, clutter), in_torch(in_half_precision(model), clutter)
    assert said.keys() == exact.keys()
    for head in said:
        assert (said[head] - rounded[head]).abs().max() < 1e-4
        assert (said[head] - exact[head]).abs().max() < 5e-3
        assert (said[head].argmax(1) == rounded[head].argmax(1)).all()
        assert (said[head].argmax(1) == exact[head].argmax(1)).all()


@pytest.mark.parametrize("role", ["student", "teacher", "strong_teacher"])
def test_the_networks_of_cifar10_answer_as_in_torch(browser, role):
    model, seen = load_network(packaged_path(f"cifar10_{role}"))
    images = normalise(drawn_pictures()[0], seen["mean"], seen["std"])
    said, _ = in_the_page(browser, model, images)
    rounded = in_torch(in_half_precision(model), images)
    assert said.keys() == rounded.keys()
    for head in said:
        assert (said[head] - rounded[head]).abs().max() < 1e-4
        assert (said[head].argmax(1) == rounded[head].argmax(1)).all()


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize(
    "sizes", [dict(image_size=12, patch_size=4, in_channels=3), dict(image_size=14, patch_size=7, in_channels=1)]
)
def test_any_deit_runs_and_its_attention_is_torchs(browser, distilled, sizes):
    torch.manual_seed(0)
    model = DeiT(DeiTConfig(**sizes, num_classes=7, embed_dim=24, depth=3, num_heads=3, distilled=distilled)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    images = torch.randn(3, sizes["in_channels"], sizes["image_size"], sizes["image_size"])
    said, first = in_the_page(browser, model, images)
    rounded = in_half_precision(model)
    for head, expected in in_torch(rounded, images).items():
        assert (said[head] - expected).abs().max() < 1e-4
    maps = rounded.attention_maps(images[:1])[:, 0].detach()  # (L, h, T, T)
    assert np.abs(np.array(first["attention"]).reshape(maps.shape) - maps.numpy()).max() < 1e-5
    expected = token_similarity(rounded, images[:1]).tolist() if distilled else []
    assert first["similarity"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", CONVNETS)
def test_any_convnet_runs_with_its_batch_norms(browser, name):
    torch.manual_seed(0)
    model = create_teacher(name, 3, 5)
    torch.nn.init.normal_(model.head.bias)
    if name == "convnet_whitening":
        model.whiten(torch.randn(8, 3, 13, 13))
        torch.nn.init.normal_(model.whitening.bias)
    model.train()(torch.randn(8, 3, 13, 13))  # statistics that are not 0 and 1
    model.eval()
    images = torch.randn(2, 3, 13, 13)
    said, _ = in_the_page(browser, model, images)
    assert (said["class"] - in_torch(in_half_precision(model), images)["class"]).abs().max() < 1e-4
    assert (said["class"] - in_torch(model, images)["class"]).abs().max() < 5e-3


@pytest.mark.parametrize(("pair", "most"), [("fashion_clutter", 4e6), ("cifar10", 6.5e6)])
def test_the_weights_that_a_figure_fetches_are_few(pair, most):
    student, seen = load_network(packaged_path(f"{pair}_student"))
    teacher, _ = load_network(packaged_path(seen["teacher"]))
    assert len(export(student)[1]) + len(export(teacher)[1]) <= most


def test_the_networks_source_needs_nothing_else():
    assert not re.search("^(import|export) ", bundled(FOLDER / "network.js"), re.M)


def test_a_network_that_is_not_ours_is_refused():
    with pytest.raises(DeiTEduError, match="a page runs a DeiT or a convnet"):
        export(torch.nn.Linear(2, 2))
