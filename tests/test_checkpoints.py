"""Checkpoints: whole or not at all, never a pickle, and the same weights under every library's names."""

import errno
import io
import json
import os
import re

import pytest
import references
import safetensors.torch
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
)

from deit_edu.errors import DeiTEduError
from deit_edu.model import create_model, fuse
from deit_edu.runs import checkpoints
from deit_edu.runs import weights as translated

SMALL = references.SHAPES["5x5-grid"]  # 20 px, 3 channels, 7 classes, width 48, 3 blocks, 3 heads
both_kinds = pytest.mark.parametrize("distilled", [True, False], ids=["distilled", "plain"])


def small_model(distilled=True, seed=0, **settings):
    return references.random_deit(seed, distilled=distilled, **{**SMALL, **settings})


def assert_same_weights(ours, theirs):
    assert set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def one_line(error):
    """The text of an error, after checking that it is what a reader should see: one line that says what to do."""
    assert type(error.value) is DeiTEduError
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- files ----


TENSORS = {
    "weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "half": torch.ones(2, dtype=torch.float16),
    "bfloat": torch.ones(2, dtype=torch.bfloat16),
    "step": torch.tensor(12),
    "random_state": torch.arange(9, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
}
METADATA = {
    "epoch": 3,
    "config": {"mlp_ratio": 4.0, "tokens": ["class", "both"], "teacher": None},
    "name": "é",
}


def test_what_is_saved_is_what_is_loaded(tmp_path):
    path = tmp_path / "new folder" / "a.safetensors"
    checkpoints.save(path, TENSORS, METADATA)
    tensors, metadata = checkpoints.load(path)
    assert_same_weights(tensors, TENSORS)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {n: t.dtype for n, t in TENSORS.items()}
    assert metadata == METADATA
    assert os.listdir(path.parent) == ["a.safetensors"], "nothing else is left in the folder"
    assert_same_weights(safetensors.torch.load_file(path), TENSORS)


def test_the_same_weights_give_the_same_bytes_and_the_same_digest(tmp_path):
    for name in ("a", "b"):
        checkpoints.save(tmp_path / name, TENSORS, METADATA)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    digest = checkpoints.digest(TENSORS)
    assert digest == checkpoints.digest(dict(reversed(TENSORS.items())))
    assert digest == checkpoints.digest(checkpoints.load(tmp_path / "a")[0])
    assert len(digest) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"step": torch.tensor(13)},
        {"step": torch.tensor(12.0)},
        {"transposed": TENSORS["transposed"].T},
        {"more": torch.ones(1)},
    ],
    ids=["number", "type", "shape", "name"],
)
def test_the_digest_sees_every_change(change):
    assert checkpoints.digest({**TENSORS, **change}) != checkpoints.digest(TENSORS)


def test_shipping_in_half_precision_rounds_the_weights_only(tmp_path):
    checkpoints.save(tmp_path / "a", TENSORS, dtype=torch.float16)
    tensors, _ = checkpoints.load(tmp_path / "a")
    assert tensors["weight"].dtype == torch.float16
    assert torch.equal(tensors["weight"], TENSORS["weight"].half())
    assert tensors["step"].dtype == torch.int64
    assert tensors["random_state"].dtype == torch.uint8


def test_a_file_another_program_wrote_loads_too(tmp_path):
    safetensors.torch.save_file({"weight": torch.ones(2)}, tmp_path / "a", {"format": "pt"})
    tensors, metadata = checkpoints.load(tmp_path / "a")
    assert torch.equal(tensors["weight"], torch.ones(2))
    assert metadata == {}


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def ctrl_c(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path, monkeypatch, when):
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, {"weight": torch.zeros(2)})
    monkeypatch.setattr(os, when, no_space)
    with pytest.raises(DeiTEduError) as error:
        checkpoints.save(path, TENSORS)
    assert re.fullmatch(
        rf"could not write {path} \(0\.0 MB\): No space left on device; free some space or choose another folder",
        one_line(error),
    )
    assert_same_weights(checkpoints.load(path)[0], {"weight": torch.zeros(2)})
    assert os.listdir(tmp_path) == ["last.safetensors"]


@pytest.mark.parametrize("when", ["fsync", "replace"])
def test_ctrl_c_while_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, when):
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, {"weight": torch.zeros(2)})
    monkeypatch.setattr(os, when, ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(path, TENSORS)
    assert_same_weights(checkpoints.load(path)[0], {"weight": torch.zeros(2)})
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DeiTEduError) as error:
        checkpoints.save(tmp_path / "file" / "a.safetensors", TENSORS)
    assert f"could not write {tmp_path / 'file' / 'a.safetensors'}" in one_line(error)


def test_a_missing_checkpoint_is_one_line(tmp_path):
    with pytest.raises(DeiTEduError) as error:
        checkpoints.load(tmp_path / "none")
    assert one_line(error) == (f"no checkpoint {tmp_path / 'none'}: check the path, or train one with deit-edu train")
    with pytest.raises(DeiTEduError) as error:
        checkpoints.load(tmp_path)
    assert one_line(error) == f"cannot read checkpoint {tmp_path}: Is a directory"


def test_a_truncated_file_is_one_line_wherever_it_was_cut(tmp_path):
    checkpoints.save(tmp_path / "a", TENSORS, METADATA)
    whole = (tmp_path / "a").read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]:
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(DeiTEduError) as error:
            checkpoints.load(tmp_path / "cut")
        assert one_line(error) == (
            f"{tmp_path / 'cut'} is damaged or no safetensors file: fetch it again or train it again"
        )


def test_a_single_changed_byte_is_noticed_wherever_it_is(tmp_path):
    checkpoints.save(tmp_path / "a", {"weight": torch.arange(8.0)}, {"epoch": 3})
    whole = (tmp_path / "a").read_bytes()
    noticed = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x40
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            tensors, _ = checkpoints.load(tmp_path / "damaged")
        except DeiTEduError as error:
            assert "is damaged" in str(error)
            noticed += 1
        else:  # a letter of the metadata: the weights themselves are right
            assert_same_weights(tensors, {"weight": torch.arange(8.0)})
    assert noticed > 0.8 * len(whole)


def test_a_pickle_is_refused_and_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "opened"),)

    torch.save({"model": Trap()}, tmp_path / "deit.pth")
    with pytest.raises(DeiTEduError) as error:
        checkpoints.load(tmp_path / "deit.pth")
    assert "deit.pth is a pickle, which can run code when opened" in one_line(error)
    assert "load_state_dict_from" in one_line(error)
    assert not (tmp_path / "opened").exists()


# ---- whole models ----


@both_kinds
def test_a_model_comes_back_from_its_file_alone(tmp_path, distilled):
    model = small_model(distilled, drop_path_rate=0.1)
    checkpoints.save_model(tmp_path / "a", model.train(), {"epoch": 3})
    loaded = checkpoints.load_model(tmp_path / "a")
    assert loaded.config == model.config
    assert not any(module.training for module in loaded.modules()), "ready to be looked at"
    assert all(parameter.requires_grad for parameter in loaded.parameters()), "and to be trained on"
    assert_same_weights(loaded.state_dict(), model.state_dict())
    assert checkpoints.load(tmp_path / "a")[1] == {
        "kind": "deit",
        "config": model.config.to_dict(),
        "epoch": 3,
    }


def test_a_model_shipped_in_half_precision_computes_in_float32(tmp_path):
    model = small_model()
    checkpoints.save_model(tmp_path / "a", model, dtype=torch.float16)
    loaded = checkpoints.load_model(tmp_path / "a")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert_same_weights(loaded.state_dict(), {n: t.half().float() for n, t in model.state_dict().items()})


def test_loading_and_resizing_use_up_no_random_numbers(tmp_path):
    model = small_model()
    checkpoints.save_model(tmp_path / "a", model)
    before = torch.get_rng_state()
    translated.resize_model(checkpoints.load_model(tmp_path / "a"), 28)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_that_holds_no_deit_says_what_it_holds(tmp_path):
    checkpoints.save(tmp_path / "a", TENSORS, {"kind": "teacher", "name": "convnet"})
    with pytest.raises(DeiTEduError) as error:
        checkpoints.load_model(tmp_path / "a")
    assert f"{tmp_path / 'a'} holds teacher, not a DeiT with its config" in one_line(error)
    checkpoints.save(tmp_path / "a", TENSORS)
    with pytest.raises(DeiTEduError, match="holds weights without a config, .*load_state_dict_from"):
        checkpoints.load_model(tmp_path / "a")


def test_a_config_of_another_version_is_one_line(tmp_path):
    model = small_model()
    config = {**model.config.to_dict(), "wings": 4}
    checkpoints.save_model(tmp_path / "a", model, {"config": config})
    with pytest.raises(DeiTEduError) as error:
        checkpoints.load_model(tmp_path / "a")
    assert "is from another version of deit_edu" in one_line(error)
    assert "wings" in one_line(error)


# ---- another image size ----


@both_kinds
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("image_size", [12, 28])
def test_a_resized_model_is_timms_after_it_resized(distilled, antialias, image_size):
    model = small_model(distilled)
    resized = translated.resize_model(model, image_size, antialias=antialias)
    twin = references.timm_twin(references.random_deit(distilled=distilled, **{**SMALL, "image_size": image_size}))
    weights = checkpoint_filter_fn(translated.to_timm_state_dict(model), twin, antialias=antialias)
    twin.load_state_dict(weights)
    images = references.random_images(resized)
    assert references.relative_error(fuse(resized(images), "logits"), twin(images)) < 1e-5


def test_resizing_changes_the_position_embedding_only_and_leaves_the_model_alone():
    model = small_model().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    resized = translated.resize_model(model, 28)
    assert resized.training and resized.config.image_size == 28
    with torch.no_grad():
        for parameter in resized.parameters():
            parameter.add_(1)
    assert_same_weights(model.state_dict(), before)
    for name, tensor in resized.state_dict().items():
        assert torch.equal(tensor, before[name] + 1) == (name != "position_embedding"), name
    assert resized.position_embedding.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_a_resized_model_keeps_its_mode_and_its_precision(training):
    resized = translated.resize_model(small_model().double().train(training), 28)
    assert all(module.training == training for module in resized.modules())
    assert {parameter.dtype for parameter in resized.parameters()} == {torch.float64}


def test_resizing_to_the_same_size_gives_an_equal_model():
    model = small_model()
    assert_same_weights(translated.resize_model(model, 20).state_dict(), model.state_dict())


def test_resizing_to_a_size_the_patches_do_not_divide_is_one_line():
    with pytest.raises(DeiTEduError) as error:
        translated.resize_model(small_model(), 30)
    assert "patch size 4 does not divide image height 30" in one_line(error)


# ---- timm and the authors ----


def timm_model(distilled=True, seed=0, **settings):
    model = references.timm_twin(small_model(distilled, seed=seed + 100, **settings))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model


@both_kinds
def test_timms_names_and_back_is_exact(distilled):
    model = small_model(distilled)
    theirs = timm_model(distilled)
    theirs.load_state_dict(translated.to_timm_state_dict(model), strict=True)
    back = translated.load_state_dict_from(small_model(distilled, seed=1), theirs.state_dict())
    assert_same_weights(back.state_dict(), model.state_dict())


@both_kinds
def test_a_model_of_timm_gives_the_same_answers_here(distilled):
    theirs = timm_model(distilled)
    ours = translated.load_state_dict_from(small_model(distilled), theirs.state_dict())
    images = references.random_images(ours)
    assert references.relative_error(fuse(ours(images), "logits"), theirs(images)) < 1e-5


def test_deit_tinys_names_and_shapes_are_timms_and_there_are_155():
    with torch.device("meta"):
        ours = translated.to_timm_state_dict(create_model("deit_tiny_patch16_224", distilled=True))
    theirs = timm.create_model("deit_tiny_distilled_patch16_224").state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert len(ours) == 155
    assert ours["blocks.11.attn.qkv.weight"].shape == (576, 192)
    assert ours["pos_embed"].shape == (1, 198, 192)
    assert ours["patch_embed.proj.weight"].shape == (192, 3, 16, 16)


def test_the_authors_layout_loads_from_under_model():
    theirs = timm_model().state_dict()
    file = io.BytesIO()
    torch.save({"model": theirs}, file)  # how the authors' files are made
    file.seek(0)
    ours = translated.load_state_dict_from(small_model(), torch.load(file, weights_only=True))
    assert_same_weights(translated.to_timm_state_dict(ours), theirs)


def test_our_own_names_load_too():
    model = small_model()
    copy = translated.load_state_dict_from(small_model(seed=1), model.state_dict())
    assert_same_weights(copy.state_dict(), model.state_dict())


def test_every_name_is_told_apart_as_a_whole_word():
    for distilled in (True, False):
        names = list(small_model(distilled).state_dict())
        theirs = [translated.rename(name, translated.TIMM_NAMES) for name in names]
        assert len(set(theirs)) == len(names)
        assert list(translated.to_our_names(dict.fromkeys(theirs))) == names


# ---- Hugging Face ----

HF_SETTINGS = dict(
    image_size=20,
    patch_size=4,
    num_channels=3,
    num_labels=7,
    hidden_size=48,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=192,
    layer_norm_eps=1e-6,
    attn_implementation="eager",
)


def hugging_face_model(kind, config):
    model = kind(config(**HF_SETTINGS)).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_distilled_model_of_hugging_face_gives_the_same_answers_here(tmp_path, where):
    theirs = hugging_face_model(DeiTForImageClassificationWithTeacher, DeiTConfig)
    weights = theirs.state_dict()
    if where == "file":  # transformers 5 writes other names than it computes with
        theirs.save_pretrained(tmp_path)
        weights, _ = checkpoints.load(tmp_path / "model.safetensors")
        assert "deit.encoder.layer.2.attention.attention.query.weight" in weights
    ours = translated.load_state_dict_from(small_model(), weights)
    images = references.random_images(ours)
    answer, heads = theirs(images), ours(images)
    assert references.relative_error(heads.class_logits, answer.cls_logits) < 1e-5
    assert references.relative_error(heads.distillation_logits, answer.distillation_logits) < 1e-5
    assert references.relative_error(fuse(heads, "logits"), answer.logits) < 1e-5
    assert references.relative_error(ours.forward_features(images), theirs.deit(images).last_hidden_state) < 1e-5


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_plain_vit_of_hugging_face_gives_the_same_answers_here(tmp_path, where):
    theirs = hugging_face_model(ViTForImageClassification, ViTConfig)
    weights = theirs.state_dict()
    if where == "file":
        theirs.save_pretrained(tmp_path)
        weights, _ = checkpoints.load(tmp_path / "model.safetensors")
    ours = translated.load_state_dict_from(small_model(distilled=False), weights)
    images = references.random_images(ours)
    assert references.relative_error(ours(images).class_logits, theirs(images).logits) < 1e-5


def test_queries_keys_and_values_of_hugging_face_become_one_matrix_in_that_order():
    weights = hugging_face_model(DeiTForImageClassificationWithTeacher, DeiTConfig).state_dict()
    ours = translated.to_our_names(weights)
    for i, part in enumerate("qkv"):
        theirs = weights[f"deit.layers.1.attention.{part}_proj.weight"]
        assert torch.equal(ours["blocks.1.attention.qkv.weight"][48 * i : 48 * (i + 1)], theirs)


def test_a_token_without_its_head_is_refused():
    weights = hugging_face_model(DeiTForImageClassification, DeiTConfig).state_dict()
    for distilled in (True, False):
        with pytest.raises(DeiTEduError) as error:
            translated.load_state_dict_from(small_model(distilled), weights)
        assert "a distillation token and its head go together, they have one of the two" in one_line(error)


# ---- weights that do not fit ----


@pytest.mark.parametrize(
    "theirs, ours, advice, listed",
    [
        (
            dict(distilled=True),
            dict(distilled=False),
            "they have distilled=True, the model has distilled=False; create the model with distilled=True",
            "unexpected: distillation_token, distillation_head.weight, distillation_head.bias",
        ),
        (
            dict(distilled=False),
            dict(distilled=True),
            "they have distilled=False, the model has distilled=True; create the model with distilled=False",
            "missing: distillation_token",
        ),
        (
            dict(num_classes=1000),
            dict(num_classes=10),
            "they have num_classes=1000, the model has num_classes=10; create the model with num_classes=1000",
            "of the wrong shape: class_head.weight (1000, 48) for (10, 48)",
        ),
        (
            dict(image_size=28),
            dict(image_size=20),
            "they have image_size=28, the model has image_size=20; create the model with image_size=28, load them, "
            "then use deit_edu.runs.weights.resize_model",
            "of the wrong shape: position_embedding (1, 51, 48) for (1, 27, 48)",
        ),
        (
            dict(in_channels=3),
            dict(in_channels=1),
            "they have in_channels=3, the model has in_channels=1",
            "patch_embedding.projection.weight (48, 3, 4, 4) for (48, 1, 4, 4)",
        ),
        (dict(patch_size=4), dict(patch_size=5), "they have patch_size=4, the model has patch_size=5", "(48, 3, 4, 4)"),
        (dict(embed_dim=48), dict(embed_dim=24), "they have embed_dim=48, the model has embed_dim=24", "and 42 more"),
        (dict(depth=3), dict(depth=2), "they have depth=3, the model has depth=2", "unexpected: blocks.2.norm1.weight"),
        (dict(depth=2), dict(depth=3), "they have depth=2, the model has depth=3", "missing: blocks.2.norm1.weight"),
        (
            dict(mlp_ratio=4.0),
            dict(mlp_ratio=2.0),
            "they have mlp_ratio=4.0, the model has mlp_ratio=2.0",
            "blocks.0.mlp.fc1.weight (192, 48) for (96, 48)",
        ),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_what_to_do(theirs, ours, advice, listed):
    weights = translated.to_timm_state_dict(small_model(**theirs))
    model = small_model(**ours)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DeiTEduError) as error:
        translated.load_state_dict_from(model, weights)
    assert one_line(error).startswith("these weights do not fit the model: they have ")
    assert advice in one_line(error)
    assert listed in one_line(error)
    assert_same_weights(model.state_dict(), before)


def test_lost_and_foreign_tensors_are_named():
    model = small_model()
    weights = translated.to_timm_state_dict(model)
    del weights["blocks.1.norm2.bias"], weights["norm.weight"]
    weights["rope.frequencies"] = torch.ones(2)
    with pytest.raises(DeiTEduError) as error:
        translated.load_state_dict_from(model, weights)
    assert "they are not those of a DeiT, or some are lost; fetch them again" in one_line(error)
    assert "missing: blocks.1.norm2.bias, norm.weight; unexpected: rope.frequencies" in one_line(error)


def test_the_weights_of_another_kind_of_model_are_refused():
    with pytest.raises(DeiTEduError) as error:
        translated.load_state_dict_from(small_model(), torch.nn.Linear(2, 3).state_dict())
    assert "they are not those of a DeiT" in one_line(error)
    assert "unexpected: weight, bias" in one_line(error)


def test_a_dictionary_that_holds_no_weights_is_refused():
    with pytest.raises(DeiTEduError) as error:
        translated.load_state_dict_from(small_model(), {"epoch": 3, "state_dict": {}})
    assert one_line(error) == (
        "these are not weights but a dictionary with epoch, state_dict: pass the one that maps names to tensors"
    )
    with pytest.raises(DeiTEduError, match="a dictionary with nothing in it"):
        translated.load_state_dict_from(small_model(), {})


def test_metadata_is_plain_json(tmp_path):
    checkpoints.save(tmp_path / "a", TENSORS, METADATA)
    with safetensors.safe_open(tmp_path / "a", "pt") as file:
        entry = json.loads(file.metadata()["deit_edu"])
    assert entry == {"metadata": METADATA, "sha256": checkpoints.digest(TENSORS)}
