"""What leaves comes back: timm, Hugging Face and ONNX give our answers to our pictures, prepared as they are told."""

import json
from pathlib import Path

import numpy as np
import PIL
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from deit_edu.cli import main
from deit_edu.data.decode import resize_and_crop
from deit_edu.errors import DeiTEduError
from deit_edu.model import create_model, fuse, mean_answer
from deit_edu.runs import exports
from deit_edu.runs.checkpoints import load_network, save_model, save_network
from deit_edu.runs.choices import choose_network
from deit_edu.runs.folders import open_run
from deit_edu.runs.sources import open_initial

SHAPE = dict(embed_dim=32, depth=2, num_heads=2, num_classes=2)
SEEN = dict(mean=[0.2, 0.3, 0.4], std=[0.1, 0.2, 0.3], classes=["dim", "lit"])


@pytest.fixture(params=[True, False], ids=["distilled", "plain"])
def network(request, tmp_path):
    torch.manual_seed(0)
    model = create_model("deit_nano_patch7_28", request.param, in_channels=3, **SHAPE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_network(tmp_path / "model.safetensors", model, "deit_nano_patch7_28", (3, 28, 28), 2, SEEN)
    return load_network(tmp_path / "model.safetensors")


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8))


def ours(model):
    pixels = torch.from_numpy(np.array(picture())).permute(2, 0, 1)[None]
    with torch.no_grad():
        return model(model.preprocessing(pixels))


def mean_of_heads(said):
    heads = [logits for logits in said if logits is not None]
    return sum(heads) / len(heads)


def test_timm_opens_the_folder_and_its_own_transform_prepares_the_picture(network, tmp_path):
    exports.to_timm(*network, tmp_path / "out")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=theirs))
    with torch.no_grad():
        said = theirs(transform(picture())[None])
    torch.testing.assert_close(said, mean_of_heads(ours(network[0])), atol=1e-5, rtol=1e-4)
    assert theirs.pretrained_cfg["label_names"] == SEEN["classes"]


def test_hugging_face_opens_the_folder_with_its_image_processor(network, tmp_path):
    transformers = pytest.importorskip("transformers")
    exports.to_huggingface(*network, tmp_path / "out")
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    if network[0].config.distilled:  # the automatic class takes one head
        theirs = transformers.DeiTForImageClassificationWithTeacher.from_pretrained(tmp_path / "out").eval()
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        said = theirs(**processor(picture(), return_tensors="pt")).logits
    torch.testing.assert_close(said, mean_of_heads(ours(network[0])), atol=1e-5, rtol=1e-4)
    assert theirs.config.id2label == {0: "dim", 1: "lit"}
    again, metadata = open_initial(str(tmp_path / "out"))  # and it comes home
    torch.testing.assert_close(mean_of_heads(ours(again)), said, atol=1e-5, rtol=1e-4)
    assert metadata["classes"] == SEEN["classes"]


@pytest.mark.filterwarnings("ignore")
def test_onnxruntime_says_the_same_of_any_number_of_pictures(network, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    exports.to_onnx(*network, tmp_path / "out.onnx")
    session = runtime.InferenceSession(tmp_path / "out.onnx", providers=["CPUExecutionProvider"])
    told = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    assert told == SEEN | {"image_size": 28, "channels": 3, "crop_ratio": 1.0}
    pixels = np.array(picture(), np.float32).transpose(2, 0, 1)[None] / 255
    images = (pixels - np.float32(told["mean"])[:, None, None]) / np.float32(told["std"])[:, None, None]
    for count in (1, 5):
        said = session.run(None, {"images": images.repeat(count, 0)})
        heads = [logits for logits in ours(network[0]) if logits is not None]
        for theirs, expected in zip(said, heads, strict=False):
            torch.testing.assert_close(torch.from_numpy(theirs), expected.expand(count, -1), atol=1e-5, rtol=1e-4)


def photograph():
    """A smooth one that is not square, and where resizing is rounded otherwise."""
    small = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((130, 90), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("data", "shorter"), [("cifar10", 28), ("imagenet:/x", 32)])
def test_a_photograph_that_is_not_square_is_cut_out_as_for_our_own_network(network, data, shorter, tmp_path):
    transformers = pytest.importorskip("transformers")
    model, metadata = network[0], network[1] | {"data": data}
    pixels = torch.from_numpy(np.array(resize_and_crop(photograph(), 28, shorter))).permute(2, 0, 1)[None]
    expected, a_step = model.preprocessing(pixels), 1.01 / 255 / min(SEEN["std"])
    exports.to_huggingface(model, metadata, tmp_path / "theirs")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "theirs")
    seen = processor(photograph(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(seen, expected, atol=a_step, rtol=0)
    exports.to_timm(model, metadata, tmp_path / "timm")
    network_of_timm = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network_of_timm))
    torch.testing.assert_close(transform(photograph())[None], expected)
    exports.to_safetensors(model, metadata, tmp_path / "it.safetensors")
    with safe_open(tmp_path / "it.safetensors", "pt") as file:
        assert 28 // json.loads(file.metadata()["pretrained_cfg"])["crop_pct"] == shorter


def test_a_safetensors_file_says_how_to_prepare_pictures(network, tmp_path):
    exports.to_safetensors(*network, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        told = file.metadata()
    assert {name: json.loads(told[name]) for name in SEEN} == SEEN
    assert json.loads(told["pretrained_cfg"])["input_size"] == [3, 28, 28]


@pytest.mark.parametrize("kind", exports.FORMATS)
def test_a_network_without_statistics_is_not_exported(network, kind, tmp_path):
    network[0].preprocessing = None
    with pytest.raises(DeiTEduError, match="does not say the mean and deviation of its pictures: set its preproc"):
        exports.WRITERS[kind](*network, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_asks_the_data_for_the_statistics_of_an_old_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = create_model("deit_nano_patch7_28", **SHAPE)
    save_network("old/model.safetensors", model, "deit_nano_patch7_28", (1, 28, 28), 2, {"data": "fashion_mnist_10k"})
    config = {"data": "fashion_mnist_10k", "teacher": None}
    Path("old/config.json").write_text(json.dumps(config))
    assert main(["export", "old", "it", "--to", "huggingface"]) == 0
    assert "mean [0.28" in capsys.readouterr().out
    assert json.loads(Path("it/preprocessor_config.json").read_text())["image_std"][0] == pytest.approx(0.353, abs=1e-3)
    Path("old/config.json").write_text(json.dumps(config | {"data": "folder:nowhere"}))
    assert main(["export", "old", "other", "--to", "huggingface"]) == 2
    assert "by a version that kept no mean and deviation" in capsys.readouterr().err and not Path("other").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("settings", [dict(pool="mean"), dict(registers=2), dict(distillation_tokens=2)])
def test_the_command_writes_for_onnx_what_no_other_library_has(settings, tmp_path, capsys, monkeypatch):
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    model = create_model("deit_nano_patch7_28", True, in_channels=3, **SHAPE, **settings).eval()
    save_network("run/model.safetensors", model, "deit_nano_patch7_28", (3, 28, 28), 2, SEEN)
    Path("run/config.json").write_text(json.dumps({"data": "cifar10", "teacher": None}))
    assert main(["export", "run", "out.onnx", "--to", "onnx"]) == 0
    assert "out.onnx answers with class, distillation, fused logits" in capsys.readouterr().out
    images = torch.randn(3, 3, 28, 28)
    said = runtime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"]).run(
        None, {"images": images.numpy()}
    )
    with torch.no_grad():
        heads = model(images)
    for theirs, expected in zip(said, (heads[0], mean_answer(heads[1]), fuse(heads)), strict=True):
        torch.testing.assert_close(torch.from_numpy(theirs), expected, atol=1e-5, rtol=1e-4)
    for kind, file in (("timm", "it"), ("huggingface", "it"), ("safetensors", "it.safetensors")):
        assert main(["export", "run", file, "--to", kind]) == 2 and not Path(file).exists()


@pytest.mark.parametrize("colours", [True, False])
def test_what_the_command_prints_for_hugging_face_opens_the_folder(colours, network, tmp_path, capsys, monkeypatch):
    transformers = pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    picture().save("PICTURE", "png")
    Path("config.json").write_text(json.dumps({"data": "cifar10", "teacher": None}))
    run = "." if colours else "packaged:fashion_clutter_student"
    assert main(["export", run, "it", "--to", "huggingface"]) == 0
    said = capsys.readouterr().out
    *lines, last = said.partition("To open it:\n")[2].partition("\nits pictures")[0].splitlines()
    names = {"transformers": transformers, "PIL": PIL}
    exec("\n".join(lines), names)
    if colours:
        answer = eval(last, names)("PICTURE", top_k=1)[0]["label"]
        assert answer == SEEN["classes"][mean_of_heads(ours(network[0])).argmax()]
    else:
        model, _ = open_run(run)
        pixels = torch.from_numpy(np.array(picture().convert("L")))[None, None]
        with torch.no_grad():
            expected = mean_of_heads(model(model.preprocessing(pixels)))
            torch.testing.assert_close(eval(last, names), expected, atol=1e-4, rtol=1e-4)


def test_the_command_says_mean_std_and_classes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "packaged:fashion_clutter_student", "it", "--to", "timm"]) == 0
    said = capsys.readouterr().out
    assert "mean [0." in said and "std [0." in said and "Sneaker" in said
    assert main(["export", "packaged:fashion_clutter_student", "it", "--to", "timm"]) == 2
    assert main(["export", "packaged:fashion_clutter_student", "it.png", "--to", "onnx"]) == 2
    assert "must end in .onnx" in capsys.readouterr().err


# ---- and in: what --initial takes ----


def tiny(name="deit_tiny_patch16_224", **settings):
    return timm.create_model(name, img_size=32, depth=1, num_classes=4, **settings)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_the_authors_file_is_read_whatever_wrapped_it(name, prefix, wrapper, tmp_path):
    theirs = tiny(name).eval()
    state = {prefix + key: tensor for key, tensor in theirs.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "it.pth")
    model, metadata = open_initial(str(tmp_path / "it.pth"))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(mean_of_heads(model(images)), theirs(images), atol=1e-5, rtol=1e-4)
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)
    assert metadata["heads"] == ["class_head", "distillation_head"][: 2 if "distilled" in name else 1]


def test_a_trunk_without_heads_starts_a_training_and_others_are_named(tmp_path):
    trunk = {key: tensor for key, tensor in tiny().state_dict().items() if "head" not in key}
    torch.save(trunk, tmp_path / "trunk.pth")
    assert open_initial(str(tmp_path / "trunk.pth"))[1]["heads"] == []
    third = timm.create_model("deit3_small_patch16_224", depth=1)
    torch.save(third.state_dict(), tmp_path / "third.pth")
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for file, message in (
        ("third", "third.pth is no DeiT: these are a DeiT III's"),
        ("resnet", "resnet.pth is no DeiT: its weights are of another kind of network"),
        ("text", "text.pth holds more than weights, or is damaged"),
        ("nothing", "no file .*nothing.pth"),
    ):
        with pytest.raises(DeiTEduError, match=message):
            open_initial(str(tmp_path / f"{file}.pth"))


def test_layer_scale_and_a_wrong_shape_are_named(tmp_path):
    scaled = tiny(init_values=0.1).state_dict()
    torch.save(scaled, tmp_path / "scaled.pth")
    odd = tiny().state_dict()
    odd["blocks.0.attn.proj.weight"] = odd["blocks.0.attn.proj.weight"][:-1]
    torch.save(odd, tmp_path / "odd.pth")
    for file, message in (
        ("scaled", "scaled.pth is no DeiT: these have LayerScale, which a DeiT has not"),
        ("odd", r"odd.pth is no DeiT: blocks\.0\.attention\.projection\.weight do not fit one"),
    ):
        with pytest.raises(DeiTEduError, match=message):
            open_initial(str(tmp_path / f"{file}.pth"))


def test_a_hugging_face_folder_is_read_with_older_weights_and_refused_without(network, tmp_path):
    folder = tmp_path / "theirs"
    exports.to_huggingface(*network, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    model, metadata = open_initial(str(folder))
    pixels = network[0].preprocessing(torch.full((1, 3, 28, 28), 99, dtype=torch.uint8))
    with torch.no_grad():
        torch.testing.assert_close(mean_of_heads(model(pixels)), mean_of_heads(network[0](pixels)))
    assert metadata["classes"] == SEEN["classes"] and model.preprocessing.mean == tuple(SEEN["mean"])
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(DeiTEduError, match="theirs has no model.safetensors: save the model there"):
        open_initial(str(folder))


def test_our_own_export_comes_home_as_the_network_that_left(network, tmp_path):
    path = tmp_path / "out.safetensors"
    exports.to_safetensors(*network, path)
    again, metadata = open_initial(str(path))  # nobody says the heads, which leave no trace in the shapes
    assert (again.config, again.preprocessing) == (network[0].config, network[0].preprocessing)
    assert metadata["classes"] == SEEN["classes"]
    torch.testing.assert_close(mean_of_heads(ours(again)), mean_of_heads(ours(network[0])))
    exports.to_timm(*network, tmp_path / "folder")
    for name in ("folder", "folder/model.safetensors"):
        found, told = open_initial(str(tmp_path / name))
        assert (found.config, found.preprocessing) == (again.config, again.preprocessing)
        assert told["classes"] == SEEN["classes"]
    assert choose_network({"data": "folder:/x", "initial": str(path)})["model_settings"]["num_heads"] == 2


def test_a_folder_of_timms_starts_a_deit_or_says_what_is_wrong(tmp_path):
    timm.models.save_for_hf(tiny(), tmp_path)
    model, metadata = open_initial(str(tmp_path))
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
        torch.testing.assert_close(model(pixels).class_logits, theirs(pixels), atol=1e-5, rtol=1e-5)
    assert metadata["heads"] == ["class_head"] and "classes" not in metadata
    for file in tmp_path.glob("*model.*"):
        file.unlink()
    with pytest.raises(DeiTEduError, match="timm cannot open .* save it there again"):
        open_initial(str(tmp_path))


def test_a_run_of_another_pool_is_gone_on_with(tmp_path):
    model = create_model("deit_nano_patch7_28", in_channels=3, pool="mean", registers=2, mlp_ratio=2, **SHAPE)
    save_network(tmp_path / "it.safetensors", model, "deit_nano_patch7_28", (3, 28, 28), 2, SEEN)
    sizes = choose_network({"data": "folder:/x", "initial": str(tmp_path / "it.safetensors")})["model_settings"]
    assert (sizes["pool"], sizes["registers"], sizes["mlp_ratio"]) == ("mean", 2, 2)


@pytest.mark.parametrize("settings", [dict(pool="mean"), dict(registers=2), dict(distillation_tokens=2)])
def test_a_run_is_the_same_network_by_its_file(settings, tmp_path):
    model = create_model("deit_nano_patch7_28", True, in_channels=3, **SHAPE, **settings).eval()
    save_network(tmp_path / "it.safetensors", model, "deit_nano_patch7_28", (3, 28, 28), 2, SEEN)
    again, metadata = open_initial(str(tmp_path / "it.safetensors"))
    assert again.config == model.config and again.preprocessing.mean == tuple(SEEN["mean"])
    assert metadata["heads"] == ["class_head", "distillation_head"] and metadata["classes"] == SEEN["classes"]
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images))
    save_model(tmp_path / "bare.safetensors", model)
    assert open_initial(str(tmp_path / "bare.safetensors"))[1]["num_classes"] == 2


@pytest.mark.parametrize(("settings", "refused"), [
    ({}, False), (dict(layer_norm_eps=1e-5), False), (dict(layer_norm_eps=0.1), True), (dict(hidden_act="relu"), True),
    (dict(hidden_act="quick_gelu"), True),
])  # fmt: skip
def test_a_vit_of_hugging_face_says_the_same_or_is_refused(settings, refused, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
                                    image_size=16, patch_size=8, num_labels=3, **settings)  # fmt: skip
    theirs = transformers.ViTForImageClassification(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(tmp_path)
    if refused:
        with pytest.raises(DeiTEduError, match="has hidden_act .*, a DeiT has gelu and 1e-6: its answers would differ"):
            open_initial(str(tmp_path))
    else:
        images = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            said = open_initial(str(tmp_path))[0](images).class_logits
            torch.testing.assert_close(said, theirs(images).logits, atol=1e-3, rtol=1e-3)


def test_a_run_of_timms_starts_a_deit_by_its_file(tmp_path):
    theirs = tiny()
    save_network(tmp_path / "it.safetensors", theirs, "timm:deit_tiny_patch16_224", (3, 32, 32), 4, SEEN)
    model, metadata = open_initial(str(tmp_path / "it.safetensors"))
    assert model.preprocessing.mean == tuple(SEEN["mean"]) and metadata["classes"] == SEEN["classes"]


@pytest.mark.parametrize(
    ("file", "holds", "told"),
    [
        ("pytorch_model.bin", b"garbage", "pytorch_model.bin holds more than weights, or is damaged: save"),
        ("preprocessor_config.json", b'{"do_resize": tr', "config.json is damaged: fetch it again, or save it there"),
        ("preprocessor_config.json", b"[]", "config.json is damaged: fetch it again, or save it there"),
        ("config.json", b'"model_type"', "config.json is damaged"),
    ],
)
def test_a_damaged_hugging_face_folder_is_named(file, holds, told, network, tmp_path):
    folder = tmp_path / "theirs"
    exports.to_huggingface(*network, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(holds)
    with pytest.raises(DeiTEduError, match=told):
        open_initial(folder)


def test_an_image_processor_without_statistics_says_nothing_of_them(network, tmp_path):
    exports.to_huggingface(*network, tmp_path / "theirs")
    (tmp_path / "theirs/preprocessor_config.json").write_text('{"do_resize": true}')
    assert open_initial(tmp_path / "theirs")[0].preprocessing.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    ("holds", "told"),
    [
        ([1, 2], "it.pth holds a list, no weights: save a state_dict with torch.save"),
        (torch.zeros(2), "it.pth holds a Tensor, no weights"),
        ({1: torch.zeros(2)}, "it.pth is no DeiT: its weights are of another kind of network"),
        ({"model": {}}, "it.pth is no DeiT: its weights are of another kind"),
        ({"patch_embed.proj.weight": torch.zeros(2)}, "it.pth is no DeiT: its weights are of another kind"),
    ],
    ids=["a list", "a tensor", "numbers for names", "nothing", "a vector"],
)
def test_a_file_that_holds_no_weights_is_named(holds, told, tmp_path):
    torch.save(holds, tmp_path / "it.pth")
    with pytest.raises(DeiTEduError, match=told):
        open_initial(tmp_path / "it.pth")


def test_a_vector_where_a_deit_has_a_matrix_is_no_deit(tmp_path):
    state = tiny().state_dict()
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight", "head.weight"):
        torch.save(state | {name: torch.zeros(2), 7: 8}, tmp_path / "it.pth")
        with pytest.raises(DeiTEduError, match="it.pth is no DeiT"):
            open_initial(tmp_path / "it.pth")
