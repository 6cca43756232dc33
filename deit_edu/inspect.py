"""Look inside: what the tokens attend to, how alike they are, and who disagrees with whom.

Paper: section 4 (the two tokens' cosine similarity) and table 4 (disagreement). Rollout is Abnar and Zuidema's.
"""

import numpy as np
import torch
import torch.nn.functional as F

from deit_edu.data.splits import normalise
from deit_edu.errors import DeiTEduError


def attention_rollout(attention_maps, head_fusion="mean", residual=True, discard_ratio=0.0):
    """Attention followed through all layers: how much of each input token ends up in each output token.

    Args:
        attention_maps: (L, B, h, T, T), from `DeiT.attention_maps`.
        head_fusion: "mean", "max" or "min" over the heads.
        residual: add the identity for the residual connection, then let every row sum to 1 again.
        discard_ratio: the share of each row's smallest weights that is set to 0 first, in [0, 1).

    Returns:
        (B, T, T); every row sums to 1.

    Raises:
        DeiTEduError: for another word for `head_fusion`, or a ratio outside [0, 1).
    """
    fusions = {"mean": lambda a: a.mean(dim=2), "max": lambda a: a.amax(dim=2), "min": lambda a: a.amin(dim=2)}
    if head_fusion not in fusions:
        raise DeiTEduError(f"unknown head fusion {head_fusion!r}: choose one of {', '.join(fusions)}")
    if not 0 <= discard_ratio < 1:
        raise DeiTEduError(f"discard ratio {discard_ratio} must lie in [0, 1)")
    if attention_maps.dim() != 5:
        raise DeiTEduError(f"attention of shape {tuple(attention_maps.shape)} has no layers: expected (L, B, h, T, T)")
    L, B, _, T, _ = attention_maps.shape
    layers = fusions[head_fusion](attention_maps)  # (L, B, T, T)
    smallest = layers.topk(int(T * discard_ratio), dim=-1, largest=False).indices
    layers = layers.scatter(-1, smallest, 0.0)
    if residual:
        layers = layers + torch.eye(T, device=layers.device)
    layers = layers / layers.sum(dim=-1, keepdim=True)  # (L, B, T, T), each row sums to 1
    rollout = layers[0]
    for layer in layers[1:]:
        rollout = layer @ rollout  # (B, T, T)
    return rollout


def prefix_attention(attention, config):
    """What the class token and the distillation token take from each patch, as pictures.

    Args:
        attention: (..., T, T), maps or a rollout. config: the model's DeiTConfig.

    Returns:
        {"class": (..., rows, columns), "distillation": (..., rows, columns)}; the latter for a distilled model only,
        and with several teachers "distillation_1", "distillation_2".
    """
    k = config.num_prefix_tokens
    patches = attention[..., :k, k : config.num_tokens]  # (..., k, N); not to the registers behind them
    pictures = patches.unflatten(-1, config.grid)  # (..., k, rows, columns)
    names = ["distillation"] if k <= 2 else [f"distillation_{n}" for n in range(1, k)]
    return dict(zip(["class", *names][:k], pictures.unbind(-3), strict=True))


def box_coverage(boxes, config):
    """The share of each patch's area that lies inside the item's box.

    Args:
        boxes: (B, 4) int64: top, left, height, width, in pixels. config: the model's DeiTConfig.

    Returns:
        (B, rows, columns) in [0, 1].
    """
    P = config.patch_size

    def overlap(start, length, patches):
        edges = torch.arange(patches, device=boxes.device) * P  # (patches,)
        inside = torch.minimum(edges + P, (start + length)[:, None]) - torch.maximum(edges, start[:, None])
        return inside.clamp(min=0) / P  # (B, patches)

    top, left, height, width = boxes.unbind(dim=1)
    rows, columns = config.grid
    return overlap(top, height, rows)[:, :, None] * overlap(left, width, columns)[:, None, :]


def attention_in_boxes(pictures, boxes, config):
    """The share of a token's attention to patches that falls inside the item's box.

    Attention is taken to be even within a patch. Attention to the prefix tokens does not count.

    Args:
        pictures: (..., B, rows, columns), from `prefix_attention`. boxes: (B, 4). config: the model's DeiTConfig.

    Returns:
        (..., B) in [0, 1]; attention that does not look at all would get the box's share of the image.
    """
    inside = (pictures * box_coverage(boxes, config)).sum(dim=(-2, -1))
    return inside / pictures.sum(dim=(-2, -1))


@torch.no_grad()
def tokens_by_layer(model, images):
    """The sequence at the input and after every block, before the final norm, in eval mode.

    Args:
        model: a DeiT. images: (B, C, H, W).

    Returns:
        [(B, T, D)] of length L + 1.
    """
    was_training = model.training
    model.eval()
    try:
        layers = [model.embed(images)]
        for block in model.blocks:
            layers.append(block(layers[-1]))
    finally:
        model.train(was_training)
    return layers


@torch.no_grad()
def token_similarity(model, images):
    """Cosine of the class token and the distillation token at the input and after every layer (paper, section 4).

    The paper gives 0.06 on average for the learned tokens and 0.93 for their last-layer embeddings. With several
    distillation tokens it is their mean.

    Args:
        model: a distilled DeiT. images: (B, C, H, W).

    Returns:
        (L + 1,): first the cosine of the two learned vectors, without positions, then after each block the mean
        over the images; the last is taken after the final norm, where the heads read.

    Raises:
        DeiTEduError: for a model without the distillation token.
    """
    if not model.config.distilled:
        raise DeiTEduError("token similarity compares two tokens: this model has no distillation token")
    layers, k = tokens_by_layer(model, images), model.config.num_prefix_tokens
    layers[-1] = model.norm(layers[-1])  # (B, T, D)
    similarities = [F.cosine_similarity(model.class_token, model.distillation_token, dim=-1).mean()]
    for tokens in layers[1:]:
        similarities.append(F.cosine_similarity(tokens[:, :1], tokens[:, 1:k], dim=-1).mean())
    return torch.stack(similarities)  # (L + 1,)


@torch.no_grad()
def patch_norms(model, images):
    """How long the patch tokens are at the input and after every block: do some stand out?

    In large networks a few patches of an image come to be far longer than the others; with registers they do not
    (Darcet et al., arXiv:2309.16588).

    Args:
        model: a DeiT. images: (B, C, H, W).

    Returns:
        {"median": (L + 1,), "largest": (L + 1,)}: the l2 norm over an image's patches, the mean over the images.
    """
    k, end = model.config.num_prefix_tokens, model.config.num_tokens  # registers stand behind
    layers = tokens_by_layer(model, images)
    norms = torch.stack([tokens[:, k:end].norm(dim=-1) for tokens in layers])  # (L + 1, B, N)
    return {"median": norms.median(dim=-1).values.mean(dim=1), "largest": norms.amax(dim=-1).mean(dim=1)}


def describe_tokens(model, dataset):
    """What a record keeps of the tokens, measured on the first 1,000 test images, 50 at a time.

    Args:
        model: a distilled DeiT. dataset: an ImageDataset.

    Returns:
        a dictionary: "similarity", L + 1 cosines as in `token_similarity`, "patch_norms" as `patch_norms` has them, and
        for data with boxes "attention_in_box", {"class": L shares, "distillation": L shares} as in
        `attention_in_boxes`, the mean over heads and images, and "box_share", what attention that does not look would
        get.
    """
    device = next(model.parameters()).device
    total = min(1000, len(dataset.test))
    similarity, norms, inside, boxes = 0, {"median": 0, "largest": 0}, {}, dataset.test.boxes
    for indices in torch.arange(total).split(50):  # (B,)
        images = normalise(dataset.test.batch(indices).to(device), dataset.mean, dataset.std)  # (B, C, H, W)
        share = len(indices) / total
        similarity += share * token_similarity(model, images)  # (L + 1,)
        norms = {name: norms[name] + share * found for name, found in patch_norms(model, images).items()}
        if boxes is not None:
            maps = model.attention_maps(images).mean(dim=2)  # (L, B, T, T)
            for token, picture in prefix_attention(maps, model.config).items():
                found = attention_in_boxes(picture, boxes[indices].to(device), model.config)  # (L, B)
                inside[token] = inside.get(token, 0) + found.sum(dim=-1) / total
    described = {"similarity": similarity.tolist(), "patch_norms": {name: f.tolist() for name, f in norms.items()}}
    if boxes is not None:
        described["attention_in_box"] = {token: shares.tolist() for token, shares in inside.items()}
        described["box_share"] = box_coverage(boxes[:total], model.config).mean().item()
    return described


def disagreement(predictions):
    """How often two deciders differ (paper, table 4).

    Args:
        predictions: {name: (n,) chosen classes}; the truth may be one of them.

    Returns:
        (names, names) NumPy matrix in the dictionary's order, shares of the n images: symmetric, 0 on the diagonal.

    Raises:
        DeiTEduError: for deciders of different numbers of images.
    """
    if not predictions:
        raise DeiTEduError("there is nobody to compare: give {name: (n,) chosen classes}")
    rows = [np.asarray(chosen) for chosen in predictions.values()]
    lengths = {name: len(row) for name, row in zip(predictions, rows, strict=True)}
    if len(set(lengths.values())) > 1:
        raise DeiTEduError(f"predictions are for different numbers of images: {lengths}")
    stacked = np.stack(rows)  # (names, n)
    return (stacked[:, None] != stacked[None, :]).mean(axis=-1)
