"""A second token for somebody's ViT: timm's own token distillation says the same, and the loop trains it."""

import pytest
import timm
import torch
from toy import toy_dataset, weights

from deit_edu.distil import add_distillation
from deit_edu.errors import DeiTEduError
from deit_edu.losses import DistillationObjective

SHAPE = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=5)


def pair():
    """timm's distilled DeiT, and a plain one of its weights with our second token."""
    torch.manual_seed(0)
    theirs = timm.create_model("deit_tiny_distilled_patch16_224", **SHAPE)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    plain = timm.create_model("deit_tiny_patch16_224", **SHAPE)
    state = theirs.state_dict()
    positions = state.pop("pos_embed")
    second = {name: state.pop(name) for name in ("dist_token", "head_dist.weight", "head_dist.bias")}
    plain.load_state_dict(state | {"pos_embed": torch.cat([positions[:, :1], positions[:, 2:]], 1)})
    ours = add_distillation(plain, 5)
    with torch.no_grad():
        ours.distillation_token.copy_(second["dist_token"])
        ours.distillation_position_embed.copy_(positions[:, 1:2])
        ours.distillation_head.weight.copy_(second["head_dist.weight"])
        ours.distillation_head.bias.copy_(second["head_dist.bias"])
    return theirs, ours


@pytest.mark.parametrize("training", [True, False])
def test_timms_token_distillation_says_the_same_in_both_modes(training):
    theirs, ours = (model.train(training) for model in pair())
    theirs.set_distilled_training(training)
    images = torch.randn(3, 3, 32, 32)
    expected, said = theirs(images), ours(images)
    if training:  # both heads
        for one, other in zip(said, expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    else:  # their mean
        torch.testing.assert_close(sum(said) / 2, expected, atol=1e-6, rtol=1e-6)


def test_a_trained_vit_keeps_its_head_and_its_second_token_starts_as_the_first():
    plain = timm.create_model("vit_tiny_patch16_224", **SHAPE)
    head, token = plain.head, plain.cls_token.detach().clone()
    ours = add_distillation(plain, 5)
    assert ours.class_head is head and torch.equal(ours.distillation_token, token)
    other = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE), 7)
    assert {len(logits[0]) for logits in other(torch.zeros(1, 3, 32, 32))} == {7}


def test_a_vit_of_hugging_face_takes_it_too():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                    image_size=32, patch_size=8, num_labels=5)  # fmt: skip
    torch.manual_seed(0)
    plain = transformers.ViTForImageClassification(config).eval()
    images = torch.randn(2, 3, 32, 32)
    ours = add_distillation(plain, 5).eval()
    said = ours(images)
    assert said.class_logits.shape == said.distillation_logits.shape == (2, 5)
    (said.class_logits.sum() + said.distillation_logits.sum()).backward()
    assert all(parameter.grad is not None for name, parameter in ours.named_parameters() if "pooler" not in name)


def test_the_loss_trains_both_tokens():
    ours = add_distillation(timm.create_model("vit_tiny_patch16_224", **SHAPE | {"num_classes": 3}), 3)
    optimizer, before = torch.optim.AdamW(ours.parameters(), lr=1e-3), weights(ours)
    data = toy_dataset(side=32, channels=3).train
    loss = DistillationObjective("hard", "both")(ours(data.images[:9] / 255), data.labels[:9], torch.randn(9, 3))
    loss.backward()
    optimizer.step()
    assert not torch.equal(before["distillation_token"], ours.distillation_token)


@pytest.mark.parametrize(("name", "message"), [
    ("test_resnet", "no ViT"), ("deit_tiny_distilled_patch16_224", "prefix tokens of its own already"),
    ("deit3_small_patch16_224", "positions leave out the class token"),
])  # fmt: skip
def test_what_has_no_single_class_token_is_refused(name, message):
    with pytest.raises(DeiTEduError, match=message):
        add_distillation(timm.create_model(name), 5)
