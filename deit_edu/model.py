"""ViT, and the few lines that make it DeiT: a second token and a second head.

Paper: section 3 and table 1 (the transformer), section 4 and figure 2 (the distillation token).
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from deit_edu.attention import MultiHeadSelfAttention
from deit_edu.errors import DeiTEduError, did_you_mean
from deit_edu.patches import PatchEmbedding, patch_grid


@dataclass(frozen=True)
class DeiTConfig:
    """Everything that decides the shape of a DeiT; the defaults are DeiT-Ti (paper, table 1), distilled.

    Raises:
        DeiTEduError: for a size below 1, a rate outside [0, 1), a patch size or a number of heads that does not divide.
    """

    image_size: int = 224  # pixels; images are square
    patch_size: int = 16  # P, must divide image_size
    in_channels: int = 3  # C
    num_classes: int = 1000  # K
    embed_dim: int = 192  # D; the paper keeps d = D/h = 64 and varies D and h
    depth: int = 12  # L, blocks
    num_heads: int = 3  # h, must divide embed_dim
    mlp_ratio: float = 4.0  # the MLP's hidden width is mlp_ratio * D
    distilled: bool = True  # with the distillation token and its head
    pool: str = "token"  # what the class head reads: token, its own; mean, of the patches, as in timm's "avg"
    distillation_tokens: int = 1  # of a distilled one; more: one for each of several teachers
    registers: int = 0  # further tokens, without a position, that no head reads (Darcet et al., arXiv:2309.16588)
    drop_rate: float = 0.0  # dropout on embeddings, attention output and MLP; the paper turns it off
    drop_path_rate: float = 0.0  # stochastic depth at the last block, rising linearly from 0; the paper uses 0.1

    def __post_init__(self):
        sizes = ("image_size", "patch_size", "in_channels", "num_classes", "embed_dim", "depth", "num_heads")
        for name in (*sizes, "distillation_tokens"):
            if getattr(self, name) < 1:
                raise DeiTEduError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if not 1 <= self.mlp_ratio * self.embed_dim < math.inf:
            raise DeiTEduError(f"mlp_ratio is {self.mlp_ratio}: the MLP needs a hidden width of 1 or more")
        if self.pool not in ("token", "mean"):
            raise DeiTEduError(f"pool is {self.pool!r}: say token (the class token) or mean (of the patches)")
        if self.registers < 0:
            raise DeiTEduError(f"registers is {self.registers}: it must be 0 or more")
        for name in ("drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise DeiTEduError(f"{name} is {getattr(self, name)}: it must lie in [0, 1)")
        patch_grid(self.image_size, self.image_size, self.patch_size)
        if self.embed_dim % self.num_heads:
            raise DeiTEduError(
                f"{self.num_heads} heads do not divide width {self.embed_dim}: "
                f"try embed_dim={self.num_heads * max(1, round(self.embed_dim / self.num_heads))}"
            )

    @property
    def num_prefix_tokens(self):
        """1 (class) or 2 (class, distillation): the tokens before the patches; more with several teachers."""
        return 1 + self.distillation_tokens if self.distilled else 1

    @property
    def for_several(self):
        """Whether there is a distillation token for each of several teachers."""
        return self.distilled and self.distillation_tokens > 1

    @property
    def grid(self):
        """(rows, columns) of patches."""
        return patch_grid(self.image_size, self.image_size, self.patch_size)

    @property
    def num_tokens(self):
        """T = prefix tokens + N; registers stand behind them and are not counted."""
        return self.num_prefix_tokens + self.grid[0] * self.grid[1]

    def to_dict(self):
        return asdict(self)


class Mlp(nn.Module):
    """Two linear layers with a GELU between: D -> mlp_ratio * D -> D, for each token alone (paper, section 3)."""

    def __init__(self, embed_dim, hidden_dim, drop_rate=0.0):
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)
        self.drop_rate = drop_rate

    def forward(self, tokens):
        """(B, T, D) -> (B, T, D)."""
        hidden = F.gelu(self.fc1(tokens))  # (B, T, mlp_ratio * D)
        hidden = F.dropout(hidden, self.drop_rate, self.training)
        return F.dropout(self.fc2(hidden), self.drop_rate, self.training)  # (B, T, D)


def drop_path(branch, drop_rate, training):
    """Stochastic depth: leave a residual branch out for whole images at random (paper, table 9).

    What stays is divided by the probability of staying, so that its mean is unchanged.

    Args:
        branch: (B, T, D). drop_rate: probability of leaving an image's branch out.
    """
    if not training or drop_rate == 0.0:
        return branch
    keep = 1 - drop_rate
    mask = branch.new_empty(branch.shape[0], 1, 1).bernoulli_(keep)  # (B, 1, 1)
    return branch * mask / keep


class Block(nn.Module):
    """Attention, then MLP, each added to what came in (paper, section 3); normalised first (authors' code)."""

    def __init__(self, embed_dim, num_heads, mlp_ratio=4.0, drop_rate=0.0, drop_path_rate=0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attention = MultiHeadSelfAttention(embed_dim, num_heads, drop_rate)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio), drop_rate)
        self.drop_path_rate = drop_path_rate

    def forward(self, tokens, num_queries=None):
        """(B, T, D) -> (B, T, D); with `num_queries`, only the first tokens go on: (B, num_queries, D)."""
        answer = self.attention(self.norm1(tokens), num_queries)
        tokens = tokens[:, :num_queries] + drop_path(answer, self.drop_path_rate, self.training)
        return tokens + drop_path(self.mlp(self.norm2(tokens)), self.drop_path_rate, self.training)

    def forward_with_weights(self, tokens):
        """What `forward` returns in eval mode, and the attention weights: (B, T, D), (B, h, T, T)."""
        answer, weights = self.attention.forward_with_weights(self.norm1(tokens))
        tokens = tokens + answer
        return tokens + self.mlp(self.norm2(tokens)), weights


class HeadOfEach(nn.ModuleList):
    """A linear head for each of n distillation tokens: (B, n, D) -> (B, n, K)."""

    def __init__(self, tokens, embed_dim, num_classes):
        super().__init__(nn.Linear(embed_dim, num_classes) for _ in range(tokens))

    def forward(self, tokens):
        return torch.stack([head(token) for head, token in zip(self, tokens.unbind(dim=1), strict=True)], dim=1)


class HeadLogits(NamedTuple):
    """What the two heads say, always both; `fuse` makes one answer of them."""

    class_logits: torch.Tensor  # (B, K)
    distillation_logits: torch.Tensor | None  # (B, K); (B, n, K) with a token for each of n teachers; None without

    @property
    def heads(self):
        """What each head says, (B, K) each: the class head, and where there are any, those of distillation."""
        second = self.distillation_logits
        if second is None:
            return [self.class_logits]
        return [self.class_logits, *(second.unbind(dim=1) if second.dim() == 3 else [second])]


def mean_answer(logits):
    """The log of the mean of several answers' probabilities: (B, n, K) -> (B, K); a single one, (B, K), as it is."""
    if logits.dim() < 3:
        return logits
    return logits.log_softmax(dim=-1).logsumexp(dim=1) - math.log(logits.shape[1])


def fuse(head_logits, how="probabilities"):
    """One prediction from both heads.

    Args:
        head_logits: HeadLogits of (B, K) each, or (B, n, K) of n distillation heads.
        how: "probabilities" adds the two softmax outputs (paper, section 4); what comes back is the log of
            their mean, so its softmax is that mean. "logits" takes the mean of the logits (the authors' code).

    Returns:
        (B, K). For a model without the distillation token, the class head's logits as they are.

    Raises:
        DeiTEduError: for another word for `how`.
    """
    if how not in ("probabilities", "logits"):
        raise DeiTEduError(f"unknown fusion {how!r}: choose 'probabilities' (the paper) or 'logits' (the code)")
    heads = head_logits.heads
    if len(heads) == 1:
        return heads[0]
    stacked = torch.stack(heads)  # (heads, B, K)
    if how == "logits":
        return stacked.mean(dim=0)
    return stacked.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(heads))


def check_images(images, config):
    """Refuse images of another size, other channels or another type than a model of this config takes."""
    expected = (config.in_channels, config.image_size, config.image_size)
    if images.dim() != 4 or tuple(images.shape[1:]) != expected:
        raise DeiTEduError(
            f"images of shape {tuple(images.shape)} do not fit this model: expected (B, "
            f"{', '.join(map(str, expected))}); resize them, or resize the model with "
            f"deit_edu.runs.weights.resize_model"
        )
    if not images.is_floating_point():
        raise DeiTEduError(f"images of {images.dtype} are not normalised: give them to deit_edu.data.normalise first")


class DeiT(nn.Module):
    """A vision transformer, plain or with the distillation token.

    The sequence is [class, distillation, patches] as in the authors' code; the paper's figure 2 draws the
    distillation token last, which changes no result, since attention does not see order.

    Args:
        config: DeiTConfig.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        D, K = config.embed_dim, config.num_classes
        self.patch_embedding = PatchEmbedding(config.patch_size, config.in_channels, D)
        self.class_token = nn.Parameter(torch.zeros(1, 1, D))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.num_tokens, D))
        last = max(1, config.depth - 1)
        drop_path_rates = [config.drop_path_rate * layer / last for layer in range(config.depth)]
        self.blocks = nn.ModuleList(
            Block(D, config.num_heads, config.mlp_ratio, config.drop_rate, rate) for rate in drop_path_rates
        )
        self.norm = nn.LayerNorm(D, eps=1e-6)
        self.class_head = nn.Linear(D, K)
        if config.distilled:
            self.distillation_token = nn.Parameter(torch.zeros(1, 1, D))  # new: a second learned token
            self.distillation_head = nn.Linear(D, K)  # new: with a head of its own
        if config.registers:
            self.register_token = nn.Parameter(torch.zeros(1, config.registers, D))
        if config.for_several:
            self.distillation_token = nn.Parameter(torch.zeros(1, config.distillation_tokens, D))
            self.distillation_head = HeadOfEach(config.distillation_tokens, D, K)
        self.initialise()

    def initialise(self):
        """Truncated normal of std 0.02 for linear weights, tokens and positions, biases 0 (authors' code)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        if self.config.distilled:
            nn.init.trunc_normal_(self.distillation_token, std=0.02)
        if self.config.registers:
            nn.init.trunc_normal_(self.register_token, std=0.02)

    def embed(self, images):
        """The sequence that enters block 1: (B, C, H, W) -> (B, T, D).

        Raises:
            DeiTEduError: for images of another size or other channels than the model's.
        """
        check_images(images, self.config)
        B = images.shape[0]
        prefix = [self.class_token.expand(B, -1, -1)]  # (B, 1, D)
        if self.config.distilled:
            prefix.append(self.distillation_token.expand(B, -1, -1))  # new: it stands beside the class token
        tokens = torch.cat([*prefix, self.patch_embedding(images)], dim=1)  # (B, T, D)
        tokens = tokens + self.position_embedding  # (B, T, D)
        if self.config.registers:
            tokens = torch.cat([tokens, self.register_token.expand(B, -1, -1)], dim=1)  # (B, T + registers, D)
        return F.dropout(tokens, self.config.drop_rate, self.training)

    def forward_features(self, images):
        """All tokens after the last block and the final norm: (B, C, H, W) -> (B, T, D)."""
        tokens = self.embed(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def read_by_heads(self, tokens):
        """The last block, and of it what the heads read: (B, T, D) -> (B, prefix, D).

        That is the prefix tokens, so nobody else needs to ask there: the same numbers for less work. With pool="mean"
        the mean of the patches stands in the class token's place.
        """
        prefix = self.config.num_prefix_tokens
        if self.config.pool == "token":
            return self.blocks[-1](tokens, num_queries=prefix)
        tokens = self.blocks[-1](tokens)  # (B, T, D)
        patches = tokens[:, prefix : self.config.num_tokens]  # (B, N, D)
        return torch.cat([patches.mean(dim=1, keepdim=True), tokens[:, 1:prefix]], dim=1)

    def forward(self, images):
        """What each head says: (B, C, H, W) -> HeadLogits of (B, K) each; the same in train and eval mode."""
        tokens = self.embed(images)  # (B, T, D)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        tokens = self.norm(self.read_by_heads(tokens))  # (B, prefix, D)
        if self.config.for_several:  # logits (B, teachers, K)
            return HeadLogits(self.class_head(tokens[:, 0]), self.distillation_head(tokens[:, 1:]))
        class_logits = self.class_head(tokens[:, 0])  # (B, K)
        if not self.config.distilled:
            return HeadLogits(class_logits, None)
        return HeadLogits(class_logits, self.distillation_head(tokens[:, 1]))  # new: read the second token too

    @torch.no_grad()
    def attention_maps(self, images):
        """The attention weights of every layer and head, without dropout: (B, C, H, W) -> (L, B, h, T, T)."""
        was_training = self.training
        self.eval()
        try:
            tokens, maps = self.embed(images), []
            for block in self.blocks:
                tokens, weights = block.forward_with_weights(tokens)
                maps.append(weights)
        finally:
            self.train(was_training)
        return torch.stack(maps)  # (L, B, h, T, T)


MODELS = {  # paper, table 1: d = D/h = 64 throughout
    "deit_tiny_patch16_224": dict(embed_dim=192, num_heads=3),
    "deit_small_patch16_224": dict(embed_dim=384, num_heads=6),
    "deit_base_patch16_224": dict(embed_dim=768, num_heads=12),
    # Ours, at reading size: small enough to train on a laptop's CPU in minutes.
    "deit_nano_patch7_28": dict(
        image_size=28, patch_size=7, in_channels=1, num_classes=10, embed_dim=64, depth=4, num_heads=4
    ),
    "deit_micro_patch4_28": dict(
        image_size=28, patch_size=4, in_channels=1, num_classes=10, embed_dim=96, depth=4, num_heads=4
    ),
    "deit_micro_patch4_32": dict(image_size=32, patch_size=4, num_classes=10, embed_dim=128, depth=6, num_heads=4),
}  # fmt: skip


def create_model(name, distilled=False, **overrides):
    """Build a DeiT by name: DeiT-Ti, S and B of the paper's table 1, or one of reading size.

    Args:
        name: a key of MODELS. distilled: with the distillation token and its head.
        overrides: any field of DeiTConfig, for example num_classes=10.

    Raises:
        DeiTEduError: for a name or an override that does not exist.
    """
    if name not in MODELS:
        raise DeiTEduError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}{did_you_mean(name, MODELS)}")
    known = {field.name for field in fields(DeiTConfig)}
    for key in overrides:
        if key not in known:
            near = did_you_mean(key, known)
            raise DeiTEduError(f"unknown model setting {key!r}: choose one of {', '.join(sorted(known))}{near}")
    return DeiT(DeiTConfig(**{**MODELS[name], **overrides, "distilled": distilled}))
