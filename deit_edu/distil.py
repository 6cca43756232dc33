"""A distillation token and its head for any ViT, timm's, Hugging Face's or ours: figure 2, on a plain network.

Paper: section 4. The new token starts as the class token does, so that a trained network keeps what it knows.
"""

from dataclasses import replace

import torch
from torch import nn

from deit_edu.errors import DeiTEduError
from deit_edu.model import DeiT, HeadLogits


class DistilledViT(nn.Module):
    """A ViT whose sequence begins [class, distillation, patches]; each of the two is read by a head of its own.

    Args:
        model: a timm VisionTransformer or a Hugging Face ViT for image classification; its parts are used as they are.
        num_classes: K. The class head is kept where it has K classes, else drawn anew.
    """

    def __init__(self, model, num_classes):
        super().__init__()
        check_fits(model)
        self.model = model
        self.hugging_face = hasattr(model, "config") and hasattr(model, "vit")
        vit = self.embeddings if self.hugging_face else model
        cls = vit.cls_token  # (1, 1, D)
        D = cls.shape[-1]
        positions = vit.position_embeddings if self.hugging_face else vit.pos_embed  # (1, 1 + N, D)
        self.distillation_token = nn.Parameter(cls.detach().clone())
        self.distillation_position_embed = nn.Parameter(positions[:, :1].detach().clone())  # (1, 1, D)
        self.class_head = model.classifier if self.hugging_face else model.head
        if getattr(self.class_head, "out_features", None) != num_classes:
            self.class_head = new_head(D, num_classes).to(cls)
        self.distillation_head = new_head(D, num_classes).to(cls)
        setattr(model, "classifier" if self.hugging_face else "head", nn.Identity())  # one place, ours

    @property
    def embeddings(self):
        return self.model.vit.embeddings

    def forward(self, images):
        """(B, C, H, W) -> HeadLogits of (B, K) each."""
        tokens = self.tokens_of_hugging_face(images) if self.hugging_face else self.tokens_of_timm(images)
        return HeadLogits(self.class_head(tokens[:, 0]), self.distillation_head(tokens[:, 1]))

    def with_second_token(self, tokens):
        """(B, 1 + N, D), positions added -> (B, 2 + N, D)."""
        second = (self.distillation_token + self.distillation_position_embed).expand(len(tokens), -1, -1)
        second = self.embeddings.dropout(second) if self.hugging_face else self.model.pos_drop(second)
        return torch.cat([tokens[:, :1], second, tokens[:, 1:]], dim=1)

    def tokens_of_timm(self, images):
        model = self.model
        tokens = model._pos_embed(model.patch_embed(images))  # (B, 1 + N, D)
        # Patches are dropped before: timm would keep the class token alone, and drop ours among them.
        tokens = model.norm_pre(self.with_second_token(model.patch_drop(tokens)))
        tokens = all_blocks(model, tokens)
        return model.head_drop(model.fc_norm(model.norm(tokens)))  # (B, 2 + N, D)

    def tokens_of_hugging_face(self, images):
        vit = self.model.vit
        tokens = self.with_second_token(self.embeddings(images))
        layers = vit.encoder.layer if hasattr(vit, "encoder") else vit.layers
        for layer in layers:
            answer = layer(tokens)
            tokens = answer[0] if isinstance(answer, tuple) else answer
        return vit.layernorm(tokens)  # (B, 2 + N, D)


def all_blocks(model, tokens):
    """A timm ViT's blocks, one after the other; with `set_grad_checkpointing` in less memory, as timm does it."""
    if not model.grad_checkpointing:
        return model.blocks(tokens)
    from timm.models import checkpoint_seq  # slow to import

    return checkpoint_seq(model.blocks, tokens)


def new_head(embed_dim, num_classes):
    """A linear layer as the authors draw theirs: truncated normal of std 0.02, biases 0."""
    head = nn.Linear(embed_dim, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    return head


def check_fits(model):
    """Refuse what has no class token or positions, more than one prefix token, or a mean in place of the token."""
    name, hugging_face = type(model).__name__, hasattr(model, "config") and hasattr(model, "vit")
    if hugging_face:
        if not (hasattr(model, "classifier") and hasattr(model.vit.embeddings, "cls_token")):
            raise DeiTEduError(f"{name} takes no distillation token: give a ViT for image classification")
        return
    from timm.models.vision_transformer import VisionTransformer  # slow to import

    for problem, found in (
        ("it is no ViT of timm's or Hugging Face's", not isinstance(model, VisionTransformer)),
        ("it has no class token", getattr(model, "cls_token", None) is None),
        ("its tokens have no positions", getattr(model, "pos_embed", None) is None),
        ("it has prefix tokens of its own already", getattr(model, "num_prefix_tokens", 1) != 1),
        ("its positions leave out the class token", getattr(model, "no_embed_class", False)),
        ("its head reads the mean of the tokens", getattr(model, "global_pool", "token") != "token"),
    ):
        if found:
            raise DeiTEduError(f"{name} takes no distillation token: {problem}; choose a ViT with one class token")


def distilled_deit(model, num_classes):
    """A DeiT with two tokens and the weights of one with one token; its second token starts as the first."""
    if model.config.distilled:
        raise DeiTEduError("this DeiT has a distillation token already: train it as it is")
    config = replace(model.config, distilled=True, distillation_tokens=1, num_classes=num_classes)
    two = DeiT(config).to(model.class_token)
    two.preprocessing = getattr(model, "preprocessing", None)
    state, drawn = model.state_dict(), two.state_dict()
    first = state["position_embedding"][:, :1]  # (1, 1, D)
    state["position_embedding"] = torch.cat([first, first, state["position_embedding"][:, 1:]], dim=1)
    state["distillation_token"] = state["class_token"]
    new = ("distillation_head.", "class_head.") if num_classes != model.config.num_classes else "distillation_head."
    two.load_state_dict(state | {name: drawn[name] for name in drawn if name.startswith(new)})
    return two.train(model.training)


def add_distillation(model, num_classes):
    """Give a ViT a distillation token and a head for it, as DeiT has them (paper, section 4).

    Args:
        model: a timm VisionTransformer with a class token, or a Hugging Face ViTForImageClassification, whose weights
            are used, not copied; or a plain DeiT of ours, which is left as it is. num_classes: K.

    Returns:
        A `DistilledViT`, or for a DeiT a DeiT: images (B, C, H, W) -> HeadLogits, which the losses and the loop take.

    Raises:
        DeiTEduError: for a network that has no single class token.
    """
    if isinstance(model, DeiT):
        return distilled_deit(model, num_classes)
    return DistilledViT(model, num_classes)
