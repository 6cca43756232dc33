"""DeiT (Touvron et al., arXiv:2012.12877) in one file: the model, the losses, the loop.

B images, C channels, H W pixels, P patch size, N patches, T = N + 2 tokens, D width, h heads, d = D/h, K classes.

    python deit_in_one_file.py                               # minutes on two cores
    python deit_in_one_file.py --epochs 1 2 --images 2000    # a quick look
"""

import argparse
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = 0.285985, 0.353135  # of the training pixels, scaled to [0, 1]


# Chapter 1: an image becomes tokens.
def patchify(images, patch_size):
    """Cut images into squares, row by row, and write the numbers of each into one vector."""
    (B, C, H, W), P = images.shape, patch_size
    grid = images.reshape(B, C, H // P, P, W // P, P)  # (B, C, rows, P, columns, P)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(B, -1, C * P * P)  # (B, N, C*P*P)


# Chapter 2: attention.
def attention(queries, keys, values):
    """Equation 1: every token takes a mean of all values, weighted by how well its query fits their keys."""
    scores = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5  # (B, h, T, T)
    weights = scores.softmax(dim=-1)  # (B, h, T, T), each row sums to 1
    return weights @ values, weights  # (B, h, T, d), (B, h, T, T)


class MultiHeadSelfAttention(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)  # queries, keys and values of all heads in one product
        self.projection = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens):
        qkv = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))  # (B, T, 3, h, d)
        answers, _ = attention(*qkv.permute(2, 0, 3, 1, 4))  # (B, h, T, d), from three times (B, h, T, d)
        return self.projection(answers.transpose(1, 2).flatten(2))  # (B, T, D): the heads side by side, then mixed


# Chapter 3: the block.
class Block(nn.Module):
    def __init__(self, embed_dim, num_heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.attention = MultiHeadSelfAttention(embed_dim, num_heads)
        self.norm2 = nn.LayerNorm(embed_dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(embed_dim, 4 * embed_dim), nn.GELU(), nn.Linear(4 * embed_dim, embed_dim))

    def forward(self, tokens):
        tokens = tokens + self.attention(self.norm1(tokens))  # (B, T, D): tokens ask each other
        return tokens + self.mlp(self.norm2(tokens))  # (B, T, D): each token works alone


# Chapters 3 and 4: the transformer. The lines marked "new" are what DeiT adds to it.
class DeiT(nn.Module):
    def __init__(self, image_size=28, patch_size=7, channels=1, num_classes=10, embed_dim=64, depth=4, num_heads=4):
        super().__init__()
        self.patch_size = patch_size
        self.patch_embedding = nn.Linear(channels * patch_size**2, embed_dim)  # the same for every patch
        self.class_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.distillation_token = nn.Parameter(torch.zeros(1, 1, embed_dim))  # new: a second learned token
        self.position_embedding = nn.Parameter(torch.zeros(1, 2 + (image_size // patch_size) ** 2, embed_dim))
        self.blocks = nn.Sequential(*[Block(embed_dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.class_head = nn.Linear(embed_dim, num_classes)
        self.distillation_head = nn.Linear(embed_dim, num_classes)  # new: with a head of its own
        for name, parameter in self.named_parameters():  # as in the authors' code; the patch embedding keeps PyTorch's
            if "norm" not in name and "patch" not in name:
                nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images):  # (B, C, H, W)
        patches = self.patch_embedding(patchify(images, self.patch_size))  # (B, N, D)
        prefix = torch.cat([self.class_token, self.distillation_token], dim=1)  # (1, 2, D), new: two tokens, not one
        tokens = torch.cat([prefix.expand(len(images), -1, -1), patches], dim=1)  # (B, T, D)
        tokens = self.norm(self.blocks(tokens + self.position_embedding))  # (B, T, D); attention sees no order
        return self.class_head(tokens[:, 0]), self.distillation_head(tokens[:, 1])  # (B, K) each, new: the second


def fuse(class_logits, distillation_logits):
    """One answer from both heads (section 4): the sum of their softmax outputs, as the log of the mean."""
    return torch.stack([class_logits, distillation_logits]).log_softmax(-1).logsumexp(0) - math.log(2)  # (B, K)


# Chapter 5: what the student learns from.
def smooth_labels(labels, num_classes, epsilon=0.1):
    """Labels (B,) become probabilities: the truth keeps 1 - epsilon, the other classes share the rest."""
    one_hot = F.one_hot(labels, num_classes).float()  # (B, K)
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / (num_classes - 1)  # (B, K)


def soft_distillation(student_logits, teacher_logits, temperature=3.0):
    """The teacher's part of equation 2: tau^2 KL(teacher || student), both softened by the temperature tau."""
    student, teacher = (F.log_softmax(logits / temperature, dim=-1) for logits in (student_logits, teacher_logits))
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def hard_distillation(student_logits, teacher_logits):
    """The teacher's part of equation 3: its decision is taken for a label."""
    return F.cross_entropy(student_logits, teacher_logits.argmax(dim=-1))


def objective(class_logits, distillation_logits, targets, teacher_logits, distillation):
    """The class head learns the label, the distillation head the teacher. The teacher's weight: 1/2 hard, 0.1 soft."""
    weight, teacher_loss = {"hard": (0.5, hard_distillation), "soft": (0.1, soft_distillation)}[distillation]
    label_loss = F.cross_entropy(class_logits, targets)
    return (1 - weight) * label_loss + weight * teacher_loss(distillation_logits, teacher_logits)


# Chapter 6: the data, the teacher, the loop.
def read_split(path, n):
    """n labels, then one bit for each pixel that says whether it is above 0, then the pixels that are."""
    data = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    labels, bits, values = data.tensor_split([n, n + n * 28 * 28 // 8])
    pixels = torch.zeros(n * 28 * 28, dtype=torch.uint8)
    pixels[(bits[:, None] >> torch.arange(7, -1, -1) & 1).flatten().bool()] = values  # highest bit first
    return (pixels.view(n, 1, 28, 28) / 255 - MEAN) / STD, labels.long()  # (n, C, H, W), (n,)


def augment(images, padding=2):
    """Shift every image by up to `padding` pixels each way, black coming in, then mirror half of them."""
    B, _, H, W = images.shape
    windows = F.pad(images, [padding] * 4, value=-MEAN / STD).unfold(2, H, 1).unfold(3, W, 1)  # a view, no copy
    top, left = torch.randint(0, 2 * padding + 1, (2, B))
    images = windows[torch.arange(B), :, top, left]  # (B, C, H, W)
    return torch.where(torch.rand(B, 1, 1, 1) < 0.5, images.flip(-1), images)


def convnet(channels=1, num_classes=10):
    """The teacher. Stride 2 halves the picture; that near pixels belong together is built in, not learned."""
    layers = []
    for width, stride in ((16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


def learning_rate_at(step, total_steps, warmup_steps, peak, start=1e-6, end=1e-5):
    """Up in a straight line, then down along half a cosine (table 9)."""
    if step < warmup_steps:
        return start + (peak - start) * step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return end + (peak - end) * 0.5 * (1 + math.cos(math.pi * progress))


def train(model, images, labels, epochs, teacher=None, distillation="hard", batch_size=64, warmup_epochs=2):
    """One loop for both: the teacher, who has no teacher, and the student."""
    decay, rest = [], []  # weight decay is for matrices, not for biases, norms, tokens and positions
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim == 1 or name.endswith(("token", "position_embedding")) else decay).append(parameter)
    optimizer = torch.optim.AdamW([{"params": decay}, {"params": rest, "weight_decay": 0.0}], weight_decay=0.05)
    steps, peak = len(images) // batch_size, 8e-3 * batch_size / 512
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(images))[: steps * batch_size]
        for step, batch in enumerate(order.split(batch_size), start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, epochs * steps, warmup_epochs * steps, peak)
            pixels, targets = augment(images[batch]), smooth_labels(labels[batch], num_classes=10)
            if teacher is None:
                loss = F.cross_entropy(model(pixels), targets)
            else:  # the teacher is asked about the very pixels that the student sees
                loss = objective(*model(pixels), targets, teacher(pixels), distillation)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        name = "student" if teacher else "teacher"
        print(f"{name}, epoch {epoch + 1} of {epochs}, loss {loss:.3f}", flush=True)
    return model.eval().requires_grad_(False)  # from here on it only answers: batch norm fixed, no gradients


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(__file__).resolve().parents[1] / "deit_edu/assets/fashion_mnist_10k"
    parser.add_argument("--data", type=Path, default=data, help="folder with train.bin and test.bin")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 40), metavar=("TEACHER", "STUDENT"))
    parser.add_argument("--images", type=int, default=10_000, help="train on so many")
    parser.add_argument("--distillation", choices=("hard", "soft"), default="hard")
    args = parser.parse_args()
    if missing := [name for name in ("train.bin", "test.bin") if not (args.data / name).is_file()]:
        parser.error(f"{args.data / missing[0]} is missing: name the folder of the packaged images with --data")
    if min(args.epochs) < 1 or not 64 <= args.images <= 10_000:
        parser.error("expected one epoch or more for each, and 64 to 10,000 images")
    torch.manual_seed(0)
    images, labels = (part[: args.images] for part in read_split(args.data / "train.bin", 10_000))
    teacher = train(convnet(), images, labels, args.epochs[0])
    student = train(DeiT(), images, labels, args.epochs[1], teacher, args.distillation)
    images, labels = read_split(args.data / "test.bin", 10_000)  # looked at once, now
    heads = student(images)
    answers = {"teacher": teacher(images), "class head": heads[0], "distillation head": heads[1], "both": fuse(*heads)}
    for name, logits in answers.items():
        print(f"test accuracy, {name}: {(logits.argmax(dim=-1) == labels).float().mean():.1%}")
