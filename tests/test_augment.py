"""Augmentation: what may come out, how often, and that the generator alone decides."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment, mixup

from deit_edu import augment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(*shape, seed=0):
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


# ---- crop and flip ----


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("C,H,W", [(1, 7, 7), (3, 5, 9)])
def test_a_crop_is_the_image_shifted_with_zeros_coming_in(C, H, W, dtype):
    images = random_images(200, C, H, W).to(dtype)
    cropped = augment.random_crop(images, 2, seeded())
    assert cropped.dtype == dtype and cropped.shape == images.shape
    shifts = set()
    for image, crop in zip(images, cropped, strict=True):
        padded = np.pad(image.numpy(), ((0, 0), (2, 2), (2, 2)))
        matches = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if (padded[:, top : top + H, left : left + W] == crop.numpy()).all()
        ]
        assert len(matches) == 1
        shifts.add(matches[0])
    assert shifts == {(top, left) for top in range(5) for left in range(5)}  # every shift of up to 2 pixels


def test_a_crop_without_padding_is_the_image():
    images = random_images(3, 1, 4, 4)
    assert torch.equal(augment.random_crop(images, 0, seeded()), images)


def test_half_of_the_images_are_mirrored_left_to_right():
    images = random_images(1000, 3, 4, 5)
    flipped = augment.random_flip(images, seeded())
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert 440 <= mirrored.sum() <= 560  # within 4 standard deviations of 500


# ---- erasing ----


def erased_rectangles(before, after):
    """(top, left, height, width) of what changed in each image that changed; all of it must have."""
    rectangles = []
    for image, erased in zip(before, after, strict=True):
        changed = (image != erased).any(dim=0)
        if changed.any():
            rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
            assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "not a rectangle"
            rectangles.append((rows[0].item(), columns[0].item(), len(rows), len(columns)))
    return rectangles


def test_erasing_overwrites_one_rectangle_of_a_quarter_of_the_images_with_normal_noise():
    images = torch.full((1000, 3, 24, 24), 7.0)
    erased = augment.random_erasing(images, 0.25, seeded())
    assert (images == 7).all(), "the input was changed"
    rectangles = erased_rectangles(images, erased)
    assert 195 <= len(rectangles) <= 305
    noise = erased[erased != 7]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    areas = [height * width / 24**2 for _, _, height, width in rectangles]
    assert min(areas) < 0.05 and 0.28 < max(areas) < 0.38  # asked for 0.02 to 1/3, then rounded to whole pixels
    assert {top + height for top, _, height, _ in rectangles} >= {24} and min(top for top, *_ in rectangles) == 0
    shapes = [math.log(height / width) for _, _, height, width in rectangles]
    assert min(shapes) < -0.9 and max(shapes) > 0.9 and abs(np.mean(shapes)) < 0.15  # as often high as wide


def test_erasing_every_image_or_none():
    images = torch.full((50, 1, 8, 12), 7.0)
    assert len(erased_rectangles(images, augment.random_erasing(images, 1.0, seeded()))) == 50
    assert torch.equal(augment.random_erasing(images, 0.0, seeded()), images)


# ---- mixing ----


def targets(B, K=4, seed=0):
    return torch.rand(B, K, generator=seeded(seed)).softmax(-1)


@pytest.mark.parametrize("alpha", [0.8, 1.0])
def test_the_mixing_coefficient_is_drawn_from_a_beta_distribution(alpha):
    generator = seeded()
    drawn = np.array([augment.mixing_coefficient(alpha, generator) for _ in range(4000)])
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
    assert abs(drawn.mean() - 0.5) < 4 * (variance / 4000) ** 0.5
    assert abs(drawn.var() / variance - 1) < 0.1
    assert len(set(drawn)) == 4000


def test_mixup_blends_each_image_with_its_partner_in_the_batch_read_backwards():
    images, labels = torch.randn(5, 3, 4, 4, generator=seeded()), torch.tensor([0, 2, 1, 1, 3])
    smooth = torch.nn.functional.one_hot(labels, 4) * 0.9 + 0.025
    mixed, mixed_targets = augment.mixup(images, smooth, 0.3)
    for i in range(5):
        torch.testing.assert_close(mixed[i], 0.3 * images[i] + 0.7 * images[4 - i])
    torch.testing.assert_close(mixed_targets, mixup.mixup_target(labels, 4, lam=0.3, smoothing=0.1))


@pytest.mark.parametrize("lam", [0.0, 0.2, 0.55, 0.9, 1.0])
def test_cutmix_targets_follow_the_pixels_that_changed_owner(lam):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 10, 14)  # each image has its own number everywhere
    before, seen = targets(6), set()
    for seed in range(60):
        mixed, after = augment.cutmix(images, before, lam, seeded(seed))
        theirs = (mixed == images.flip(0)).float().mean(dim=(1, 2, 3))  # (B,) share of the partner's pixels
        torch.testing.assert_close(after, (1 - theirs[:, None]) * before + theirs[:, None] * before.flip(0))
        assert theirs.max() == theirs.min()
        for *_, height, width in erased_rectangles(images, mixed):
            seen.add((height, width))
    full = (int(10 * (1 - lam) ** 0.5), int(14 * (1 - lam) ** 0.5))
    if 0 in full:
        assert seen == set()
    else:
        assert max(seen) == full, "a rectangle that is not cut off has the area 1 - lam"
    if lam in (0.2, 0.55):
        assert len(seen) > 1, "some rectangles are cut off at the border"
    assert torch.equal(images, torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, 10, 14))


def test_cutmix_rectangle_is_timms(monkeypatch):
    H, W = 12, 20
    generator = seeded(3)
    y, x = (torch.rand(2, generator=seeded(3)) * torch.tensor([H, W])).long().tolist()
    centres = iter([y, x])
    monkeypatch.setattr(mixup.np.random, "randint", lambda low, high, size: next(centres))
    top, bottom, left, right = mixup.rand_bbox((H, W), 0.4)
    mixed, _ = augment.cutmix(torch.arange(2.0).view(2, 1, 1, 1).expand(2, 1, H, W), targets(2), 0.4, generator)
    expected = torch.zeros(H, W)
    expected[top:bottom, left:right] = 1
    assert torch.equal(mixed[0, 0], expected)


def kind_of_mix(images, mixed):
    if torch.equal(images, mixed):
        return "none"
    from_either = (mixed == images) | (mixed == images.flip(0))
    return "cutmix" if from_either.all() else "mixup"


@pytest.mark.parametrize(
    "mixup_alpha,cutmix_alpha,probability,expected",
    [
        (0.8, 1.0, 1.0, {"mixup", "cutmix"}),
        (0.8, 0.0, 1.0, {"mixup"}),
        (0.0, 1.0, 1.0, {"cutmix"}),
        (0.0, 0.0, 1.0, {"none"}),
        (0.8, 1.0, 0.0, {"none"}),
        (0.8, 0.0, 0.5, {"mixup", "none"}),
    ],
)
def test_one_of_mixup_and_cutmix_for_the_whole_batch(mixup_alpha, cutmix_alpha, probability, expected):
    images, generator = torch.randn(4, 1, 30, 30, generator=seeded()), seeded()
    kinds = []
    for _ in range(200):
        mixed, mixed_targets = augment.mix(images, targets(4), mixup_alpha, cutmix_alpha, probability, generator)
        torch.testing.assert_close(mixed_targets.sum(-1), torch.ones(4))
        kinds.append(kind_of_mix(images, mixed))
    # Beta gives now and then a rectangle of no pixel
    kinds = ["cutmix" if kind == "none" and expected == {"cutmix"} else kind for kind in kinds]
    if "none" not in expected:
        kinds = [kind for kind in kinds if kind != "none"]
    assert set(kinds) == expected
    if len(expected) == 2:
        assert 70 <= kinds.count("mixup") <= 130  # each with probability 1/2


# ---- order ----


def test_an_epoch_shows_every_image_once():
    assert sorted(augment.epoch_order(11, seeded()).tolist()) == list(range(11))


@pytest.mark.parametrize("num_images", [9, 10, 11])
def test_repeated_augmentation_shows_a_third_of_the_images_three_times(num_images):
    order = augment.epoch_order(num_images, seeded(), repeats=3).tolist()
    assert len(order) == num_images
    for start in range(0, num_images, 3):
        assert len(set(order[start : start + 3])) == 1
    assert len(set(order)) == math.ceil(num_images / 3)
    shares = [order[rank::3] for rank in range(3)]  # what each of three processes gets
    assert shares[0][:3] == shares[1][:3] == shares[2][:3]


def test_of_repeated_images_hardly_one_is_mixed_with_itself():
    # findings/torchvision_mixup_repeated_images.sh: whoever mixes neighbours mixes two of three with themselves.
    order = augment.epoch_order(128 * 12, seeded(), repeats=3)
    for batch in order.split(128):
        pictures = batch.float().reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4)
        mixed, _ = augment.mixup(pictures, torch.eye(128), lam=0.5)
        assert (mixed[:, 0, 0, 0] == batch).sum() <= 3  # the middle of a batch that is read backwards


# ---- RandAugment ----

LEVELS = [0.0, 0.3, 0.85, 1.0]
COLOUR_OPERATIONS = {  # ours: timm's name, and whether the level's sign counts
    "autocontrast": ("AutoContrast", False),
    "equalise": ("Equalize", False),
    "invert": ("Invert", False),
    "posterise": ("PosterizeIncreasing", False),
    "solarise": ("SolarizeIncreasing", False),
    "solarise_add": ("SolarizeAdd", False),
    "colour": ("ColorIncreasing", True),
    "contrast": ("ContrastIncreasing", True),
    "brightness": ("BrightnessIncreasing", True),
    "sharpness": ("SharpnessIncreasing", True),
}


def picture(C, H=20, W=20, seed=0):
    """Smooth enough to be turned and compared, no pixel black or white."""
    coarse = torch.rand(1, C, 4, 5, generator=seeded(seed)) * 180 + 40
    return torch.nn.functional.interpolate(coarse, (H, W), mode="bicubic").clamp(5, 250).to(torch.uint8)


def apply(name, images, level, fill=(0.5,)):
    level = torch.full((len(images), 1, 1, 1), level)
    return augment.OPERATIONS[name](images, level, 255 * torch.tensor(fill).view(-1, 1, 1))


def to_pillow(image):
    return Image.fromarray(image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())


def from_pillow(image):
    array = torch.from_numpy(np.array(image))
    return array[None] if array.dim() == 2 else array.permute(2, 0, 1)


def timm_operation(name, level, monkeypatch, interpolation=Image.Resampling.BILINEAR):
    monkeypatch.setattr(auto_augment.random, "random", lambda: 1.0 if level < 0 else 0.0)  # decides the sign
    hparams = dict(img_mean=(128, 128, 128), interpolation=interpolation)
    return auto_augment.AugmentOp(name, prob=1.0, magnitude=10 * abs(level), hparams=hparams)


@pytest.mark.parametrize("name", COLOUR_OPERATIONS)
@pytest.mark.parametrize("C", [1, 3])
def test_operations_on_colours_are_timms(name, C, monkeypatch):
    theirs, signed = COLOUR_OPERATIONS[name]
    images = torch.cat([picture(C, 40, 40, seed) for seed in range(3)])
    changed = 0
    for level in sorted(set(LEVELS) | ({-level for level in LEVELS} if signed else set())):
        ours = apply(name, images, level)
        assert ours.dtype == torch.uint8
        last = 0.99 if name == "posterise" else 1.0  # at 1 timm asks for no bit at all, which Pillow refuses
        operation = timm_operation(theirs, min(level, last), monkeypatch)
        expected = torch.stack([from_pillow(operation(to_pillow(image))) for image in images])
        whole = ("equalise", "invert", "posterise", "solarise", "solarise_add")  # the others Pillow rounds its own way
        assert (ours.int() - expected.int()).abs().max() <= (0 if name in whole else 1), level
        changed += (expected != images).any().item()
    assert changed or (name == "colour" and C == 1)  # what is grey has no colour to lose


@pytest.mark.parametrize(
    "name,theirs",
    [("rotate", "Rotate"), ("translate_x", "TranslateXRel"), ("translate_y", "TranslateYRel")],
)
@pytest.mark.parametrize("level", [-1.0, -0.4, 0.0, 0.4, 1.0])
def test_turns_and_shifts_are_timms(name, theirs, level, monkeypatch):
    images = torch.cat([picture(3, 24, 30, seed) for seed in range(2)])
    ours = apply(name, images, level, (128 / 255,) * 3)
    operation = timm_operation(theirs, level, monkeypatch)
    expected = torch.stack([from_pillow(operation(to_pillow(image))) for image in images])
    mirrored = torch.stack([from_pillow(timm_operation(theirs, -level, monkeypatch)(to_pillow(i))) for i in images])
    difference = min((ours.int() - other.int()).abs().float().mean() for other in (expected, mirrored))
    assert difference < 1.5  # the way round is a matter of the sign; at the border Pillow does not blend with the fill


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
def test_a_shear_moves_rows_or_columns_in_proportion_to_their_distance_from_the_centre(level):
    images = torch.full((1, 1, 41, 41), 10, dtype=torch.uint8)
    images[:, :, :, 20] = 250  # a vertical line through the centre
    sheared = apply("shear_x", images, level)
    for row in (0, 10, 20, 30, 40):
        assert abs(sheared[0, 0, row].argmax() - (20 - 0.3 * level * (row - 20))) <= 1
    assert torch.equal(apply("shear_y", images.mT, level), sheared.mT)


def test_what_comes_in_from_outside_has_the_fill_colour():
    shifted = apply("translate_x", picture(3), 1.0, (0.2, 0.4, 0.6))
    assert shifted[0, :, 5, -1].tolist() == [51, 102, 153]


def test_every_image_has_its_own_level():
    images = picture(3).expand(3, -1, -1, -1)
    levels = torch.tensor([-0.9, 0.2, 0.9]).view(3, 1, 1, 1)
    for name, operation in augment.OPERATIONS.items():
        together = operation(images, levels, torch.tensor(128.0))
        for i in range(3):
            alone = operation(images[i : i + 1], levels[i : i + 1], torch.tensor(128.0))
            assert torch.equal(together[i : i + 1], alone), name


def test_rand_augment_draws_operations_signs_and_strengths_for_each_image(monkeypatch):
    drawn = {1: [], 2: []}

    def adder(number):
        def operation(images, level, fill):
            drawn[number] += level.flatten().tolist()
            return images + number

        return operation

    monkeypatch.setattr(augment, "OPERATIONS", {"one": adder(1), "two": adder(2)})
    images = torch.arange(100, dtype=torch.uint8).repeat(20).view(2000, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    before = images.clone()
    added = augment.rand_augment(images, (0.5,) * 3, seeded(), num_operations=2) - before
    assert torch.equal(images, before), "the input was changed"
    assert (added == added[:, :1, :1, :1]).all()
    # 0, 1 or 2 with probabilities 1/2, 1/4, 1/4, twice
    counts = torch.bincount(added[:, 0, 0, 0].long(), minlength=5) / 2000
    assert (counts - torch.tensor([4, 4, 5, 2, 1]) / 16).abs().max() < 0.05
    levels = torch.tensor(drawn[1] + drawn[2])
    assert 1800 < len(levels) < 2200
    assert abs((levels > 0).float().mean() - 0.5) < 0.05
    assert levels.abs().max() <= 1 and abs(levels.abs().mean() - 0.9) < 0.01 and abs(levels.abs().std() - 0.05) < 0.01


def test_rand_augment_keeps_shape_and_type_and_changes_most_images():
    for C in (1, 3):
        images = picture(C, 28, 28).expand(64, -1, -1, -1)
        changed = augment.rand_augment(images, (0.3,) * C, seeded())
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        assert 30 < (changed != images).flatten(1).any(1).sum() < 60
        assert torch.equal(images, picture(C, 28, 28).expand(64, -1, -1, -1))


def test_auto_augment_keeps_shape_and_type_changes_most_images_and_leaves_the_global_generator():
    for C in (1, 3):
        images = picture(C, 28, 28).expand(64, -1, -1, -1)
        torch.manual_seed(3)
        changed = augment.auto_augment(images, (0.3,) * C, seeded())
        following = torch.rand(1)
        torch.manual_seed(3)
        assert torch.equal(torch.rand(1), following)
        assert changed.shape == images.shape and changed.dtype == torch.uint8
        assert 30 < (changed != images).flatten(1).any(1).sum() <= 64
        assert len({image.numpy().tobytes() for image in changed}) > 15  # each image has a draw of its own


# ---- the generator decides ----

DRAWS = {
    "random_crop": lambda images, g: augment.random_crop(images, 3, g),
    "random_flip": augment.random_flip,
    "rand_augment": lambda images, g: augment.rand_augment(images, (0.5,), g),
    "auto_augment": lambda images, g: augment.auto_augment(images, (0.5,), g),
    "random_erasing": lambda images, g: augment.random_erasing(images.float(), 0.5, g),
    "mix": lambda images, g: torch.stack([augment.mix(images.float(), targets(16), 1, 1, 1, g)[0] for _ in range(4)]),
    "epoch_order": lambda images, g: augment.epoch_order(16, g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_generator_alone_decides(name):
    images = random_images(16, 1, 12, 12)
    torch.manual_seed(1)
    first = DRAWS[name](images, seeded(5))
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(DRAWS[name](images, seeded(5)), first)
    assert not torch.equal(DRAWS[name](images, seeded(6)), first)
