"""What holds for all inputs, tried on random ones: patches, positions, sizes, mixing and losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from deit_edu import augment
from deit_edu.losses import (
    DistillationObjective,
    hard_distillation,
    smooth_labels,
    soft_cross_entropy,
    soft_distillation,
)
from deit_edu.model import HeadLogits, fuse
from deit_edu.patches import patchify, resize_position_embedding, unpatchify
from deit_edu.runs.preprocess import Preprocessing

few = settings(max_examples=25, deadline=None, derandomize=True)
small = st.integers(1, 5)
seeds = st.integers(0, 2**31)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# ---- patches and positions ----


@few
@given(B=small, C=small, rows=small, columns=small, P=small, seed=seeds)
def test_unpatchify_undoes_patchify_and_every_pixel_is_in_one_patch(B, C, rows, columns, P, seed):
    images = torch.randint(0, 256, (B, C, rows * P, columns * P), generator=seeded(seed), dtype=torch.uint8)
    patches = patchify(images, P)
    assert patches.shape == (B, rows * columns, P * P * C)
    assert torch.equal(unpatchify(patches, P, C, rows * P, columns * P), images)
    row, column = seed % rows, seed % columns
    assert torch.equal(
        patches[:, row * columns + column].view(B, P, P, C).permute(0, 3, 1, 2),
        images[:, :, row * P : (row + 1) * P, column * P : (column + 1) * P],
    )


grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


@few
@given(old=grids, new=grids, prefix=st.integers(0, 2), mode=st.sampled_from(["bicubic", "bilinear"]),
       antialias=st.booleans(), seed=seeds)  # fmt: skip
def test_resizing_positions_is_linear_keeps_the_prefix_and_what_is_alike_everywhere(
    old, new, prefix, mode, antialias, seed
):
    one, other = torch.randn(2, 1, prefix + old[0] * old[1], 3, generator=seeded(seed))

    def resized(positions):
        return resize_position_embedding(positions, old, new, prefix, mode, antialias)

    there = resized(one)
    assert there.shape == (1, prefix + new[0] * new[1], 3) and torch.equal(there[:, :prefix], one[:, :prefix])
    torch.testing.assert_close(resized(2 * one - other), 2 * there - resized(other), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(resized(torch.full_like(one, 0.7)), torch.full_like(there, 0.7))
    if old == new:
        assert torch.equal(there, one)


@few
@given(old=grids, new=grids, channels=st.sampled_from([1, 3]), level=st.integers(0, 255), seed=seeds)
def test_resizing_pictures_keeps_grey_levels_and_does_not_know_left_from_right(old, new, channels, level, seed):
    take = Preprocessing((channels, *new), (0.0,) * channels, (1.0,) * channels)
    pictures = torch.randint(0, 256, (2, channels, *old), generator=seeded(seed), dtype=torch.uint8)
    there = take.resized(pictures, 0, 255).float()
    assert there.shape == (2, channels, *new) and 0 <= there.min() and there.max() <= 255
    assert torch.equal(there, there.round())
    mirrored = take.resized(pictures.flip(-1), 0, 255).float().flip(-1)
    assert (there - mirrored).abs().max() <= 1  # a half is rounded to one side
    even = torch.full((1, channels, *old), level, dtype=torch.uint8)
    assert torch.equal(take.resized(even, 0, 255).float(), torch.full((1, channels, *new), float(level)))


# ---- mixing ----


@few
@given(B=st.integers(1, 6), K=st.integers(2, 5), H=st.integers(1, 9), W=st.integers(1, 9), seed=seeds,
       smoothing=st.sampled_from([0.0, 0.1]),
       alphas=st.sampled_from([(0.8, 0.0), (0.0, 1.0), (0.8, 1.0), (0.0, 0.0)]))  # fmt: skip
def test_a_mixed_picture_holds_as_much_of_each_class_as_its_target_says(B, K, H, W, seed, alphas, smoothing):
    generator = seeded(seed)
    labels = torch.randint(0, K, (B,), generator=generator)
    targets = smooth_labels(labels, K, smoothing)
    shades = torch.randn(K, generator=generator)  # a picture of a class is its shade, everywhere
    images = (targets @ shades)[:, None, None, None].expand(B, 2, H, W)
    mixed, mixed_targets = augment.mix(images, targets, *alphas, 1.0, generator)
    assert mixed.shape == images.shape and mixed_targets.min() >= 0
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(B))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), mixed_targets @ shades, atol=1e-5, rtol=1e-5)
    if alphas == (0.0, 0.0):
        assert torch.equal(mixed, images) and torch.equal(mixed_targets, targets)


@few
@given(B=st.integers(1, 5), H=st.integers(2, 9), W=st.integers(2, 9), lam=st.floats(0, 1), seed=seeds)
def test_cutmix_pastes_one_rectangle_whose_area_is_the_partners_share(B, H, W, lam, seed):
    mine, partners = torch.zeros(B, 1, H, W), torch.ones(B, 1, H, W)
    images = torch.cat([mine, partners])  # read backwards, the partner of a 0 is a 1
    targets = F.one_hot(torch.arange(2).repeat_interleave(B), 2).float()
    mixed, mixed_targets = augment.cutmix(images, targets, lam, seeded(seed))
    pasted = mixed[0, 0] == 1  # (H, W)
    rows, columns = pasted.any(1), pasted.any(0)
    assert torch.equal(pasted, rows[:, None] & columns[None, :])
    for side in (rows, columns):  # without a gap
        assert (side.int().diff() == 1).sum() <= 1 and (side.int().diff() == -1).sum() <= 1
    assert mixed_targets[0, 1].item() == pytest.approx(pasted.float().mean().item(), abs=1e-6)
    assert pasted.float().mean() <= 1 - lam + 1e-6  # less where the border cuts it


@few
@given(n=st.integers(1, 40), repeats=st.integers(1, 5), seed=seeds)
def test_an_epoch_has_its_length_and_shows_no_image_more_often_than_asked(n, repeats, seed):
    order = augment.epoch_order(n, seeded(seed), repeats)
    assert len(order) == n and torch.bincount(order).max() <= repeats
    assert len(order.unique()) == -(-n // repeats)


# ---- losses ----

taus = st.floats(0.5, 20)


def two(seed, B=4, K=5, scale=3.0):
    return (scale * torch.randn(2, B, K, generator=seeded(seed), dtype=torch.float64)).unbind()


@few
@given(seed=seeds, tau=taus)
def test_soft_distillation_is_the_authors_formula(seed, tau):
    student, teacher = two(seed)
    expected = F.kl_div(  # deit/losses.py
        F.log_softmax(student / tau, dim=1), F.log_softmax(teacher / tau, dim=1), reduction="sum", log_target=True
    ) * (tau * tau) / student.numel()  # fmt: skip
    torch.testing.assert_close(soft_distillation(student, teacher, tau, "official"), expected)
    torch.testing.assert_close(soft_distillation(student, teacher, tau), expected * student.shape[1])
    assert soft_distillation(student, teacher, tau) >= 0


@few
@given(seed=seeds, tau=taus, shift=st.floats(-50, 50))
def test_what_is_added_to_all_logits_of_a_picture_changes_no_loss(seed, tau, shift):
    student, teacher = two(seed)
    moved = shift * torch.arange(4.0, dtype=torch.float64)[:, None]
    targets = torch.arange(4)
    for loss in (lambda s, t: soft_distillation(s, t, tau), hard_distillation,
                 lambda s, t: soft_cross_entropy(s, targets)):  # fmt: skip
        torch.testing.assert_close(loss(student + moved, teacher - moved), loss(student, teacher), atol=1e-8, rtol=1e-8)


@few
@given(seed=seeds)
def test_at_high_temperature_the_soft_loss_is_half_the_mean_squared_difference_of_centred_logits(seed):
    student, teacher = two(seed)  # Hinton et al. 2015, section 2.1
    apart = (student - student.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    torch.testing.assert_close(soft_distillation(student, teacher, 1e4), apart.square().mean() / 2, atol=0, rtol=2e-3)


@few
@given(seed=seeds)
def test_at_low_temperature_the_soft_loss_asks_for_the_teachers_decision(seed):
    student, teacher = two(seed)
    tau = 1e-3
    behind = student.amax(1) - student.gather(1, teacher.argmax(1, keepdim=True))[:, 0]
    found = soft_distillation(student, teacher, tau) / tau
    assert found.item() == pytest.approx(behind.mean().item(), abs=3 * tau * math.log(5))


@few
@given(seed=seeds, factor=st.floats(0.1, 10))
def test_hard_distillation_hears_the_decision_and_not_how_sure_the_teacher_is(seed, factor):
    student, teacher = two(seed)
    expected = F.cross_entropy(student, teacher.argmax(1))
    torch.testing.assert_close(hard_distillation(student, factor * teacher), expected)


@few
@given(seed=seeds, weight=st.floats(0, 1), tokens=st.sampled_from(["class", "both"]),
       kind=st.sampled_from(["soft", "hard"]))  # fmt: skip
def test_the_teachers_share_goes_linearly_from_the_label_to_the_teacher(seed, weight, tokens, kind):
    student, teacher = two(seed)
    heads = HeadLogits(student, student.flip(0))

    def loss(share):
        return DistillationObjective(kind, tokens, weight=share)(heads, torch.arange(4), teacher)

    torch.testing.assert_close(loss(weight), (1 - weight) * loss(0.0) + weight * loss(1.0))
    torch.testing.assert_close(loss(0.0), soft_cross_entropy(student, torch.arange(4)))


@few
@given(K=st.integers(2, 9), epsilon=st.floats(0, 0.99), over=st.sampled_from(["others", "all"]), seed=seeds)
def test_smoothed_labels_are_probabilities_with_the_truth_where_the_paper_puts_it(K, epsilon, over, seed):
    labels = torch.randint(0, K, (6,), generator=seeded(seed))
    smoothed = smooth_labels(labels, K, epsilon, over)
    torch.testing.assert_close(smoothed.sum(1), torch.ones(6))
    assert smoothed.min() >= 0
    truth = 1 - epsilon if over == "others" else 1 - epsilon + epsilon / K
    torch.testing.assert_close(smoothed[torch.arange(6), labels], torch.full((6,), truth))


@few
@given(seed=seeds)
def test_a_fusion_lies_between_its_heads(seed):
    one, other = two(seed)
    probabilities = fuse(HeadLogits(one, other)).softmax(-1)
    low, high = (torch.stack([one.softmax(-1), other.softmax(-1)]).aminmax(dim=0)[place] for place in (0, 1))
    assert (probabilities >= low - 1e-9).all() and (probabilities <= high + 1e-9).all()
    torch.testing.assert_close(fuse(HeadLogits(one, one)).softmax(-1), one.softmax(-1))
