"""The recipe mixer: its mixing is the library's, and the page's teacher is asked about what the loop would show it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_widgets import MODEL, evaluate_in_module, traits_of

from deit_edu import augment
from deit_edu.data import load_dataset, normalise
from deit_edu.errors import DeiTEduError
from deit_edu.losses import smooth_labels
from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.checkpoints import load_network, packaged_path
from deit_edu.runs.recipes import PAPER
from deit_edu.teachers import FrozenTeacher, create_teacher
from deit_edu.train import seeded_generator
from deit_edu.widgets import RecipeMixer
from deit_edu.widgets.figure import png
from deit_edu.widgets.network import in_half_precision

# Renders the figure, changes traits, waits for the teacher.
RENDER = """(async ([state, bytes, changes, broken]) => {
    const model = (MODEL)(state, bytes), el = document.createElement('div');
    model.load = name => broken ? Promise.reject(new Error('it is gone')) : Promise.resolve(state[name]);
    document.body.append(el);
    const end = render({ model, el }), words = el.querySelector('.words'), first = words.textContent;
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    const done = () => broken ? el.querySelector('.complaint') :
        Object.entries(state.answered).every(([name, value]) => String(value) === String(state[name]));
    for (let i = 0; i < 300 && !done(); i++) await new Promise(later => setTimeout(later, 50));
    await new Promise(later => setTimeout(later, 50));
    const seen = [...el.querySelectorAll('.maps canvas')].map(c => [c.width, c.height]);
    const off = [...el.querySelectorAll('input:disabled, button:disabled')];
    const disabled = off.map(e => e.textContent || e.id.split('-')[2]);
    end();
    return { first, words: words.textContent, answer: state.answer, seen, disabled,
        complaint: el.querySelector('.complaint')?.textContent ?? '' };
})(given)""".replace("MODEL", MODEL)


@pytest.fixture(scope="module")
def packaged():
    return RecipeMixer.packaged()


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


def rendered(page, figure, changes, broken=False):
    """What a page shows after `changes` of traits, and the teacher's answer there."""
    return evaluate_in_module(page, "recipe_mixer.js", RENDER, [*traits_of(figure), changes, broken])


def stored(figure):
    """The images that the page has, and their draws of RandAugment."""
    shape = figure.image_shape
    images = torch.from_numpy(np.frombuffer(figure.images, np.uint8).copy()).view(-1, *shape)
    return images, torch.from_numpy(np.frombuffer(figure.draws, np.uint8).copy()).view(-1, *images.shape)


def tell(monkeypatch, *rounds, noise=None):
    """Let the library draw these uniform numbers, a list each time, and this noise."""
    left = list(rounds)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.tensor(left.pop(0)).view(shape))
    monkeypatch.setattr(torch, "randn", lambda *shape, generator: noise.view(shape))


# ---- the page's mixing against the library's ----


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_mixup_in_the_page_is_the_librarys(page, lam):
    images, targets = torch.randn(2, 3, 4, 4), torch.rand(2, 5).softmax(-1)
    for (one, other), expected in zip((images, targets), augment.mixup(images, targets, lam), strict=True):
        given = [one.flatten().tolist(), other.flatten().tolist(), lam]
        found = evaluate_in_module(page, "recipe_mixer.js", "mixup(...given)", given)
        assert found == pytest.approx(expected[0].flatten().tolist(), abs=1e-6)


def test_cutmix_in_the_page_is_the_librarys_for_any_lambda_and_place(page, monkeypatch):
    random, shape = np.random.default_rng(0), [2, 10, 14]
    images = torch.stack([torch.arange(280.0), -1 - torch.arange(280.0)]).view(2, *shape)
    targets = torch.eye(2)
    for lam in [*(k / 20 for k in range(21)), *random.random(20)]:
        centre = random.random(2).tolist()
        tell(monkeypatch, centre)
        expected, mixed = augment.cutmix(images, targets, float(lam), None)
        given = [images[0].flatten().tolist(), images[1].flatten().tolist(), float(lam), centre, shape]
        expression = """(([a, b, lam, centre, shape]) => { const box = cutmixBox(lam, centre, shape);
            return [paste(a, b, box, shape), box.kept]; })(given)"""
        pixels, kept = evaluate_in_module(page, "recipe_mixer.js", expression, given)
        assert pixels == expected[0].flatten().tolist()
        assert kept == pytest.approx(mixed[0, 0].item(), abs=1e-6)


def test_a_rectangle_has_the_librarys_size_at_every_stop_of_the_slider(page):
    lams = [k / 100 for k in range(101)]
    expression = "given.map(lam => { const box = cutmixBox(lam, [0.5, 0.5], [1, 28, 28]); return box.height; })"
    found = evaluate_in_module(page, "recipe_mixer.js", expression, lams)
    assert found == [int(28 * (1 - lam) ** 0.5) for lam in lams]


def test_erasing_in_the_page_is_the_librarys(page, monkeypatch):
    random, shape = np.random.default_rng(0), [3, 16, 16]
    image, noise = torch.full((1, *shape), 7.0), torch.arange(768.0)
    sizes = set()
    for _ in range(40):
        hole = random.random(4).tolist()
        tell(monkeypatch, [0.0, *hole], noise=noise)
        expected = augment.random_erasing(image, 1.0, None)[0]
        given = [image.flatten().tolist(), noise.tolist(), hole, shape]
        expression = "(([a, noise, hole, shape]) => paste(a, noise, eraseBox(hole, shape), shape))(given)"
        assert evaluate_in_module(page, "recipe_mixer.js", expression, given) == expected.flatten().tolist()
        sizes.add((expected[0] != 7).sum().item())
    assert len(sizes) > 10


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_smoothed_labels_in_the_page_are_the_librarys(page, epsilon, over):
    found = evaluate_in_module(page, "recipe_mixer.js", "smoothed(...given)", [2, 5, epsilon, over])
    assert found == pytest.approx(smooth_labels(torch.tensor([2]), 5, epsilon, over)[0].tolist(), abs=1e-7)


@pytest.mark.parametrize("alpha", [0.8, 1.0])
def test_lambda_in_the_page_is_drawn_from_a_beta_distribution(page, alpha):
    uniform = np.random.default_rng(0).random(16_000).tolist()
    expression = """(([alpha, uniform]) => { let at = 0; const draw = () => uniform[at++];
        return Array.from({ length: 3000 }, () => drawBeta(alpha, draw)); })(given)"""
    drawn = np.array(evaluate_in_module(page, "recipe_mixer.js", expression, [alpha, uniform]))
    expected = np.array([augment.mixing_coefficient(alpha, seeded_generator(1, n)) for n in range(3000)])
    tenths = [0.1, 0.25, 0.5, 0.75, 0.9]
    assert np.quantile(drawn, tenths) == pytest.approx(np.quantile(expected, tenths), abs=0.04)
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.08)


def test_the_densities_are_those_of_table_9s_alphas(packaged):
    assert {kind: one["alpha"] for kind, one in packaged.beta.items()} == {"mixup": 0.8, "cutmix": 1.0}
    assert (PAPER["mixup_alpha"], PAPER["cutmix_alpha"]) == (0.8, 1.0)
    middle = math.gamma(1.6) / math.gamma(0.8) ** 2 * 0.25**-0.2
    assert packaged.beta["mixup"]["density"][24] == pytest.approx(middle, abs=1e-4)
    assert set(packaged.beta["cutmix"]["density"]) == {1.0}


# ---- the first view, and the teacher in the page ----


def test_the_images_are_training_images_as_a_student_sees_them(packaged):
    dataset = load_dataset("fashion_clutter")
    split = dataset.redraw(0, 1)
    images, draws = stored(packaged)
    for image, label in zip(images, packaged.labels, strict=True):
        assert label in split.labels[(split.images == image).flatten(1).all(1)]
    for seed, drawn in enumerate(draws):
        assert torch.equal(drawn, augment.rand_augment(images, dataset.mean, seeded_generator(seed)))
        assert not torch.equal(drawn, images)


def test_the_first_answer_is_the_packaged_teachers_of_the_mixed_pair(packaged):
    teacher = load_network(packaged_path("fashion_clutter_teacher"))[0]
    images, _ = stored(packaged)
    pair = normalise(images[[packaged.image, packaged.partner]], packaged.mean, packaged.std)
    mixed, _ = augment.mixup(pair, torch.eye(2), packaged.lam)
    expected = teacher(mixed[:1])[0]
    assert packaged.answer == pytest.approx(expected.tolist(), abs=0.05)  # in half precision there
    assert packaged.class_names[expected.argmax()] in packaged.caption()


def test_a_readers_teacher_is_left_as_it_is():
    figure, given = small()
    assert figure.answer and given["teacher"].training
    assert all(parameter.requires_grad for parameter in given["teacher"].parameters())


def test_the_page_asks_its_teacher_about_what_the_loop_would_show_it(page, packaged, monkeypatch):
    """RandAugment, then normalise, then erase, then mix: the order of deit_edu.train.augmented_batch."""
    changes = dict(image=8, partner=4, rand_augment=3, erasing=True, hole=[0.6, 0.4, 0.5, 0.2], mixing="cutmix",
                   lam=0.45, centre=[0.15, 0.6])  # fmt: skip
    found = rendered(page, packaged, changes)

    _, draws = stored(packaged)
    pair = normalise(draws[2, [8, 4]], packaged.mean, packaged.std)
    noise = torch.from_numpy(np.frombuffer(packaged.noise, "<f2").astype(np.float32))
    tell(monkeypatch, [0.0, *changes["hole"]], changes["centre"], noise=noise)
    pair[:1] = augment.random_erasing(pair[:1], 1.0, None)
    targets = smooth_labels(torch.tensor([8, 4]), 10, 0.1)
    mixed, targets = augment.cutmix(pair, targets, changes["lam"], None)
    teacher = in_half_precision(load_network(packaged_path("fashion_clutter_teacher"))[0])
    expected = FrozenTeacher(teacher)(mixed[:1])[0]
    assert found["answer"] == pytest.approx(expected.tolist(), abs=2e-3)
    assert f"The label is {targets[0, 8]:.2f} Bag and {targets[0, 4]:.2f} Coat" in found["words"]
    assert f"hard label is {packaged.class_names[expected.argmax()]}" in found["words"]
    assert found["seen"] == [[224, 224]] * 3 and found["complaint"] == ""


def test_the_page_and_python_say_the_same_of_the_first_view(page, packaged):
    moved = rendered(page, packaged, dict(lam=0.2))
    assert moved["words"] != moved["first"]
    again = rendered(page, packaged, dict(lam=packaged.lam + 1e-9))  # so little that only the one who answers differs
    assert again["words"] == moved["first"]
    assert again["answer"] == pytest.approx(packaged.answer, abs=1e-3)


def test_the_words_say_whose_class_the_teachers_hard_label_is(page, packaged):
    """The first pair, from A alone to B alone: A, a third class, B."""
    said = [rendered(page, packaged, dict(lam=lam))["words"] for lam in (0.95, 0.61, 0.05)]
    for words, ending in zip(said, ("which A is", "neither of the two", "which B is"), strict=True):
        assert f", {ending}; its soft answer" in words
    alone = rendered(page, packaged, dict(mixing="none"))["words"]
    assert "Not mixed: A is Trouser." in alone and "hard label is Trouser, which A is" in alone
    same = rendered(page, packaged, dict(partner=11))["words"]
    assert "The label is 0.90 Trouser, 0.011 for each other class." in same and "which both are" in same


def test_only_what_has_an_effect_can_be_moved(page, packaged):
    off = rendered(page, packaged, dict(mixing="none"))["disabled"]
    assert off == ["Erase elsewhere", "lam", "Draw lambda", "Move the rectangle"]
    assert rendered(page, packaged, dict(mixing="cutmix", erasing=True))["disabled"] == []


def test_a_figure_whose_choices_changed_in_python_is_asked_anew(page):
    figure, _ = small()
    figure.lam = 0.9
    found = rendered(page, figure, {})
    assert found["words"].startswith("Mixup: 0.90 of A") and found["answer"] != pytest.approx(figure.answer, abs=1e-9)


def test_a_teacher_that_cannot_be_loaded_gets_a_sentence(page, packaged):
    found = rendered(page, packaged, dict(lam=0.3), broken=True)
    assert found["complaint"] == "The teacher could not be asked: it is gone"
    assert found["words"].startswith("Mixup: 0.30 of A") and found["words"].endswith("The teacher was not asked.")


# ---- a reader's own images ----


def small(**given):
    """A figure of two colour images and a transformer with two heads as the teacher, and what it was made of."""
    torch.manual_seed(0)
    config = DeiTConfig(image_size=8, patch_size=4, in_channels=3, num_classes=3, embed_dim=8, depth=1, num_heads=2)
    teacher = DeiT(config)
    with torch.no_grad():
        for head in (teacher.class_head, teacher.distillation_head):
            head.weight.normal_()
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    fine = dict(images=images, labels=[0, 2], class_names=list("abc"), mean=(0.5,) * 3, std=(0.2,) * 3, teacher=teacher)
    return RecipeMixer(**fine | given), fine | given


def test_your_own_images_and_a_teacher_with_two_heads_are_mixed_too(page):
    figure, given = small()
    assert png(figure.picture()).startswith(b"\x89PNG") and "decides for" in figure.caption()
    found = rendered(page, figure, dict(lam=0.25))
    pair = normalise(given["images"], given["mean"], given["std"])
    mixed, _ = augment.mixup(pair, F.one_hot(torch.tensor([0, 2]), 3).float(), 0.25)
    expected = FrozenTeacher(in_half_precision(given["teacher"]))(mixed[:1])[0]
    assert found["answer"] == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(labels=[0]), r"1 labels for torch.uint8 images of shape \(2, 3, 8, 8\)"),
        (dict(images=np.zeros((2, 3, 8, 8), np.float32)), "torch.float32 images of shape .* give square uint8 images"),
        (dict(images=torch.zeros(2, 3, 8, 6, dtype=torch.uint8)), r"\(2, 3, 8, 6\): give square"),
        (dict(partner=2), "images 0 and 2 cannot be mixed: choose two of 0 to 1"),
        (dict(image=-1), "images -1 and 1 cannot be mixed"),
        (dict(class_names=["a", "b"]), "labels 0 to 2 do not fit 2 class names"),
        (dict(class_names=list("abcd")), "4 class names for the 3 classes of the teacher"),
        (dict(teacher=create_teacher("convnet_weak", 1, 3)), "images of 3x8x8 do not fit a network of 1x8x8"),
        (dict(images=torch.zeros(2, 3, 12, 12, dtype=torch.uint8)), "images of 3x12x12 do not fit a network of 3x8x8"),
        (dict(teacher=torch.nn.Identity()), "a DeiT or a convnet"),
    ],
)  # fmt: skip
def test_the_mixer_refuses_what_does_not_fit(given, message):
    with pytest.raises(DeiTEduError, match=message):
        small(**given)
