"""Augmentation on whole batches of tensors: every image of the batch gets its own draw, in a few tensor operations.

Paper: section 6 and table 9. Images are (B, C, H, W): uint8 to be cropped, flipped and RandAugmented, then float,
normalised by `deit_edu.data.normalise`, to be erased and mixed. Randomness comes from the `generator` alone, a CPU
generator, so that a draw is the same on every device.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F

from deit_edu.errors import DeiTEduError


def random_crop(images, padding, generator):
    """Shift every image by up to `padding` pixels each way, zeros coming in (pad, then crop at random).

    Args:
        images: (B, C, H, W) uint8 or float. padding: in pixels.

    Returns:
        The same shape and type.
    """
    if padding == 0:
        return images
    B, _, H, W = images.shape
    if not 0 < padding < min(H, W):
        raise DeiTEduError(f"a crop padding of {padding} does not fit images of {H}x{W}: choose 0 to {min(H, W) - 1}")
    padded = F.pad(images, [padding] * 4)  # (B, C, H + 2 padding, W + 2 padding)
    windows = padded.unfold(2, H, 1).unfold(3, W, 1)  # (B, C, 2 padding + 1, 2 padding + 1, H, W), a view
    top, left = torch.randint(0, 2 * padding + 1, (2, B), generator=generator).to(images.device)
    return windows[torch.arange(B, device=images.device), :, top, left]  # (B, C, H, W)


def random_flip(images, generator):
    """Mirror every image (B, C, H, W) left to right with probability 1/2; the same shape comes back."""
    flip = torch.rand(images.shape[0], generator=generator) < 0.5
    return torch.where(flip.to(images.device)[:, None, None, None], images.flip(-1), images)


def check_uint8(images, who):
    """Refuse what is normalised already: these operations count in grey levels from 0 to 255."""
    if images.dtype != torch.uint8:
        raise DeiTEduError(f"{who} takes uint8 images, not {images.dtype}: normalise after it")


# ---- RandAugment ----


def blend(images, other, amount):
    """Mix (b, C, H, W) uint8 images with `other`: amount 0 gives other, 1 the image, 2 lies as far beyond it."""
    return (other + amount * (images - other)).clamp(0, 255).to(torch.uint8)


def grey(images):
    """What the eye sees without colour: (b, C, H, W) uint8 to float (b, 1, H, W)."""
    if images.shape[1] != 3:
        return images[:, :1].float()
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def smooth(images):
    """Each pixel with its eight neighbours, itself five times; the border stays: (b, C, H, W) uint8 to float."""
    kernel = torch.ones(1, 1, 3, 3, device=images.device)
    kernel[0, 0, 1, 1] = 5
    smoothed = images.float()  # a copy
    inner = F.conv2d(smoothed.flatten(0, 1)[:, None], kernel / 13)  # (b C, 1, H - 2, W - 2)
    smoothed[:, :, 1:-1, 1:-1] = inner.view(*images.shape[:2], *inner.shape[2:])
    return smoothed


def autocontrast(images):
    """Stretch every channel so that its darkest pixel is 0 and its brightest 255."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)  # (b, C, 1, 1)
    stretched = (images - low) * (255 / (high - low).float())
    return torch.where(high > low, stretched.to(torch.uint8), images)


def equalise(images):
    """Spread the brightness of every channel, so that each level is as frequent as any other (Pillow's rule)."""
    pixels = images.flatten(2).long()  # (b, C, H W)
    histogram = torch.zeros(*pixels.shape[:2], 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(2, pixels, torch.ones_like(pixels))
    below = histogram.cumsum(dim=2) - histogram  # (b, C, 256): how many pixels are darker than this level
    brightest = histogram.gather(2, pixels.amax(dim=2, keepdim=True))  # (b, C, 1): how many share the top level
    step = (pixels.shape[2] - brightest) // 255
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return table.gather(2, pixels).view(images.shape).to(torch.uint8)


def posterise(images, bits):
    """Keep the highest bits of every pixel; bits: (b, 1, 1, 1)."""
    return images & (256 - 2 ** (8 - bits)).to(torch.uint8)


def warp(images, fill, a=1.0, b=0.0, c=0.0, d=0.0, e=1.0, f=0.0):
    """Read the pixel at (x, y), counted from the centre, at (a x + b y + c, d x + e y + f), bilinearly.

    Args:
        images: (b, C, H, W) uint8. fill: (C, 1, 1), what lies outside. a to f: numbers or (b, 1, 1, 1).
    """
    H, W = images.shape[-2:]
    x = torch.arange(W, device=images.device) - (W - 1) / 2  # (W,)
    y = (torch.arange(H, device=images.device) - (H - 1) / 2)[:, None]  # (H, 1)
    places = torch.stack(torch.broadcast_tensors((a * x + b * y + c) * 2 / W, (d * x + e * y + f) * 2 / H), dim=-1)
    places = places.view(-1, H, W, 2)  # (b, H, W, 2) in [-1, 1]
    read = F.grid_sample(images - fill, places, align_corners=False) + fill
    return read.round().to(torch.uint8)


def rotate(images, angle, fill):
    """Turn about the centre; angle: (b, 1, 1, 1), radians."""
    return warp(images, fill, angle.cos(), -angle.sin(), 0.0, angle.sin(), angle.cos())


# timm's list, "increasing": a level of 0 changes nothing or little, 1 as much as there is. Each takes
# images (b, C, H, W) uint8, level (b, 1, 1, 1) in [-1, 1], whose sign is the direction, and fill (C, 1, 1).
OPERATIONS = {
    "autocontrast": lambda images, level, fill: autocontrast(images),
    "equalise": lambda images, level, fill: equalise(images),
    "invert": lambda images, level, fill: 255 - images,
    "rotate": lambda images, level, fill: rotate(images, level * math.radians(30), fill),
    "posterise": lambda images, level, fill: posterise(images, (4 - (4 * level.abs()).int()).clamp(min=1)),
    "solarise": lambda images, level, fill: torch.where(images < 256 - (256 * level.abs()).int(), images, 255 - images),
    "solarise_add": lambda images, level, fill: torch.where(
        images < 128, images + (110 * level.abs()).to(torch.uint8), images
    ),
    "colour": lambda images, level, fill: blend(images, grey(images), 1 + 0.9 * level),
    "contrast": lambda images, level, fill: blend(images, grey(images).mean((2, 3), keepdim=True), 1 + 0.9 * level),
    "brightness": lambda images, level, fill: blend(images, 0.0, 1 + 0.9 * level),
    "sharpness": lambda images, level, fill: blend(images, smooth(images), 1 + 0.9 * level),
    "shear_x": lambda images, level, fill: warp(images, fill, b=0.3 * level),
    "shear_y": lambda images, level, fill: warp(images, fill, d=0.3 * level),
    "translate_x": lambda images, level, fill: warp(images, fill, c=0.45 * level * images.shape[3]),
    "translate_y": lambda images, level, fill: warp(images, fill, f=0.45 * level * images.shape[2]),
}  # fmt: skip


def rand_augment(images, fill, generator, num_operations=2, magnitude=9.0, magnitude_std=0.5):
    """Change every image by operations drawn at random (paper, table 9: "9/0.5"; authors' code: rand-m9-mstd0.5-inc1).

    As in timm, which the authors' code calls, each operation drawn is then carried out with probability 1/2. Every
    image has its own operations, strengths and directions; the images that drew the same operation share its work.

    Args:
        images: (B, C, H, W) uint8. fill: C numbers in [0, 1], the colour that comes in from outside (timm: the data's
            mean). num_operations: one after the other. magnitude, magnitude_std: mean and spread of an operation's
            strength, which is kept in [0, 10].

    Returns:
        (B, C, H, W) uint8.
    """
    check_uint8(images, "RandAugment")
    B = images.shape[0]
    fill = 255 * torch.tensor(fill, device=images.device).view(-1, 1, 1)  # (C, 1, 1)
    images = images.clone()
    for _ in range(num_operations):
        chosen = torch.randint(len(OPERATIONS), (B,), generator=generator)
        carried_out, forward = torch.rand(2, B, generator=generator) < 0.5
        strength = (magnitude + magnitude_std * torch.randn(B, generator=generator)).clamp(0, 10) / 10
        level = torch.where(forward, strength, -strength).view(B, 1, 1, 1)
        for index, operation in enumerate(OPERATIONS.values()):
            group = (carried_out & (chosen == index)).nonzero().flatten()  # (b,), b about B / 30
            if len(group):
                where, its_level = group.to(images.device), level[group].to(images.device)
                images[where] = operation(images[where], its_level, fill)
    return images


def auto_augment(images, fill, generator):
    """Change every image by a policy that was learned for ImageNet: AutoAugment (paper, table 8), torchvision's.

    Args:
        images: (B, C, H, W) uint8. fill: C numbers in [0, 1], the colour that comes in from outside.

    Returns:
        (B, C, H, W) uint8.
    """
    from torchvision.transforms import v2  # takes as long as torch itself: only who asks for it waits

    check_uint8(images, "AutoAugment")
    policy = v2.AutoAugment(fill=[255 * part for part in fill])
    seed = torch.randint(2**62, (), generator=generator).item()
    with torch.random.fork_rng(devices=[]):  # it draws from PyTorch's own generator
        torch.default_generator.manual_seed(seed)  # not a GPU's as well: nothing here would put that back
        return torch.stack([policy(image) for image in images])


# ---- on normalised images ----


def random_erasing(images, probability, generator, area=(0.02, 1 / 3), aspect=(0.3, 1 / 0.3)):
    """Overwrite one rectangle of an image with normal noise, pixel by pixel (paper, table 9: probability 0.25).

    A rectangle that is higher or wider than the image is cut to fit; timm, which the authors' code calls, draws again.

    Args:
        images: (B, C, H, W) float, already normalised, so that the noise has the images' mean and spread.
        area: the rectangle's share of the image, smallest and largest. aspect: height / width, likewise.

    Returns:
        (B, C, H, W) float.
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
    erased = (erase < probability).nonzero().flatten()  # (b,): noise is dear, so it is drawn for these only
    mask = (in_rows[:, None, :, None] & in_columns[:, None, None, :])[erased]  # (b, 1, H, W)
    noise = torch.randn(len(erased), C, H, W, generator=generator)
    erased, mask, noise = (tensor.to(images.device) for tensor in (erased, mask, noise))
    images = images.clone()
    images[erased] = torch.where(mask, noise, images[erased])
    return images


def mixing_coefficient(alpha, generator):
    """Draw lambda from Beta(alpha, alpha): the share that the first image keeps (alpha 0.8 Mixup, 1.0 CutMix)."""
    if not 0 < alpha < math.inf:
        raise DeiTEduError(f"alpha is {alpha}: the Beta distribution needs a positive number; the paper has 0.8 and 1")
    seed = torch.randint(0, 2**31, (), generator=generator).item()  # torch's Beta takes no generator
    return float(np.random.RandomState(seed).beta(alpha, alpha))


def mixup(images, targets, lam):
    """Blend every image and its target with its partner, the batch read backwards (authors' code).

    Args:
        images: (B, C, H, W). targets: (B, K) probabilities. lam: the share the first image keeps.

    Returns:
        Images (B, C, H, W) and targets (B, K).
    """
    return lam * images + (1 - lam) * images.flip(0), lam * targets + (1 - lam) * targets.flip(0)


def cutmix(images, targets, lam, generator):
    """Paste one rectangle of the partner, of area 1 - lam before clipping at the border, into every image.

    The targets mix in proportion to the pixels that really changed owner.

    Args:
        images: (B, C, H, W). targets: (B, K) probabilities. lam: the share the first image keeps.

    Returns:
        Images (B, C, H, W) and targets (B, K).
    """
    if not 0 <= lam <= 1:
        raise DeiTEduError(f"lambda is {lam}: the share that an image keeps lies in [0, 1]")
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
    if repeats < 1:
        raise DeiTEduError(f"repeats is {repeats}: every image is shown once or more often")
    order = torch.randperm(num_images, generator=generator)
    return order[: -(-num_images // repeats)].repeat_interleave(repeats)[:num_images]
