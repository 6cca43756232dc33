"""Attention: every token asks all tokens, and takes the weighted mean of what they answer.

Paper: section 3, equation 1.
"""

import torch
import torch.nn.functional as F
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.layers import untouched

SHORT = 32  # tokens: up to here a CPU has the explicit products sooner than PyTorch's fused kernel


def attention(queries, keys, values):
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V (paper, equation 1).

    Args:
        queries, keys, values: (..., T, d).

    Returns:
        The answers (..., T, d) and the attention weights (..., T, T): row t says how much token t
        takes from each token; every row sums to 1.
    """
    d = queries.shape[-1]
    scores = queries @ keys.transpose(-2, -1) / d**0.5  # (..., T, T)
    weights = scores.softmax(dim=-1)  # (..., T, T), each row sums to 1
    return weights @ values, weights  # (..., T, d), (..., T, T)


class MultiHeadSelfAttention(nn.Module):
    """h attentions side by side on slices of width d = D/h, concatenated and projected back (paper, section 3).

    Args:
        embed_dim: D. num_heads: h, must divide D. drop_rate: dropout after the projection.

    Raises:
        DeiTEduError: when num_heads does not divide embed_dim.
    """

    def __init__(self, embed_dim, num_heads, drop_rate=0.0):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise DeiTEduError(f"{num_heads} heads do not divide width {embed_dim}: choose a width that is a multiple")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)  # queries, keys and values of all heads in one product
        self.projection = nn.Linear(embed_dim, embed_dim)
        self.drop_rate = drop_rate

    def split_heads(self, tokens):
        """(B, T, D) -> queries, keys, values, each (B, h, T, d)."""
        B, T, D = tokens.shape
        qkv = self.qkv(tokens).reshape(B, T, 3, self.num_heads, D // self.num_heads)  # (B, T, 3, h, d)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)  # three times (B, h, T, d)

    def split_heads_of_first(self, tokens, num_queries):
        """The same, but only the first `num_queries` tokens ask: queries (B, h, num_queries, d)."""
        if not untouched(self.qkv):  # an adapter, a hook, a quantised weight: it must be called, and so it is
            queries, keys, values = self.split_heads(tokens)
            return queries[:, :, :num_queries], keys, values
        D = tokens.shape[-1]
        ask, answer = self.qkv.weight.split([D, 2 * D])  # (D, D), (2D, D)
        ask_bias, answer_bias = self.qkv.bias.split([D, 2 * D])
        heads = (self.num_heads, D // self.num_heads)
        queries = F.linear(tokens[:, :num_queries], ask, ask_bias).unflatten(-1, heads)  # (B, num_queries, h, d)
        keys_values = F.linear(tokens, answer, answer_bias).unflatten(-1, (2, *heads))  # (B, T, 2, h, d)
        keys, values = keys_values.permute(2, 0, 3, 1, 4).unbind(0)  # twice (B, h, T, d)
        return queries.transpose(1, 2), keys, values

    def merge_heads(self, answers):
        """(B, h, T, d) -> (B, T, D): concatenate the heads, then project."""
        merged = answers.transpose(1, 2).flatten(2)  # (B, T, D)
        return F.dropout(self.projection(merged), self.drop_rate, self.training)

    def forward(self, tokens, num_queries=None):
        """(B, T, D) -> (B, T, D): the numbers of `attention`, by PyTorch's fused kernel where that is faster.

        With `num_queries`, only the first tokens ask (all answer): (B, T, D) -> (B, num_queries, D).
        """
        if num_queries is None:
            queries, keys, values = self.split_heads(tokens)
        else:
            queries, keys, values = self.split_heads_of_first(tokens, num_queries)
        short = tokens.shape[1] <= SHORT or torch.compiler.is_compiling()  # compiled, explicit products are fused too
        if short and tokens.device.type == "cpu":
            answers, _ = attention(queries, keys, values)
        else:
            answers = F.scaled_dot_product_attention(queries, keys, values)
        return self.merge_heads(answers)

    def forward_with_weights(self, tokens):
        """The same answer by the explicit `attention`, and the weights: (B, T, D), (B, h, T, T)."""
        answers, weights = attention(*self.split_heads(tokens))  # (B, h, T, d), (B, h, T, T)
        return self.merge_heads(answers), weights
