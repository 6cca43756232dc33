"""The model equals timm's, counts as the paper's do, and its two heads are fused as the paper and the code say."""

from dataclasses import replace

import numpy as np
import pytest
import references
import timm
import torch
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.inspect import prefix_attention
from deit_edu.model import DeiT, DeiTConfig, HeadLogits, create_model, drop_path, fuse
from deit_edu.runs.weights import timm_settings, to_timm_state_dict
from deit_edu.train import parameter_groups
from deit_edu.widgets.network import check_runs_here

SMALL = references.SHAPES["3x3-grid"]
every_shape = pytest.mark.parametrize("shape", references.SHAPES.values(), ids=references.SHAPES)
both_kinds = pytest.mark.parametrize("distilled", [True, False], ids=["distilled", "plain"])


def pair(shape, distilled):
    """Our model, timm's with the same weights, and images."""
    model = references.random_deit(distilled=distilled, **shape)
    return model, references.timm_twin(model), references.random_images(model)


# ---- equal to timm ----


@every_shape
@both_kinds
def test_logits_of_each_head_equal_timms(shape, distilled):
    model, twin, images = pair(shape, distilled)
    for ours, theirs in zip(model(images), references.timm_heads(twin, images), strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert references.relative_error(ours, theirs) < 1e-5


@every_shape
@both_kinds
def test_what_timm_returns_is_the_mean_of_the_logits(shape, distilled):
    model, twin, images = pair(shape, distilled)
    assert references.relative_error(fuse(model(images), "logits"), twin(images)) < 1e-5


def test_timm_in_distilled_training_returns_our_two_heads():
    model, twin, images = pair(SMALL, True)
    twin.set_distilled_training(True)
    for ours, theirs in zip(model(images), twin.train()(images), strict=True):
        assert references.relative_error(ours, theirs) < 1e-5


@every_shape
@both_kinds
def test_token_features_equal_timms(shape, distilled):
    model, twin, images = pair(shape, distilled)
    features = model.forward_features(images)
    assert features.shape == (len(images), model.config.num_tokens, model.config.embed_dim)
    assert references.relative_error(features, twin.forward_features(images)) < 1e-5


def test_the_heads_read_the_first_tokens_of_the_features():
    model = references.random_deit(distilled=True, **SMALL)
    images = references.random_images(model)
    features, logits = model.forward_features(images), model(images)
    assert references.relative_error(logits.class_logits, model.class_head(features[:, 0])) < 1e-5
    assert references.relative_error(logits.distillation_logits, model.distillation_head(features[:, 1])) < 1e-5


@every_shape
def test_the_mean_of_the_patches_is_read_as_by_timms_avg(shape):
    model = references.random_deit(distilled=False, **shape)
    name, settings = timm_settings(model.config)
    mean = DeiT(replace(model.config, pool="mean")).eval()
    mean.load_state_dict(model.state_dict())
    twin = timm.create_model(name, **settings, global_pool="avg").eval()  # there the norm comes after the mean, too
    weights = {name.replace("norm.", "fc_norm.", 1) if name.startswith("norm.") else name: tensor
               for name, tensor in to_timm_state_dict(model).items()}  # fmt: skip
    twin.load_state_dict(weights, strict=True)
    images = references.random_images(model)
    assert references.relative_error(mean(images).class_logits, twin(images)) < 1e-5
    assert references.relative_error(mean(images).class_logits, model(images).class_logits) > 1e-3


def test_beside_the_mean_of_the_patches_the_distillation_token_is_read_as_ever():
    token = references.random_deit(distilled=True, **SMALL)
    mean = DeiT(replace(token.config, pool="mean")).eval()
    mean.load_state_dict(token.state_dict())
    images = references.random_images(token)
    found, before = mean(images), token(images)
    assert references.relative_error(found.distillation_logits, before.distillation_logits) < 1e-5
    assert references.relative_error(found.class_logits, before.class_logits) > 1e-3
    with pytest.raises(DeiTEduError, match="pool is 'max': say token .* or mean"):
        replace(token.config, pool="max")
    with pytest.raises(DeiTEduError, match="runs in deit_edu only"):
        timm_settings(mean.config)


def test_registers_are_attended_to_and_not_read():
    plain = references.random_deit(distilled=True, **SMALL)
    model = DeiT(replace(plain.config, registers=2)).eval()
    assert set(model.state_dict()) - set(plain.state_dict()) == {"register_token"}
    model.load_state_dict(plain.state_dict() | {"register_token": torch.randn(1, 2, plain.config.embed_dim)})
    images, N = references.random_images(model), 9
    assert model.forward_features(images).shape[1] == 2 + N + 2 == model.config.num_tokens + 2
    assert references.relative_error(model(images).class_logits, plain(images).class_logits) > 1e-3
    maps = model.attention_maps(images)
    assert maps.shape[-1] == 13 and (maps[..., -2:] > 0).all()
    pictures = prefix_attention(maps, model.config)
    assert torch.equal(pictures["class"].flatten(-2), maps[..., 0, 2:11])
    groups = parameter_groups(model, 0.1)
    assert any(model.register_token is parameter for parameter in groups[1]["params"])  # no decay, as other tokens
    with pytest.raises(DeiTEduError, match="registers is -1"):
        replace(model.config, registers=-1)
    for elsewhere in (lambda: timm_settings(model.config), lambda: check_runs_here(model)):
        with pytest.raises(DeiTEduError, match="2 registers, which no DeiT of others has"):
            elsewhere()


@every_shape
@both_kinds
def test_attention_maps_equal_timms(shape, distilled):
    model, twin, images = pair(shape, distilled)
    theirs = []
    for block in twin.blocks:
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, weights: theirs.append(weights))
    twin.forward_features(images)
    maps, config = model.attention_maps(images), model.config
    assert maps.shape == (config.depth, len(images), config.num_heads, config.num_tokens, config.num_tokens)
    assert references.relative_error(maps, torch.stack(theirs)) < 1e-5


def pull_on_heads(heads):
    """A number that depends on each head's logits in another way."""
    heads = [logits for logits in heads if logits is not None]
    generator = torch.Generator().manual_seed(2)
    return sum((logits * torch.randn(logits.shape, generator=generator)).sum() for logits in heads)


def pull_on_features(features):
    return (features * torch.randn(features.shape, generator=torch.Generator().manual_seed(2))).sum()


@every_shape
@both_kinds
@pytest.mark.parametrize("through", ["heads", "features"])
def test_gradients_of_the_image_and_of_every_parameter_equal_timms(shape, distilled, through):
    model, twin, images = pair(shape, distilled)
    our_images, their_images = images.clone().requires_grad_(), images.clone().requires_grad_()
    if through == "heads":
        pull_on_heads(model(our_images)).backward()
        pull_on_heads(references.timm_heads(twin, their_images)).backward()
    else:
        pull_on_features(model.forward_features(our_images)).backward()
        pull_on_features(twin.forward_features(their_images)).backward()
    assert references.relative_error(our_images.grad, their_images.grad) < 1e-5
    for name, parameter in model.named_parameters():
        theirs = twin.get_parameter(references.timm_name(name)).grad
        if through == "features" and "head" in name:
            assert parameter.grad is None and theirs is None
        else:
            assert references.relative_error(parameter.grad, theirs) < 1e-5, name


def test_stochastic_depth_rises_as_timms():
    model, twin, _ = pair(dict(references.SHAPES["5x5-grid"], depth=4, drop_path_rate=0.3), False)
    theirs = [getattr(block.drop_path1, "drop_prob", 0.0) for block in twin.blocks]
    assert [block.drop_path_rate for block in model.blocks] == pytest.approx(theirs)
    assert theirs[-1] == pytest.approx(0.3)


# ---- sizes ----

# The paper rounds them to 5M, 22M and 86M. Plain and distilled for 1000 classes, plain and distilled for 10.
COUNTS = {
    "deit_tiny_patch16_224": [5_717_416, 5_910_800, 5_526_346, 5_528_660],
    "deit_small_patch16_224": [22_050_664, 22_436_432, 21_669_514, 21_674_132],
    "deit_base_patch16_224": [86_567_656, 87_338_192, 85_806_346, 85_815_572],
}


def count_parameters(name, distilled, **overrides):
    with torch.device("meta"):  # shapes without memory
        return sum(p.numel() for p in create_model(name, distilled=distilled, **overrides).parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_table_1_exactly(name):
    counts = [count_parameters(name, distilled, num_classes=K) for K in (1000, 10) for distilled in (False, True)]
    assert counts == COUNTS[name]


def test_parameter_counts_of_deit_base_at_384_px():
    assert count_parameters("deit_base_patch16_224", False, image_size=384) == 86_859_496
    assert count_parameters("deit_base_patch16_224", True, image_size=384) == 87_630_032


@every_shape
@both_kinds
def test_the_parameter_formula_holds_for_any_shape(shape, distilled):
    config = DeiTConfig(**{**shape, "mlp_ratio": 4.0}, distilled=distilled)  # the formula is for a ratio of 4
    channels, D, K, L = config.in_channels, config.embed_dim, config.num_classes, config.depth
    p, N, k = config.patch_size, (config.image_size // config.patch_size) ** 2, 2 if distilled else 1
    formula = (channels * p**2 * D + D) + k * D + (N + k) * D + L * (12 * D**2 + 13 * D) + 2 * D + k * (D * K + K)
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in DeiT(config).parameters()) == formula


@pytest.mark.parametrize("name, D", [(name, 192 * 2**i) for i, name in enumerate(COUNTS)])
@pytest.mark.parametrize("K", [10, 1000])
def test_the_distillation_token_costs_two_vectors_and_a_head(name, D, K):
    plain, distilled = (count_parameters(name, kind, num_classes=K) for kind in (False, True))
    assert distilled - plain == 2 * D + D * K + K


@pytest.mark.parametrize("name", COUNTS)
def test_a_head_is_64_wide_in_every_model_of_table_1(name):
    with torch.device("meta"):
        config = create_model(name).config
    assert config.embed_dim / config.num_heads == 64
    assert config.depth == 12
    assert config.grid == (14, 14)


def test_our_count_is_timms_own():
    model = references.random_deit(distilled=True, **SMALL)
    twin = references.timm_twin(model)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in twin.parameters())


def test_a_new_model_starts_as_in_the_authors_code():
    torch.manual_seed(0)
    model = DeiT(DeiTConfig(image_size=48, depth=2))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert (module.bias == 0).all()
        if isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and (module.bias == 0).all() and module.eps == 1e-6
    for token in (model.class_token, model.distillation_token, model.position_embedding):
        assert token.std().item() == pytest.approx(0.02, rel=0.2)
    fan_in = 3 * 16 * 16  # the patch convolution keeps PyTorch's default: uniform within 1/sqrt(fan in)
    assert model.patch_embedding.projection.weight.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.01)


# ---- the same in training and in evaluation ----


@both_kinds
def test_what_the_model_returns_does_not_depend_on_its_mode(distilled):
    model = references.random_deit(distilled=distilled, **SMALL)
    images = references.random_images(model)
    trained, evaluated = model.train()(images), model.eval()(images)
    assert type(trained) is type(evaluated) is HeadLogits
    for in_training, in_evaluation in zip(trained, evaluated, strict=True):
        assert (in_training is None and in_evaluation is None) or torch.equal(in_training, in_evaluation)
    assert (evaluated.distillation_logits is None) == (not distilled)


@pytest.mark.parametrize("rate", [dict(drop_rate=0.3), dict(drop_path_rate=0.9)])
def test_dropout_and_stochastic_depth_act_in_training_only(rate):
    model = references.random_deit(distilled=True, **SMALL, **rate)
    without = references.random_deit(distilled=True, **SMALL)
    images = references.random_images(model, batch=16)
    assert torch.equal(model(images).class_logits, without(images).class_logits)
    assert not torch.allclose(model.train()(images).class_logits, without(images).class_logits, atol=1e-2)


def test_attention_is_read_in_eval_mode_and_the_mode_is_put_back():
    model = references.random_deit(distilled=True, **SMALL, drop_rate=0.5, drop_path_rate=0.5)
    images = references.random_images(model)
    expected = model.attention_maps(images)
    assert not model.training
    maps = model.train().attention_maps(images)
    assert model.training and all(module.training for module in model.modules())
    assert torch.equal(maps, expected)
    assert not maps.requires_grad
    assert torch.allclose(maps.sum(-1), torch.ones(maps.shape[:-1]))
    with pytest.raises(DeiTEduError):
        model.attention_maps(images[:, :, 1:])
    assert model.training


def test_stochastic_depth_keeps_the_mean_and_drops_whole_images():
    torch.manual_seed(0)
    branch = torch.ones(20_000, 2, 3)
    dropped = drop_path(branch, 0.3, training=True)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)
    assert (dropped == dropped[:, :1, :1]).all(), "an image is kept whole or dropped whole"
    assert np.allclose(dropped.unique(), [0, 1 / 0.7])
    assert drop_path(branch, 0.3, training=False) is branch


def test_order_of_tokens_means_nothing_without_positions():
    """Why the sequence may be [class, distillation, patches] where figure 2 draws the distillation token last."""
    model = references.random_deit(distilled=True, **SMALL)
    tokens = model.embed(references.random_images(model))
    order = torch.tensor([0, *range(2, tokens.shape[1]), 1])
    block = model.blocks[0]
    assert references.relative_error(block(tokens[:, order]), block(tokens)[:, order]) < 1e-5


# ---- fusion ----


def random_heads(scale=3.0):
    generator = torch.Generator().manual_seed(0)
    return HeadLogits(*(scale * torch.randn(2, 50, 10, generator=generator)))


def test_fusing_probabilities_is_the_log_of_the_mean_of_the_softmaxes():
    heads = random_heads()
    mean = (references.softmax(heads[0].numpy()) + references.softmax(heads[1].numpy())) / 2
    assert np.allclose(fuse(heads), np.log(mean), atol=1e-5)
    assert np.allclose(fuse(heads).exp().sum(-1), 1, atol=1e-5)
    assert torch.equal(fuse(heads, "probabilities"), fuse(heads)), "the paper's way is the default"


def test_fusing_logits_is_their_mean():
    heads = random_heads()
    assert np.allclose(fuse(heads, "logits"), (heads[0].numpy() + heads[1].numpy()) / 2, atol=1e-6)


def test_the_papers_fusion_and_the_codes_can_choose_different_classes():
    heads = HeadLogits(torch.tensor([[30.0, 0.0, 0.0]]), torch.tensor([[0.0, 31.0, 30.5]]))
    assert fuse(heads, "probabilities").argmax() == 0
    assert fuse(heads, "logits").argmax() == 1


def test_fusion_stays_finite_for_extreme_logits():
    heads = HeadLogits(torch.tensor([[1e4, -1e4]]), torch.tensor([[-1e4, 1e4]]))
    assert torch.allclose(fuse(heads), torch.log(torch.tensor([[0.5, 0.5]])), atol=1e-2)


def test_fusing_a_plain_model_gives_its_class_head():
    logits = random_heads().class_logits
    for how in ("probabilities", "logits"):
        assert torch.equal(fuse(HeadLogits(logits, None), how), logits)


# ---- names and errors ----


def test_the_distilled_model_has_the_plain_models_parameters_and_three_more():
    plain, distilled = (set(references.random_deit(distilled=kind, **SMALL).state_dict()) for kind in (False, True))
    assert distilled - plain == {"distillation_token", "distillation_head.weight", "distillation_head.bias"}
    assert plain < distilled


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(depth=0), "depth is 0: it must be 1 or more"),
        (dict(mlp_ratio=-1.0), "mlp_ratio is -1.0: the MLP needs a hidden width of 1 or more"),
        (dict(num_classes=-1), "num_classes is -1: it must be 1 or more"),
        (dict(drop_rate=1.0), "drop_rate is 1.0: it must lie in [0, 1)"),
        (dict(drop_path_rate=-0.1), "drop_path_rate is -0.1: it must lie in [0, 1)"),
        (dict(embed_dim=64, num_heads=3), "3 heads do not divide width 64: try embed_dim=63"),
        (
            dict(image_size=28, patch_size=5),
            "patch size 5 does not divide image height 28: try one of [1, 2, 4, 7, 14, 28]",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings, message):
    with pytest.raises(DeiTEduError) as error:
        DeiTConfig(**settings)
    assert str(error.value) == message


def test_images_of_another_shape_are_refused_with_what_to_do():
    model = references.random_deit(distilled=True, **SMALL)
    for shape in [(2, 1, 28, 28), (2, 3, 21, 21), (1, 21, 21), (2, 1, 21, 28)]:
        with pytest.raises(DeiTEduError) as error:
            model(torch.zeros(shape))
        assert f"images of shape {shape} do not fit this model: expected (B, 1, 21, 21)" in str(error.value)
        assert "deit_edu.runs.weights.resize_model" in str(error.value)


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(DeiTEduError, match="unknown model 'deit_huge': choose one of deit_tiny_patch16_224, "):
        create_model("deit_huge")
    with pytest.raises(DeiTEduError, match="unknown model setting 'classes': choose one of .*num_classes"):
        create_model("deit_tiny_patch16_224", classes=10)
    with pytest.raises(DeiTEduError) as error:
        fuse(random_heads(), "sum")
    assert str(error.value) == "unknown fusion 'sum': choose 'probabilities' (the paper) or 'logits' (the code)"
