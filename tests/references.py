"""What the tests compare with: the paper's equations in a few lines of NumPy each, and timm's model of the same shape.

The NumPy lines follow the equation, one image at a time where that is plainer; nothing here is meant to be fast.
"""

import numpy as np
import timm
import torch

from deit_edu.model import DeiT, DeiTConfig
from deit_edu.runs.weights import TIMM_NAMES, rename, timm_settings, to_timm_state_dict

# ---- equations ----


def softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def attention(Q, K, V):
    """Equation 1, one row of queries at a time."""
    weights = np.stack([softmax(np.array([q @ k for k in K]) / np.sqrt(len(q))) for q in Q])
    return weights @ V, weights


def patchify(image, P):
    """(C, H, W) -> (N, P*P*C): rows of patches, and in each patch rows of pixels."""
    C, H, W = image.shape
    corners = [(top, left) for top in range(0, H, P) for left in range(0, W, P)]
    return np.stack([image[:, t : t + P, left : left + P].transpose(1, 2, 0).ravel() for t, left in corners])


def cross_entropy(Z, y):
    """Mean over images of -sum_c y(c) log psi(Z)(c); y: (B, K) probabilities."""
    return -(y * np.log(softmax(Z))).sum(-1).mean()


def one_hot(labels, K):
    return np.eye(K)[labels]


def kl(Z_t, Z_s, tau):
    """KL(teacher || student) of the softened outputs, for each image."""
    p, q = softmax(Z_t / tau), softmax(Z_s / tau)
    return (p * np.log(p / q)).sum(-1)


def soft_loss(Z_s, Z_t, y, tau, lam):
    """Equation 2."""
    return (1 - lam) * cross_entropy(Z_s, y) + lam * tau**2 * kl(Z_t, Z_s, tau).mean()


def hard_loss(Z_s, Z_t, y):
    """Equation 3."""
    y_t = one_hot(Z_t.argmax(-1), Z_s.shape[1])
    return cross_entropy(Z_s, y) / 2 + cross_entropy(Z_s, y_t) / 2


# ---- models ----

SHAPES = {  # odd grids, one and three channels, patches of 4, 7 and 16 pixels
    "3x3-grid": dict(
        image_size=21, patch_size=7, in_channels=1, num_classes=10, embed_dim=64, depth=2, num_heads=4
    ),
    "5x5-grid": dict(
        image_size=20, patch_size=4, in_channels=3, num_classes=7, embed_dim=48, depth=3, num_heads=3
    ),
    "7x7-grid": dict(
        image_size=28, patch_size=4, in_channels=1, num_classes=10, embed_dim=32, depth=1, num_heads=1
    ),
    "narrow-mlp": dict(
        image_size=28, patch_size=7, in_channels=3, num_classes=2, embed_dim=40, depth=2, num_heads=5, mlp_ratio=2.0
    ),
    "deit-tiny-at-48-px": dict(image_size=48),
}  # fmt: skip


def random_deit(seed=0, **settings):
    """A DeiT in eval mode in which nothing is zero or one: a wrong path can hide behind neither."""
    torch.manual_seed(seed)
    model = DeiT(DeiTConfig(**settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def random_images(model, batch=3, seed=1):
    config = model.config
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, config.in_channels, config.image_size, config.image_size, generator=generator)


def timm_twin(model):
    """timm's model of the same shape with the same weights, in eval mode; its attention is not fused."""
    name, settings = timm_settings(model.config)
    twin = timm.create_model(name, **settings, drop_path_rate=model.config.drop_path_rate).eval()
    twin.load_state_dict(to_timm_state_dict(model), strict=True)
    for block in twin.blocks:
        block.attn.fused_attn = False
    return twin


def timm_name(name):
    return rename(name, TIMM_NAMES)


def timm_heads(twin, images):
    """The logits of timm's heads, one by one: its forward returns their mean."""
    tokens = twin.forward_features(images)
    if hasattr(twin, "head_dist"):
        return twin.head(tokens[:, 0]), twin.head_dist(tokens[:, 1])
    return twin.head(tokens[:, 0]), None


def relative_error(ours, theirs):
    """Largest difference, as a part of the largest number: small numbers are held as strictly as large ones."""
    assert ours.shape == theirs.shape
    largest = theirs.abs().max()
    assert largest > 0, "nothing to compare: all zeros"
    return ((ours - theirs).abs().max() / largest).item()
