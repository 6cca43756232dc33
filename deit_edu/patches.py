"""An image becomes a sequence of tokens: cut it into patches, project each one, and say where it was.

Paper: section 3 (patches and positional embeddings) and section 3.2 ("fixing the resolution").
"""

import torch
import torch.nn.functional as F
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.layers import untouched


def patch_grid(height, width, patch_size):
    """Return how many patches fit: (rows, columns).

    Raises DeiTEduError when the patch size does not divide both sides.
    """
    for side, length in (("height", height), ("width", width)):
        if patch_size < 1 or length % patch_size:
            divisors = [p for p in range(1, length + 1) if length % p == 0]
            raise DeiTEduError(f"patch size {patch_size} does not divide image {side} {length}: try one of {divisors}")
    return height // patch_size, width // patch_size


def batch_shape(images):
    """(B, C, H, W) of a batch of images. Raises DeiTEduError for anything else."""
    if images.dim() != 4:
        shape = tuple(images.shape)
        raise DeiTEduError(f"images of shape {shape} are no batch: expected (B, C, H, W), for one image[None]")
    return images.shape


def patchify(images, patch_size):
    """Cut images into non-overlapping square patches and flatten each one (paper, section 3).

    Args:
        images: (B, C, H, W), any dtype.
        patch_size: P, in pixels; must divide H and W.

    Returns:
        (B, N, P*P*C) with N = (H/P)(W/P): patches row by row from the top left, and inside a patch
        pixel by pixel, the channels of a pixel together. `unpatchify` is the exact inverse.
    """
    B, C, H, W = batch_shape(images)
    rows, columns = patch_grid(H, W, patch_size)
    P = patch_size
    grid = images.reshape(B, C, rows, P, columns, P)  # (B, C, rows, P, columns, P)
    grid = grid.permute(0, 2, 4, 3, 5, 1)  # (B, rows, columns, P, P, C)
    return grid.reshape(B, rows * columns, P * P * C)  # (B, N, P*P*C)


def unpatchify(patches, patch_size, channels, height, width):
    """Put patches back together: the exact inverse of `patchify`.

    Args:
        patches: (B, N, P*P*C).
        patch_size, channels, height, width: P, C, H, W of the images, in pixels.

    Returns:
        (B, C, H, W).

    Raises:
        DeiTEduError: for patches that do not make an image of this size.
    """
    rows, columns = patch_grid(height, width, patch_size)
    P = patch_size
    B = patches.shape[0]
    if patches.shape[1:] != (rows * columns, P * P * channels):
        raise DeiTEduError(
            f"patches of shape {tuple(patches.shape)} do not make a {channels}x{height}x{width} image with "
            f"patch size {P}: expected (B, {rows * columns}, {P * P * channels})"
        )
    grid = patches.reshape(B, rows, columns, P, P, channels)  # (B, rows, columns, P, P, C)
    grid = grid.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, P, columns, P)
    return grid.reshape(B, channels, height, width)  # (B, C, H, W)


class PatchEmbedding(nn.Module):
    """Cut, then project: every patch through the same linear layer (paper, section 3).

    The paper's 16x16 RGB patch is a vector of 3*16*16 = 768 numbers, projected to width D.

    Args:
        patch_size: P in pixels. in_channels: C. embed_dim: D.
    """

    def __init__(self, patch_size, in_channels, embed_dim):
        super().__init__()
        self.patch_size = patch_size
        # A convolution whose stride is its kernel is this linear layer. The weight keeps the convolution's
        # shape (D, C, P, P) and PyTorch's default initialisation, as in the authors' code.
        self.projection = nn.Conv2d(in_channels, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images):
        """(B, C, H, W) -> (B, N, D)."""
        if not untouched(self.projection):  # an adapter, a hook, a quantised weight: it must be called
            patch_grid(*images.shape[-2:], self.patch_size)
            return self.projection(images).flatten(2).transpose(1, 2)  # (B, N, D)
        patches = patchify(images, self.patch_size)  # (B, N, P*P*C)
        weight = self.projection.weight.permute(0, 2, 3, 1).flatten(1)  # (D, P*P*C), in patchify's order
        return F.linear(patches, weight, self.projection.bias)  # (B, N, D)


def check_resizing(position_embedding, old_grid, new_grid, num_prefix_tokens, mode):
    """Refuse what `resize_position_embedding` cannot resize."""
    shape = tuple(position_embedding.shape)
    if len(shape) != 3:
        raise DeiTEduError(f"position embeddings of shape {shape} are not (1, T, D): give them as a model has them")
    if shape[1] != num_prefix_tokens + old_grid[0] * old_grid[1]:
        raise DeiTEduError(
            f"{shape[1]} position embeddings are not {num_prefix_tokens} prefix tokens plus a grid of "
            f"{old_grid[0]}x{old_grid[1]} patches: check num_prefix_tokens (1 plain, 2 distilled) and old_grid"
        )
    if mode not in ("bicubic", "bilinear", "nearest"):
        raise DeiTEduError(f"unknown interpolation {mode!r}: choose one of bicubic, bilinear, nearest")
    if min(new_grid) < 1:
        raise DeiTEduError(f"a grid of {new_grid[0]}x{new_grid[1]} has no patches: each side must be 1 or more")


def resize_position_embedding(
    position_embedding, old_grid, new_grid, num_prefix_tokens, mode="bicubic", antialias=False
):
    """Interpolate the patches' position embeddings to another grid (paper, section 3.2).

    Prefix tokens (class, distillation) have no place in the picture: their embeddings are kept as they are.
    Bicubic without antialias is the authors' way; timm's `resample_abs_pos_embed` turns antialias on.
    Bilinear shortens the vectors, and short ones are not adapted to the pre-trained blocks (paper, section 3.2).

    Args:
        position_embedding: (1, num_prefix_tokens + N, D).
        old_grid, new_grid: (rows, columns) of patches before and after.
        num_prefix_tokens: 1 for a plain model, 2 for a distilled one.
        mode: "bicubic", "bilinear" or "nearest".
        antialias: smooth before sampling down.

    Returns:
        (1, num_prefix_tokens + new N, D).

    Raises:
        DeiTEduError: when the embedding does not have num_prefix_tokens + rows * columns vectors; for another mode or
            a grid without patches.
    """
    check_resizing(position_embedding, old_grid, new_grid, num_prefix_tokens, mode)
    if mode == "nearest" and antialias:
        raise DeiTEduError("nearest has nothing to smooth: leave out antialias, or choose bicubic or bilinear")
    T, D = position_embedding.shape[1:]
    if tuple(old_grid) == tuple(new_grid):
        return position_embedding
    prefix, patches = position_embedding.split([num_prefix_tokens, T - num_prefix_tokens], dim=1)
    picture = patches.reshape(1, *old_grid, D).permute(0, 3, 1, 2)  # (1, D, rows, columns)
    # in float32: half precision has no kernel for antialias on a CPU
    picture = F.interpolate(picture.float(), size=tuple(new_grid), mode=mode, antialias=antialias)
    patches = picture.permute(0, 2, 3, 1).flatten(1, 2).to(prefix.dtype)  # (1, N', D)
    return torch.cat([prefix, patches], dim=1)  # (1, prefix + N', D)
