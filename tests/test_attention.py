"""Attention: the equation, its fused form, and the few queries of the last block."""

import numpy as np
import pytest
import references
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deit_edu.attention import SHORT, MultiHeadSelfAttention, attention
from deit_edu.errors import DeiTEduError


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_layer(width=24, heads=3, **settings):
    torch.manual_seed(0)
    layer = MultiHeadSelfAttention(width, heads, **settings)
    nn.init.normal_(layer.qkv.bias)
    nn.init.normal_(layer.projection.bias)
    return layer


def test_attention_is_equation_1():
    Q, K, V = random(5, 4, seed=1), random(7, 4, seed=2), random(7, 6, seed=3)
    answers, weights = attention(Q, K, V)
    expected_answers, expected_weights = references.attention(Q.numpy(), K.numpy(), V.numpy())
    assert np.allclose(answers, expected_answers, atol=1e-6)
    assert np.allclose(weights, expected_weights, atol=1e-6)


def test_each_row_of_the_weights_sums_to_1_even_for_extreme_scores():
    _, weights = attention(*(1e4 * random(2, 3, 9, 8, seed=seed) for seed in range(3)))
    assert weights.shape == (2, 3, 9, 9)
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 9))


def test_a_query_that_prefers_no_key_takes_the_mean_of_the_values():
    values = random(6, 4)
    answers, _ = attention(torch.zeros(2, 4), random(6, 4, seed=1), values)
    assert torch.allclose(answers, values.mean(0).expand(2, 4), atol=1e-6)


@pytest.mark.parametrize("B, T, D, h", [(2, 33, 64, 4), (1, 66, 48, 3), (3, 51, 32, 1), (2, 5, 10, 10)])
def test_fused_and_explicit_attention_are_equal_forward_and_backward(B, T, D, h):
    layer = random_layer(D, h)
    pull = random(B, T, D, seed=1)
    results = []
    for forward in (layer, lambda tokens: layer.forward_with_weights(tokens)[0]):
        tokens = random(B, T, D).requires_grad_()
        answer = forward(tokens)
        results.append((answer, *torch.autograd.grad(answer, [tokens, *layer.parameters()], pull)))
    for fused, explicit in zip(*results, strict=True):
        assert references.relative_error(fused, explicit) < 1e-5


@pytest.mark.parametrize("num_queries", [None, 2])
def test_only_long_sequences_are_left_to_the_fused_kernel_on_a_cpu(monkeypatch, num_queries):
    fused, asked = F.scaled_dot_product_attention, []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkv: asked.append(qkv[1].shape[2]) or fused(*qkv))
    for T in (SHORT, SHORT + 1):
        random_layer()(random(1, T, 24), num_queries)
    assert asked == [SHORT + 1]


@pytest.mark.parametrize("num_queries", [1, 2, 9])
def test_asking_from_the_first_tokens_only_gives_their_rows_of_the_whole_answer(num_queries):
    layer, tokens = random_layer(), random(2, 9, 24)
    few = layer(tokens, num_queries=num_queries)
    assert few.shape == (2, num_queries, 24)
    assert references.relative_error(few, layer(tokens)[:, :num_queries]) < 1e-5


def test_multi_head_attention_is_pytorchs_with_the_same_weights():
    layer, tokens = random_layer(), random(2, 9, 24)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": layer.qkv.weight,
            "in_proj_bias": layer.qkv.bias,
            "out_proj.weight": layer.projection.weight,
            "out_proj.bias": layer.projection.bias,
        }
    )
    expected, expected_weights = theirs(tokens, tokens, tokens, average_attn_weights=False)
    answer, weights = layer.forward_with_weights(tokens)
    assert references.relative_error(answer, expected) < 1e-5
    assert references.relative_error(weights, expected_weights) < 1e-5


def test_dropout_acts_in_training_only():
    layer, tokens = random_layer(drop_rate=0.5), random(2, 9, 24)
    assert (layer.train()(tokens) == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (layer.eval()(tokens) != 0).all()


def test_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(DeiTEduError) as error:
        MultiHeadSelfAttention(64, 3)
    assert str(error.value) == "3 heads do not divide width 64: choose a width that is a multiple"
    with pytest.raises(DeiTEduError, match="0 heads do not divide width 64"):
        MultiHeadSelfAttention(64, 0)


def test_the_fused_kernel_is_counted_on_meta_and_not_on_a_cpu():
    """Chapter 2 says so of FlopCounterMode; where this fails, PyTorch counts it now, and the sentence goes."""
    T, D = 197, 192
    multiplications = {}
    for device in ("meta", "cpu"):
        with torch.device(device), FlopCounterMode(display=False) as counter:
            MultiHeadSelfAttention(D, num_heads=3)(torch.zeros(1, T, D))
        multiplications[device] = counter.get_total_flops() // 2
    assert multiplications["meta"] == 4 * T * D**2 + 2 * T**2 * D
    assert multiplications["cpu"] == 4 * T * D**2
