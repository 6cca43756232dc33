"""A reader's photograph reaches the network shrunk as Pillow's bicubic shrinks it, in Chromium and in Firefox."""

import base64
import io
import json
import shutil

import firefox
import numpy as np
import pytest
import torch
from PIL import Image
from test_widgets import evaluate_in_module

from deit_edu.runs.preprocess import Preprocessing
from deit_edu.widgets.bundle import FOLDER, bundled

# (height, width) of what is shrunk or enlarged, and the side that is wanted.
SIZES = [((61, 61), 28), ((123, 97), 32), ((201, 259), 28), ((20, 31), 32), ((64, 64), 64), ((171, 203), 96)]
SHRINK = """window.shrink = async ({ data, type, shape }) => {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new File([bytes], "a photo", { type }));
    return JSON.stringify(Array.from(await shrunk(bitmap, shape)));
};"""


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def scene(height, width):
    """Smooth colours, hard edges and fine stripes: what photographs have."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = 127 + 90 * np.sin(x / 17 + 1.3) * np.cos(y / 23)
    stripes = np.where((x + y) % 6 < 3, 220, 30)
    disc = (x - width / 2) ** 2 + (y - height / 3) ** 2 < (min(height, width) / 4) ** 2
    return np.stack([waves, np.where(disc, 255, waves / 2), np.where(y > height / 2, stripes, waves)], -1).astype(
        np.uint8
    )


def square(image):
    """The middle, as large as it can be."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def encoded(image, kind="PNG", **settings):
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return {"data": base64.b64encode(buffer.getvalue()).decode(), "type": f"image/{kind.lower()}"}


def shrunk_by_pillow(image, side):
    return np.asarray(square(image).resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)


def cases():
    """(file for the page, what Pillow makes of it) of every picture that is tried."""
    for sides, side in SIZES:
        for pixels in (noise(*sides), scene(*sides)):
            image = Image.fromarray(pixels)
            yield encoded(image) | {"shape": [3, side, side]}, shrunk_by_pillow(image, side)
    image, grey = Image.fromarray(noise(90, 90, 1)), (0.299, 0.587, 0.114)
    expected = np.tensordot(grey, shrunk_by_pillow(image, 28), 1)[None]
    yield encoded(image) | {"shape": [1, 28, 28]}, expected
    clear = Image.fromarray(np.dstack([noise(70, 70, 2), np.where(np.eye(70) > 0, 255, 0).astype(np.uint8)]), "RGBA")
    white = Image.new("RGBA", clear.size, "white")
    yield (
        encoded(clear) | {"shape": [3, 20, 20]},
        shrunk_by_pillow(Image.alpha_composite(white, clear).convert("RGB"), 20),
    )
    turned, exif = Image.fromarray(scene(80, 50)), Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: to be turned clockwise
    upright = turned.transpose(Image.Transpose.ROTATE_270)
    file = encoded(turned, "JPEG", quality=100, subsampling=0, exif=exif)
    yield file | {"shape": [3, 24, 24]}, shrunk_by_pillow(upright, 24)


def assert_as_pillow(run):
    """run: a function from an expression to its value in a page."""
    run(f"(() => {{ {bundled(FOLDER / 'photographs.js')} {SHRINK} }})()")
    for file, expected in cases():
        found = json.loads(run(f"shrink({json.dumps(file)})"))
        difference = np.abs(np.reshape(found, expected.shape) - expected)
        assert difference.max() <= 2, (expected.shape, difference.max())


def test_chromium_shrinks_a_photograph_as_pillow_does(browser):
    page = browser.new_page()
    assert_as_pillow(page.evaluate)
    page.close()


def test_firefox_shrinks_a_photograph_as_pillow_does(tmp_path):
    if not (program := shutil.which("firefox-esr") or shutil.which("firefox")):
        pytest.skip("Firefox is not installed: sudo apt-get install firefox-esr")
    with firefox.Firefox(program, tmp_path) as browser:
        browser.go("about:blank")
        assert_as_pillow(browser.run)


def test_the_pages_preparation_is_the_librarys(browser):
    """Channels, size and statistics: deit_edu.runs.preprocess, for a network of another kind of picture."""
    page, generator = browser.new_page(), torch.Generator().manual_seed(0)
    text = bundled(FOLDER / "prepare.js")
    for shape, own in (
        ((3, 28, 28), Preprocessing((3, 28, 28), (0.1, 0.5, 0.8), (0.2, 0.3, 0.4))),
        ((3, 31, 31), Preprocessing((3, 17, 17), (0.1, 0.5, 0.8), (0.2, 0.3, 0.4))),
        ((1, 9, 9), Preprocessing((3, 22, 22), (0.4, 0.2, 0.3), (0.5, 0.6, 0.7))),
        ((3, 40, 40), Preprocessing((1, 13, 13), (0.4,), (0.5,))),
    ):
        pixels = torch.rand(1, *shape, generator=generator) * 255
        given = Preprocessing(shape, (0.0,) * shape[0], (1.0,) * shape[0])
        expected = own.again(pixels / 255, given)[0]
        asked = [pixels.flatten().tolist(), list(shape), own.to_dict()]
        found = page.evaluate(f"(asked) => {{ {text} return Array.from(prepared(...asked)); }}", asked)
        assert np.abs(np.array(found) - expected.flatten().numpy()).max() < 1e-4
    page.close()


# ---- which picture counts, and when the camera is on ----


# White, then black is dropped, and black is ready first; then a file that is damaged, and a picture meanwhile.
DROPS = """(async () => {
    const root = document.createElement('div'), got = [], held = [], real = createImageBitmap;
    window.createImageBitmap = () => new Promise((done, fail) => held.push({ done, fail }));
    const own = ownPictures(root, { shape: [1, 4, 4], dark: false }, ([first]) => got.push(first), got.push);
    const drop = () => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(['x'], 'photo.png', { type: 'image/png' }));
        root.dispatchEvent(new DragEvent('drop', { dataTransfer }));
    };
    const bitmap = (value) => real(new ImageData(new Uint8ClampedArray(64).fill(value).map(
        (v, i) => i % 4 === 3 ? 255 : v), 4));
    const later = () => new Promise(resolve => setTimeout(resolve, 100));
    for (let i = 0; i < 2; i++) drop();
    held[1].done(await bitmap(0));
    await later();
    held[0].done(await bitmap(255));
    await later();
    for (let i = 0; i < 2; i++) drop();
    held[2].fail(new Error('damaged'));
    held[3].done(await bitmap(90));
    await later();
    drop();
    own.forget();
    held[4].done(await bitmap(200));
    await later();
    window.createImageBitmap = real;
    return got;
})()"""

# A camera that the browser gives when `held` says so.
CAMERA = """(async () => {
    const canvas = document.createElement('canvas'), held = [], tracks = [], took = [], refused = [];
    canvas.getContext('2d').fillRect(0, 0, 9, 9);
    const getUserMedia = () => new Promise(done => held.push(() => {
        const stream = canvas.captureStream(30);
        tracks.push(...stream.getTracks());
        done(stream);
    }));
    Object.defineProperty(navigator, 'mediaDevices', { value: { getUserMedia }, configurable: true });
    const own = ownPictures(document.body, { shape: [1, 4, 4], dark: false },
        () => took.push('a picture'), (sentence) => refused.push(sentence));
    document.body.append(...own.controls, own.video);
    const [, button] = own.controls;
    const says = async (words) => {
        for (let i = 0; i < 200 && button.textContent !== words; i++) {
            canvas.getContext('2d').fillRect(i, 0, 9, 9); // or it has no picture to give
            await new Promise(resolve => setTimeout(resolve, 50));
        }
        return button.textContent;
    };
    const states = () => tracks.map(track => track.readyState);
    const give = () => held.splice(0).map(done => done()).length;
    %s
})()"""


def test_an_older_photo_never_overtakes_a_newer_one(page):
    assert evaluate_in_module(page, "photographs.js", DROPS, None) == [0, 90]


def camera(page, act):
    return evaluate_in_module(page, "photographs.js", CAMERA % act, None)


def test_a_double_click_opens_one_camera_and_the_picture_ends_it(page):
    asked, on, off, states, took = camera(page, """
        button.click(), button.click();
        const asked = give(), on = await says('Take the picture');
        button.click(), button.click();
        return [asked, on, await says('Use the camera'), states(), took];""")  # fmt: skip
    assert (asked, on, off, states, took) == (1, "Take the picture", "Use the camera", ["ended"], ["a picture"])


def test_a_figure_that_goes_while_the_browser_asks_leaves_no_camera_on(page):
    states = camera(page, """
        button.click(), own.stop(), give();
        await new Promise(resolve => setTimeout(resolve, 100));
        return states();""")  # fmt: skip
    assert states == ["ended"]


def test_a_camera_that_gives_no_picture_gets_a_sentence(page):
    refused, states = camera(page, """
        button.click(), give(), await says('Take the picture');
        const real = createImageBitmap;
        window.createImageBitmap = async () => { throw new Error('InvalidStateError'); };
        button.click(), await says('Use the camera');
        window.createImageBitmap = real;
        return [refused, states()];""")  # fmt: skip
    assert refused == ["The camera gave no picture: try again, or choose a photo from a file."]
    assert states == ["ended"]
