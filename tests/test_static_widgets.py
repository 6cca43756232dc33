"""What the build makes of the interactive figures: small pages, shared files, nothing stale, no kernel needed."""

import base64
import json
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from static_widgets import Files, make_static, names_of  # noqa: E402, F401 - test_widgets takes names_of from here

STATE = '<script type="application/vnd.jupyter.widget-state+json">{}</script>'
VIEW = '<script type="application/vnd.jupyter.widget-view+json">{{"model_id": "{}"}}</script>'


def record(arrays=None, **state):
    state = {"_figure": "Toy", "_esm": "export default {}", "_css": "p {}", "_caption": 'A "picture"', "_on_use": [],
             "_model_name": "AnyModel", "layout": "IPY_MODEL_x", **state}  # fmt: skip
    data = {"_picture": b"png", **(arrays or {})}
    buffers = [
        {"path": [name], "encoding": "base64", "data": base64.b64encode(value).decode()} for name, value in data.items()
    ]
    return {"model_module": "anywidget", "state": state, "buffers": buffers}


def page(records, views=None):
    state = json.dumps({"version_major": 2, "state": records})
    return "<p>before</p>" + "".join(map(VIEW.format, views or records)) + STATE.format(state)


def state_of(text):
    return json.loads(text.partition('state+json">')[2].partition("</script>")[0])["state"]


def test_arrays_scripts_and_styles_become_files_and_small_state_stays(tmp_path):
    text, used, wrong = make_static(page({"a": record({"pixels": b"\x00\x01"}, layer=3)}), Files(tmp_path))
    kept = state_of(text)["a"]
    assert not wrong
    assert kept["state"] == {"_figure": "Toy", "_on_use": [], "layer": 3}
    (file,) = kept["files"]
    assert file["trait"] == "pixels"
    content = (tmp_path / f"{file['name']}.js").read_text()
    assert content == f'deitEduFile("{file["name"]}","{base64.b64encode(bytes([0, 1])).decode()}")\n'
    assert "export default" in (tmp_path / f"{kept['esm']}.js").read_text()
    assert {path.stem for path in tmp_path.iterdir()} == used


def test_what_two_figures_share_is_one_file(tmp_path):
    records = {"a": record({"pixels": b"same"}), "b": record({"pixels": b"same"}), "c": record({"pixels": b"other"})}
    make_static(page(records), Files(tmp_path))
    assert len(list(tmp_path.glob("*.js"))) == 4  # two arrays, one script, one style
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_a_page_in_a_folder_finds_its_pictures(tmp_path):
    picture = base64.b64encode(b"png" * 1000).decode()
    drawn = f'<img src="data:image/png;base64,{picture}">'
    text, _, _ = make_static(page({"a": record()}) + drawn, Files(tmp_path), "../")
    assert text.count('src="../_static/widgets/') == 2 and 'src="_static' not in text


def test_a_page_made_of_two_keeps_the_figures_of_both(tmp_path):
    text, _, wrong = make_static(page({"a": record(layer=1)}) + page({"b": record(layer=2)}), Files(tmp_path))
    states = [json.loads(part.partition("</script>")[0])["state"] for part in text.split('state+json">')[1:]]
    assert not wrong and [list(state) for state in states] == [["a"], ["b"]]


def test_a_page_made_static_before_is_left_as_it_is(tmp_path):
    once, used, _ = make_static(page({"a": record({"pixels": b"1"})}), Files(tmp_path))
    twice, used_again, wrong = make_static(once, Files(tmp_path))
    assert (twice, used_again, wrong) == (once, used, [])


def test_a_reader_without_javascript_gets_a_picture_and_words(tmp_path):
    text, used, _ = make_static(page({"a": record()}), Files(tmp_path))
    noscript = text.partition("<noscript>")[2].partition("</noscript>")[0]
    (picture,) = tmp_path.glob("*.png")
    assert picture.read_bytes() == b"png" and picture.stem in used
    assert f'src="_static/widgets/{picture.name}"' in noscript
    assert 'alt="A &quot;picture&quot;"' in noscript and "interactive" in noscript


@pytest.mark.parametrize("figures", [{}, {"a": record()}])
def test_a_chapters_pictures_become_files_and_small_ones_stay(tmp_path, figures):
    large, small = base64.b64encode(b"large" * 1000).decode(), base64.b64encode(b"small").decode()
    pictures = "".join(f'<img src="data:image/png;base64,{data}" alt="one">' for data in (large, small))
    files = Files(tmp_path)
    text, used, wrong = make_static(pictures + (page(figures) if figures else ""), files)
    assert not wrong and large not in text and small in text
    (name,) = [path.stem for path in tmp_path.glob("*.png") if path.read_bytes() == b"large" * 1000]
    assert f'<img src="_static/widgets/{name}.png" alt="one">' in text and name in used
    assert make_static(text, files) == (text, used, [])


def test_files_that_no_page_names_are_removed(tmp_path):
    files = Files(tmp_path)
    _, used, _ = make_static(page({"a": record({"pixels": b"new"})}), files)
    stale = files.write("an array of an earlier build")
    files.remove_others(used)
    assert not (tmp_path / f"{stale}.js").exists()
    assert {path.stem for path in tmp_path.iterdir()} == used


def test_a_widget_that_is_no_figure_is_refused(tmp_path):
    slider = {"model_module": "@jupyter-widgets/controls", "state": {"value": 3}}
    _, _, wrong = make_static(page({"a": record(), "b": slider}), Files(tmp_path))
    assert wrong == ["a widget needs a kernel and would be invisible here: only figures of deit_edu.widgets"]
    assert make_static(page({"a": record(), "b": slider}, views=["a"]), Files(tmp_path))[2] == []  # not shown
    assert make_static(VIEW.format("a"), Files(tmp_path))[2] == ["a widget has no state: build its page again"]


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!--"])
def test_text_in_a_trait_cannot_end_the_script_it_lies_in(tmp_path, text):
    made, _, _ = make_static(page({"a": record(label=text.replace("/", "\\/"))}), Files(tmp_path))
    assert made.count("</script>") == 2
