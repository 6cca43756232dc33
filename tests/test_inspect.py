"""What the tokens look at, how alike they are, who disagrees: each held to a small case done by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy import toy_dataset

from deit_edu.data import normalise
from deit_edu.errors import DeiTEduError
from deit_edu.inspect import (
    attention_in_boxes,
    attention_rollout,
    box_coverage,
    describe_tokens,
    disagreement,
    patch_norms,
    prefix_attention,
    token_similarity,
)
from deit_edu.model import DeiT, DeiTConfig

CONFIG = DeiTConfig(
    image_size=12, patch_size=4, in_channels=1, num_classes=5, embed_dim=16, depth=3, num_heads=2, drop_rate=0.3
)


def random_maps(L=3, B=2, h=2, T=11):
    return torch.rand(L, B, h, T, T, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)


def model_and_images(**changes):
    torch.manual_seed(0)
    model = DeiT(DeiTConfig(**{**CONFIG.to_dict(), **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # no zeros to hide behind
    return model, torch.randn(4, 1, 12, 12)


@pytest.mark.parametrize("head_fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard_ratio", [0.0, 0.5])
def test_every_row_of_a_rollout_sums_to_1(head_fusion, discard_ratio):
    rollout = attention_rollout(random_maps(), head_fusion, discard_ratio=discard_ratio)
    assert rollout.shape == (2, 11, 11)
    assert torch.allclose(rollout.sum(dim=-1), torch.ones(2, 11))


def test_a_rollout_of_two_layers_is_the_later_times_the_earlier():
    maps = random_maps(L=2, B=1)
    first, second = ((layer[0].mean(dim=0) + torch.eye(11)) / 2 for layer in maps)
    assert torch.allclose(attention_rollout(maps)[0], second @ first, atol=1e-6)
    assert not torch.allclose(attention_rollout(maps)[0], first @ second, atol=1e-3)


def test_a_rollout_without_the_way_around_is_attention_alone():
    maps = random_maps(L=1, h=1)
    assert torch.allclose(attention_rollout(maps, residual=False), maps[0, :, 0], atol=1e-6)


def test_discarding_keeps_the_largest_weights_of_each_row():
    maps = random_maps(L=1, B=1, h=1, T=4)
    kept = attention_rollout(maps, residual=False, discard_ratio=0.5)[0]
    for row, weights in zip(kept, maps[0, 0, 0], strict=True):
        largest = weights.topk(2).indices
        assert set(row.nonzero().flatten().tolist()) == set(largest.tolist())
        assert torch.allclose(row[largest], weights[largest] / weights[largest].sum())


@pytest.mark.parametrize(
    ("wrong", "says"), [({"head_fusion": "sum"}, "choose one of mean, max, min"), ({"discard_ratio": 1.0}, "[0, 1)")]
)
def test_a_rollout_that_cannot_be_says_why(wrong, says):
    with pytest.raises(DeiTEduError) as error:
        attention_rollout(random_maps(), **wrong)
    assert says in str(error.value)


def test_prefix_attention_is_the_first_rows_without_the_prefix_columns():
    maps = random_maps()
    pictures = prefix_attention(maps, CONFIG)
    assert list(pictures) == ["class", "distillation"]
    for row, picture in enumerate(pictures.values()):
        assert picture.shape == (3, 2, 2, 3, 3)
        assert torch.equal(picture.flatten(-2), maps[..., row, 2:])
    plain = DeiTConfig(**{**CONFIG.to_dict(), "distilled": False})
    assert list(prefix_attention(random_maps(T=10), plain)) == ["class"]


def test_box_coverage_counts_the_pixels_of_each_patch():
    generator = torch.Generator().manual_seed(0)
    corner, side = torch.randint(0, 8, (20, 2), generator=generator), torch.randint(1, 5, (20, 2), generator=generator)
    boxes = torch.cat([corner, side], dim=1)
    for box, coverage in zip(boxes, box_coverage(boxes, CONFIG), strict=True):
        top, left, height, width = box.tolist()
        pixels = torch.zeros(12, 12)
        pixels[top : top + height, left : left + width] = 1
        assert torch.allclose(coverage, pixels.reshape(3, 4, 3, 4).mean(dim=(1, 3)))


def test_all_attention_on_the_item_is_a_share_of_1():
    boxes = torch.tensor([[4, 4, 4, 8], [0, 0, 4, 4]])
    inside = (box_coverage(boxes, CONFIG) == 1).float()
    assert attention_in_boxes(inside, boxes, CONFIG).tolist() == [1, 1]
    assert attention_in_boxes(1 - inside, boxes, CONFIG).tolist() == [0, 0]


def test_attention_that_does_not_look_gets_the_boxs_share_of_the_image():
    boxes = torch.tensor([[1, 3, 5, 7], [0, 0, 12, 12]])
    share = attention_in_boxes(torch.ones(6, 2, 3, 3), boxes, CONFIG)  # six layers
    assert torch.allclose(share, torch.tensor([5 * 7 / 144, 1.0]).expand(6, 2))


def test_token_similarity_starts_with_the_learned_vectors_and_ends_after_the_norm():
    model, images = model_and_images()
    model.train()  # dropout must not show
    similarity = token_similarity(model, images)
    assert model.training and similarity.shape == (4,)
    model.eval()
    learned = torch.cosine_similarity(model.class_token[0, 0], model.distillation_token[0, 0], dim=0)
    read = model.forward_features(images)
    assert torch.allclose(similarity[0], learned)
    assert torch.allclose(similarity[-1], torch.cosine_similarity(read[:, 0], read[:, 1], dim=-1).mean())
    between = model.blocks[0](model.embed(images))
    assert torch.allclose(similarity[1], torch.cosine_similarity(between[:, 0], between[:, 1], dim=-1).mean())


def test_the_norms_of_the_patches_are_read_after_every_block_without_the_other_tokens():
    model, images = model_and_images(registers=2)
    model.train()  # dropout must not show
    found = patch_norms(model, images)
    assert model.training and found["median"].shape == found["largest"].shape == (4,)
    model.eval()
    tokens = model.embed(images)
    for layer, block in enumerate([torch.nn.Identity(), *model.blocks]):
        tokens = block(tokens)
        norms = tokens[:, 2:11].norm(dim=-1).sort(dim=1).values  # (B, 9): neither prefix nor registers
        assert torch.allclose(found["largest"][layer], norms[:, -1].mean())
        assert torch.allclose(found["median"][layer], norms[:, 4].mean())


def test_tokens_of_a_plain_model_cannot_be_compared():
    model, images = model_and_images(distilled=False)
    with pytest.raises(DeiTEduError, match="no distillation token"):
        token_similarity(model, images)


def test_disagreement_is_the_share_of_images_with_different_decisions():
    truth, one, other = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), torch.tensor([0, 0, 0, 0])
    matrix = disagreement({"truth": truth, "one": one, "other": other})
    assert matrix.tolist() == [[0, 0.25, 0.75], [0.25, 0, 0.5], [0.75, 0.5, 0]]


def test_predictions_of_different_lengths_cannot_disagree():
    with pytest.raises(DeiTEduError, match="different numbers of images"):
        disagreement({"one": np.zeros(3), "other": np.zeros(4)})


@torch.no_grad()
def test_a_description_of_the_tokens_is_the_mean_over_all_images_at_once():
    model, _ = model_and_images()
    data = toy_dataset(side=12)  # 60 test images: more than are described at a time, and no multiple
    corners = torch.randint(0, 6, (60, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners, torch.full((60, 2), 5)], dim=1)
    data = replace(data, test=replace(data.test, boxes=boxes))
    images = normalise(data.test.images, data.mean, data.std)
    described = describe_tokens(model, data)
    close = dict(atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(described["similarity"]), token_similarity(model, images), **close)
    for name, norms in patch_norms(model, images).items():
        torch.testing.assert_close(torch.tensor(described["patch_norms"][name]), norms, **close)
    pictures = prefix_attention(model.attention_maps(images).mean(dim=2), model.config)
    for token, picture in pictures.items():
        expected = attention_in_boxes(picture, data.test.boxes, model.config).mean(dim=-1)
        torch.testing.assert_close(torch.tensor(described["attention_in_box"][token]), expected, **close)
    assert described["box_share"] == pytest.approx(box_coverage(data.test.boxes, model.config).mean().item())
