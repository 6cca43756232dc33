"""Augmentation on whole batches of tensors: every image of the batch gets its own draw, in a few tensor operations.

Paper: section 6 and table 9. Images are (B, C, H, W) float tensors in [0, 1] until `deit_edu.data.normalise`;
randomness comes from the `generator` alone (a CPU generator, so that a draw is the same on every device).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F


def random_crop(images, padding, generator):
    """Shift every image by up to `padding` pixels each way, zeros coming in (pad, then crop at random).

    Args:
        images: (B, C, H, W). padding: in pixels.
    """
    if padding == 0:
        return images
    B, C, H, W = images.shape
    padded = F.pad(images, [padding] * 4)  # (B, C, H + 2 padding, W + 2 padding)
    top, left = torch.randint(0, 2 * padding + 1, (2, B), generator=generator).to(images.device)
    rows = top[:, None] + torch.arange(H, device=images.device)  # (B, H)
    columns = left[:, None] + torch.arange(W, device=images.device)  # (B, W)
    flat = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]  # (B, H, W): where each pixel comes from
    flat = flat.reshape(B, 1, H * W).expand(-1, C, -1)
    return padded.flatten(2).gather(2, flat).reshape(B, C, H, W)


def random_flip(images, generator):
    """Mirror every image left to right with probability 1/2."""
    flip = torch.rand(images.shape[0], generator=generator) < 0.5
    return torch.where(flip.to(images.device)[:, None, None, None], images.flip(-1), images)


def random_erasing(images, probability, generator, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3)):
    """Overwrite one rectangle of an image with normal noise, pixel by pixel (paper, table 9: probability 0.25).

    Args:
        images: (B, C, H, W), already normalised, so that the noise has the images' mean and spread.
        area: the rectangle's share of the image, smallest and largest. aspect: height / width, likewise.
    """
    if probability == 0:
        return images
    B, C, H, W = images.shape
    erase, share, ratio, y, x = torch.rand(5, B, generator=generator)
    share = area[0] + share * (area[1] - area[0])  # (B,)
    ratio = torch.exp(math.log(aspect[0]) + ratio * math.log(aspect[1] / aspect[0]))  # (B,)
    height = (H * (share * ratio).sqrt()).round().clamp(1, H)  # (B,)
    width = (W * (share / ratio).sqrt()).round().clamp(1, W)
    top, left = (y * (H - height + 1)).floor(), (x * (W - width + 1)).floor()
    rows, columns = torch.arange(H), torch.arange(W)
    in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])  # (B, H)
    in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])  # (B, W)
    mask = (erase < probability)[:, None, None] & in_rows[:, :, None] & in_columns[:, None, :]  # (B, H, W)
    noise = torch.randn(images.shape, generator=generator)  # (B, C, H, W)
    return torch.where(mask[:, None].to(images.device), noise.to(images), images)


def mixing_coefficient(alpha, generator):
    """Draw lambda from Beta(alpha, alpha): the share that the first image keeps (alpha 0.8 Mixup, 1.0 CutMix)."""
    seed = torch.randint(0, 2**31, (), generator=generator).item()  # torch's Beta takes no generator
    return float(np.random.RandomState(seed).beta(alpha, alpha))


def mixup(images, targets, lam):
    """Blend every image and its target with its partner, the batch read backwards (authors' code).

    Args:
        images: (B, C, H, W). targets: (B, K) probabilities. lam: the share the first image keeps.
    """
    return lam * images + (1 - lam) * images.flip(0), lam * targets + (1 - lam) * targets.flip(0)


def cutmix(images, targets, lam, generator):
    """Paste one rectangle of the partner, of area 1 - lam before clipping at the border, into every image.

    The targets mix in proportion to the pixels that really changed owner.

    Args:
        images: (B, C, H, W). targets: (B, K) probabilities. lam: the share the first image keeps.
    """
    H, W = images.shape[-2:]
    height, width = int(H * (1 - lam) ** 0.5), int(W * (1 - lam) ** 0.5)
    y, x = (torch.rand(2, generator=generator) * torch.tensor([H, W])).long().tolist()  # the rectangle's centre
    top, bottom = max(0, y - height // 2), min(H, y + height - height // 2)
    left, right = max(0, x - width // 2), min(W, x + width - width // 2)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    lam = 1 - (bottom - top) * (right - left) / (H * W)
    return mixed, lam * targets + (1 - lam) * targets.flip(0)


def mix(images, targets, mixup_alpha, cutmix_alpha, probability, generator):
    """Mixup or CutMix for the whole batch: one of the two, one lambda (authors' code).

    Args:
        images: (B, C, H, W). targets: (B, K) probabilities.
        mixup_alpha, cutmix_alpha: of the Beta distributions; 0 turns that one off. With both on, each has
            probability 1/2. probability: of mixing a batch at all.

    Returns:
        mixed images and targets, same shapes.
    """
    draw, choice = torch.rand(2, generator=generator).tolist()
    if draw >= probability or not (mixup_alpha or cutmix_alpha):
        return images, targets
    if cutmix_alpha and (choice < 0.5 or not mixup_alpha):
        return cutmix(images, targets, mixing_coefficient(cutmix_alpha, generator), generator)
    return mixup(images, targets, mixing_coefficient(mixup_alpha, generator))


def epoch_order(num_images, generator, repeats=1):
    """The order in which an epoch shows its images: (num_images,) indices.

    With repeats = 3, repeated augmentation (paper, section 6): every image drawn stands three times, side by side,
    each time augmented anew, so that an epoch sees a third of the images.
    """
    order = torch.randperm(num_images, generator=generator)
    return order[: -(-num_images // repeats)].repeat_interleave(repeats)[:num_images]
