"""What leaves comes back: timm, Hugging Face and ONNX give our answers to our pictures, prepared as they are told."""

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from deit_edu.cli import main
from deit_edu.errors import DeiTEduError
from deit_edu.model import create_model
from deit_edu.runs import exports
from deit_edu.runs.checkpoints import load_network, save_network
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
    assert told == SEEN | {"image_size": 28, "channels": 3}
    pixels = np.array(picture(), np.float32).transpose(2, 0, 1)[None] / 255
    images = (pixels - np.float32(told["mean"])[:, None, None]) / np.float32(told["std"])[:, None, None]
    for count in (1, 5):
        said = session.run(None, {"images": images.repeat(count, 0)})
        heads = [logits for logits in ours(network[0]) if logits is not None]
        for theirs, expected in zip(said, heads, strict=False):
            torch.testing.assert_close(torch.from_numpy(theirs), expected.expand(count, -1), atol=1e-5, rtol=1e-4)


def test_a_safetensors_file_says_how_to_prepare_pictures(network, tmp_path):
    exports.to_safetensors(*network, tmp_path / "out.safetensors")
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        told = file.metadata()
    assert {name: json.loads(told[name]) for name in SEEN} == SEEN
    assert json.loads(told["pretrained_cfg"])["input_size"] == [3, 28, 28]


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
