"""Teachers: small convnets, a transformer of the student's size, any timm model; frozen while they teach.

Paper: section 4 and table 2. The paper's default teacher is a RegNetY-16GF of 84M parameters; most of ours have its
plan (a stem, then stages that halve the picture and widen the channels) at reading size.
"""

import urllib.error
import urllib.request
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deit_edu.errors import DeiTEduError, did_you_mean
from deit_edu.model import HeadLogits, fuse, mean_answer


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a residual connection around them.

    Args:
        in_channels, out_channels: C before and after. stride: 2 halves height and width.
    """

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, features):
        """(B, C, H, W) -> (B, C', H/stride, W/stride)."""
        answer = F.relu(self.norm1(self.conv1(features)), inplace=True)  # (B, C', H/stride, W/stride)
        answer = self.norm2(self.conv2(answer))
        return F.relu(answer + self.shortcut(features), inplace=True)


class ConvNet(nn.Module):
    """A small residual convnet: stem, stages, global mean, one linear layer.

    Args:
        in_channels: C. num_classes: K. widths: channels of each stage. depths: blocks of each stage.
        stem_stride: 2 halves the picture at once, which is what makes the teacher cheap.
    """

    def __init__(self, in_channels, num_classes, widths, depths, stem_stride=1):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        blocks, channels = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for position in range(depth):
                blocks.append(ResidualBlock(channels, width, stride=2 if stage and position == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes)
        self.to(memory_format=torch.channels_last)  # the layout in which a CPU convolves fastest

    def forward(self, images):
        """(B, C, H, W) -> logits (B, K)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = self.blocks(self.stem(images))  # (B, C', H', W')
        return self.head(features.mean(dim=(2, 3)))  # (B, K)


class WhiteningConvNet(nn.Module):
    """A convnet that learns CIFAR-10 in few epochs: whitening, then stages that each halve the picture.

    The plan is that of airbench94 (Jordan 2024, arXiv:2404.00498): the kernels of the first convolution are computed
    from the images by `whiten` and stay as they are, its bias learns; every stage is two convolutions with a max
    pooling after the first.

    Args:
        in_channels: C. num_classes: K. widths: channels of each stage. patch_size: side of the patches to whiten.
    """

    def __init__(self, in_channels, num_classes, widths, patch_size=2):
        super().__init__()
        channels = 2 * in_channels * patch_size**2  # every direction of a patch's colours, and its opposite
        self.whitening = nn.Conv2d(in_channels, channels, patch_size)
        self.whitening.weight.requires_grad_(False)
        self.stages = nn.ModuleList()
        for width in widths:
            self.stages.append(PooledStage(channels, width))
            channels = width
        self.head = nn.Linear(channels, num_classes)
        self.to(memory_format=torch.channels_last)  # the layout in which a CPU convolves fastest

    @torch.no_grad()
    def whiten(self, images, epsilon=5e-4):
        """Compute the first layer: the patches of these images (B, C, H, W), normalised, come out uncorrelated.

        Its kernels are the eigenvectors of the covariance of patches, each over the root of its eigenvalue, so that
        their answers have variance 1, and the same with the other sign. epsilon: keeps rare directions from noise.
        """
        size = self.whitening.kernel_size[0]
        patches = images.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5)  # (B, H', W', C, P, P)
        values, vectors = torch.linalg.eigh(torch.cov(patches.flatten(3).flatten(0, 2).T))  # (CPP,), (CPP, CPP)
        kernels = (vectors / (values + epsilon).sqrt()).T.reshape(-1, *patches.shape[3:])  # (CPP, C, P, P)
        self.whitening.weight.copy_(torch.cat([kernels, -kernels]))
        self.whitening.bias.zero_()

    def forward(self, images):
        """(B, C, H, W) -> logits (B, K)."""
        images = images.contiguous(memory_format=torch.channels_last)
        features = F.gelu(self.whitening(images))
        for stage in self.stages:
            features = stage(features)  # (B, C', H'/2, W'/2)
        return self.head(features.amax(dim=(2, 3)))  # (B, K)


class PooledStage(nn.Module):
    """Convolution, max pooling that halves the picture, convolution; a batch norm and GELU after each.

    Args:
        in_channels, out_channels: C before and after.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, features):
        """(B, C, H, W) -> (B, C', H/2, W/2), rounded down."""
        features = F.gelu(self.norm1(F.max_pool2d(self.conv1(features), 2)))
        return F.gelu(self.norm2(self.conv2(features)))


CONVNETS = {
    "convnet": dict(widths=(32, 64, 96), depths=(1, 1, 2), stem_stride=2),
    "convnet_wide": dict(widths=(48, 96, 128), depths=(1, 1, 2), stem_stride=2),
    "convnet_large": dict(widths=(32, 64, 128, 256), depths=(1, 1, 1, 1), stem_stride=1),
    "convnet_light": dict(widths=(16, 32, 48), depths=(1, 1, 1), stem_stride=2),
    "convnet_weak": dict(widths=(8, 16, 32), depths=(1, 1, 1), stem_stride=2),
    "convnet_whitening": dict(widths=(64, 256, 256), patch_size=2),
}


def create_teacher(name, in_channels, num_classes, pretrained=False, image_size=None, drop_path_rate=0.0):
    """Build a teacher that is not a DeiT: a convnet of `CONVNETS`, or ``timm:NAME``.

    A transformer as a teacher is a plain DeiT: `deit_edu.model.create_model`.

    Args:
        name: a key of CONVNETS, or "timm:NAME".
        in_channels: C. num_classes: K.
        pretrained: fetch timm's weights, which needs a network; for timm models only.
        image_size: H = W of the images, for timm models that are made for one size; None is the model's own.
        drop_path_rate: stochastic depth; for timm models only.

    Returns:
        A module from images (B, C, H, W) to logits (B, K).

    Raises:
        DeiTEduError: for a name that nobody knows, or weights that cannot be fetched.
    """
    kind, _, timm_name = name.partition(":")
    if kind == "timm" and timm_name:
        settings = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        return create_timm_model(timm_name, in_channels, num_classes, pretrained, image_size, **settings)
    if name not in CONVNETS:
        known = f"{', '.join(CONVNETS)}, or timm:NAME{did_you_mean(name, CONVNETS)}"
        raise DeiTEduError(f"unknown teacher {name!r}: choose one of {known}")
    settings = CONVNETS[name]
    kind = WhiteningConvNet if "patch_size" in settings else ConvNet
    return kind(in_channels, num_classes, **settings)


def create_timm_model(name, in_channels, num_classes, pretrained=False, image_size=None, **settings):
    """Any timm model by its name, for these channels and classes, and where it is made for one, this image size."""
    import timm  # takes seconds: only those who ask for it wait

    if not timm.is_model(name):
        raise DeiTEduError(f"timm has no model {name!r}" + did_you_mean(name, timm.list_models()))
    try:
        known = timm.get_pretrained_cfg_value(name, "num_classes") if pretrained else num_classes
        if known != num_classes:  # timm would draw a new head, which knows nothing
            raise DeiTEduError(
                f"timm's weights for {name!r} know {known} classes, the data has {num_classes}: train it on them first "
                f"with deit-edu train --model timm:{name}"
            )
        if pretrained:  # a teacher that ships: in its own colours, the pictures are brought to them
            in_channels = timm.get_pretrained_cfg_value(name, "input_size")[0]
        settings |= dict(in_chans=in_channels, num_classes=num_classes)
        own = timm.get_pretrained_cfg(name)
        if image_size and own and own.fixed_input_size and own.input_size[1] != image_size:
            settings["img_size"] = image_size
        with offline_without_waiting() if pretrained else nullcontext():
            return timm.create_model(name, pretrained=pretrained, **settings)
    except (RuntimeError, TypeError, AssertionError, ArithmeticError) as error:  # no such tag, no weights, no such size
        if "img_size" in settings:
            size = f"{image_size}x{image_size}"
            raise DeiTEduError(
                f"timm cannot make {name!r} for images of {size} ({error}): choose another model"
            ) from None
        raise DeiTEduError(f"timm cannot make {name!r}: {error}") from None
    except OSError as error:  # no network, or the hub refuses
        raise DeiTEduError(
            f"timm could not fetch weights for {name!r} ({type(error).__name__}): go online once, or train it here "
            f"with deit-edu train --model timm:{name}"
        ) from None


@contextmanager
def offline_without_waiting():
    """Where the hub cannot be reached, only what was fetched before is looked for inside.

    Left alone, the hub's library asks twelve times in fifty seconds, a line each.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    try:
        urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5).close()
    except urllib.error.HTTPError:  # it answers
        pass
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


class FoldedBlock(nn.Module):
    """A `ResidualBlock` that only answers: its batch norms, fixed now, are part of its convolutions.

    Args:
        block: a ResidualBlock in eval mode.
    """

    def __init__(self, block):
        super().__init__()
        self.conv1 = fuse_conv_bn_eval(block.conv1, block.norm1)
        self.conv2 = fuse_conv_bn_eval(block.conv2, block.norm2)
        plain = isinstance(block.shortcut, nn.Identity)
        self.shortcut = nn.Identity() if plain else fuse_conv_bn_eval(*block.shortcut)

    def forward(self, features):
        """(B, C, H, W) -> (B, C', H/stride, W/stride)."""
        answer = self.conv2(self.conv1(features).relu_())  # in place: nobody asks for a gradient
        return answer.add_(self.shortcut(features)).relu_()


def fold_norms(network):
    """Put the batch norms of every `ConvNet` in a network into its convolutions, for good: it cannot learn any more.

    It answers the same but for rounding, in four fifths of the time. Other networks stay as they are.

    Args:
        network: any module, changed in place.
    """
    for part in list(network.eval().modules()):
        if isinstance(part, ConvNet) and isinstance(part.stem[1], nn.BatchNorm2d):
            part.stem = nn.Sequential(fuse_conv_bn_eval(part.stem[0], part.stem[1]), nn.ReLU(inplace=True))
            part.blocks = nn.Sequential(*map(FoldedBlock, part.blocks))
            part.to(memory_format=torch.channels_last)
    return network


class FrozenTeacher(nn.Module):
    """A trained model that only answers: in eval mode for good, no gradients, no parameters that train.

    Args:
        model: any module from images (B, C, H, W) to logits (B, K) or HeadLogits; the answer of a model with
            two heads is their fusion.
    """

    def __init__(self, model):
        super().__init__()
        self.model = model.requires_grad_(False).eval()

    def train(self, mode=True):
        """Stay in eval mode, whatever the loop says: dropout off, batch norm's statistics fixed."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images):
        """(B, C, H, W) -> logits (B, K)."""
        return fuse(as_head_logits(self.model(images)))


class SideBySide(nn.Module):
    """Several teachers that each answer for themselves, for a student with a distillation token for each.

    Args:
        models: modules from images (B, C, H, W) to logits (B, K) or HeadLogits.
    """

    def __init__(self, models):
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images):
        """(B, C, H, W) -> (B, teachers, K)."""
        return torch.stack([fuse(as_head_logits(model(images))) for model in self.models], dim=1)


class Ensemble(SideBySide):
    """Several teachers that answer as one: the log of the mean of their probabilities."""

    def forward(self, images):
        """(B, C, H, W) -> (B, K)."""
        return mean_answer(super().forward(images))


def as_head_logits(output):
    """HeadLogits in float32, for the losses; the logits (B, K) of any other model as those of a class head."""
    heads = output if isinstance(output, HeadLogits) else HeadLogits(output, None)
    return HeadLogits(*(None if logits is None else logits.float() for logits in heads))
