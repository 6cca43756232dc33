"""Patches: cut and put back, projected as by a convolution, and moved to another grid."""

import numpy as np
import pytest
import references
import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.patches import PatchEmbedding, patch_grid, patchify, resize_position_embedding, unpatchify

SHAPES = [(2, 1, 21, 21, 7), (3, 3, 20, 12, 4), (1, 2, 5, 5, 5), (2, 3, 6, 4, 1), (1, 3, 48, 32, 16)]


def random_images(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_position_embedding(prefix, grid, width=8):
    return random_images((1, prefix + grid[0] * grid[1], width))


@pytest.mark.parametrize("B, C, H, W, P", SHAPES)
def test_unpatchify_is_the_exact_inverse_of_patchify(B, C, H, W, P):
    images = random_images((B, C, H, W))
    patches = patchify(images, P)
    assert patches.shape == (B, (H // P) * (W // P), P * P * C)
    assert torch.equal(unpatchify(patches, P, C, H, W), images)
    assert torch.equal(patchify(unpatchify(patches, P, C, H, W), P), patches)


@pytest.mark.parametrize("B, C, H, W, P", SHAPES)
def test_patches_go_row_by_row_with_the_channels_of_a_pixel_together(B, C, H, W, P):
    images = random_images((B, C, H, W))
    by_hand = np.stack([references.patchify(image, P) for image in images.numpy()])
    assert np.array_equal(patchify(images, P).numpy(), by_hand)


def test_patchify_keeps_the_type_of_the_pixels():
    assert patchify(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 2).dtype == torch.uint8


@pytest.mark.parametrize("C, P, D, H, W", [(1, 7, 16, 28, 21), (3, 4, 8, 12, 20), (3, 16, 12, 32, 48)])
def test_patch_embedding_is_a_convolution_whose_stride_is_its_kernel(C, P, D, H, W):
    torch.manual_seed(0)
    embedding = PatchEmbedding(P, C, D)
    convolution = nn.Conv2d(C, D, P, stride=P)
    convolution.load_state_dict(embedding.projection.state_dict())
    ours, theirs = random_images((2, C, H, W)).requires_grad_(), random_images((2, C, H, W)).requires_grad_()
    tokens, expected = embedding(ours), convolution(theirs).flatten(2).transpose(1, 2)
    assert references.relative_error(tokens, expected) < 1e-5
    pull = torch.randn_like(expected)
    tokens.backward(pull)
    expected.backward(pull)
    assert references.relative_error(ours.grad, theirs.grad) < 1e-5
    for name, parameter in convolution.named_parameters():
        assert references.relative_error(embedding.projection.get_parameter(name).grad, parameter.grad) < 1e-5


GRIDS = [((14, 14), (24, 24)), ((7, 7), (5, 5)), ((3, 5), (6, 4)), ((4, 4), (4, 7))]


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("old, new", GRIDS)
@pytest.mark.parametrize("prefix", [1, 2])
def test_position_embeddings_are_resized_as_a_picture_by_interpolate(prefix, old, new, mode):
    embedding = random_position_embedding(prefix, old)
    resized = resize_position_embedding(embedding, old, new, prefix, mode=mode)
    for channel in range(embedding.shape[-1]):
        picture = embedding[0, prefix:, channel].reshape(1, 1, *old)
        expected = F.interpolate(picture, size=new, mode=mode, align_corners=False)
        assert torch.allclose(resized[0, prefix:, channel], expected.flatten(), atol=1e-6)


@pytest.mark.parametrize("old, new", GRIDS)
@pytest.mark.parametrize("prefix", [1, 2])
def test_resizing_with_antialias_is_timms(prefix, old, new):
    embedding = random_position_embedding(prefix, old)
    ours = resize_position_embedding(embedding, old, new, prefix, antialias=True)
    theirs = resample_abs_pos_embed(embedding, list(new), list(old), num_prefix_tokens=prefix)
    assert torch.allclose(ours, theirs, atol=1e-6)
    without = resize_position_embedding(embedding, old, new, prefix)
    assert not torch.allclose(without, theirs, atol=1e-2), "the authors' way and timm's are two ways"


@pytest.mark.parametrize("prefix", [1, 2])
def test_prefix_tokens_have_no_place_in_the_picture_and_stay_as_they_are(prefix):
    embedding = random_position_embedding(prefix, (3, 3))
    resized = resize_position_embedding(embedding, (3, 3), (5, 5), prefix)
    assert resized.shape == (1, prefix + 25, 8)
    assert torch.equal(resized[:, :prefix], embedding[:, :prefix])


def test_half_precision_is_resized_with_antialias_and_nearest_has_none():
    table = torch.randn(1, 17, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = resize_position_embedding(table, (4, 4), (3, 3), 1, antialias=True)
    whole = resize_position_embedding(table.float(), (4, 4), (3, 3), 1, antialias=True)
    assert found.dtype == torch.bfloat16 and torch.equal(found, whole.bfloat16())
    with pytest.raises(DeiTEduError, match="nearest has nothing to smooth: leave out antialias"):
        resize_position_embedding(table, (4, 4), (3, 3), 1, mode="nearest", antialias=True)


def test_resizing_to_the_same_grid_changes_nothing():
    embedding = random_position_embedding(2, (5, 5))
    assert torch.equal(resize_position_embedding(embedding, (5, 5), (5, 5), 2), embedding)


@pytest.mark.parametrize(
    "mode, antialias, ratio",
    [("bilinear", False, 0.685), ("bicubic", False, 0.865), ("bicubic", True, 0.825)],
)
def test_bicubic_keeps_more_of_the_norm_than_bilinear(mode, antialias, ratio):
    noise = random_position_embedding(1, (14, 14), width=384)
    resized = resize_position_embedding(noise, (14, 14), (24, 24), 1, mode, antialias)
    measured = resized[:, 1:].norm(dim=-1).mean() / noise[:, 1:].norm(dim=-1).mean()
    assert measured == pytest.approx(ratio, abs=0.01)


def test_a_patch_size_that_does_not_divide_is_named_with_those_that_do():
    with pytest.raises(DeiTEduError) as error:
        patchify(torch.zeros(1, 1, 28, 28), 5)
    assert str(error.value) == ("patch size 5 does not divide image height 28: try one of [1, 2, 4, 7, 14, 28]")
    with pytest.raises(DeiTEduError, match="patch size 4 does not divide image width 6: try one of"):
        patch_grid(8, 6, 4)
    with pytest.raises(DeiTEduError, match="patch size 0 does not divide"):
        patch_grid(8, 8, 0)


def test_patches_that_make_no_such_image_are_refused_with_the_shape_expected():
    with pytest.raises(DeiTEduError) as error:
        unpatchify(torch.zeros(2, 16, 48), 4, 1, 16, 16)
    assert "patches of shape (2, 16, 48) do not make a 1x16x16 image with patch size 4" in str(error.value)
    assert "expected (B, 16, 16)" in str(error.value)


def test_a_wrong_number_of_prefix_tokens_is_named():
    with pytest.raises(DeiTEduError) as error:
        resize_position_embedding(torch.zeros(1, 198, 8), (14, 14), (24, 24), 1)
    assert "198 position embeddings are not 1 prefix tokens plus a grid of 14x14 patches" in str(error.value)
    assert "1 plain, 2 distilled" in str(error.value)
