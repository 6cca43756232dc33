"""Predictions and accuracies: nothing depends on the batch, and the interval is Wilson's."""

import pytest
import torch
from toy import toy_dataset

from deit_edu.model import DeiT, DeiTConfig, HeadLogits
from deit_edu.runs.evaluate import Accuracy, accuracies, decisions, load_decisions, predict, save_predictions
from deit_edu.teachers import ConvNet

CONFIG = DeiTConfig(8, 4, 1, 3, 16, 2, 2, drop_rate=0.5)


def test_predictions_do_not_depend_on_the_batch_or_on_the_mode():
    data = toy_dataset()
    torch.manual_seed(0)
    model = DeiT(CONFIG).train()
    whole, pieces = predict(model, data.test, data), predict(model, data.test, data, batch_size=7)
    assert model.training
    for one, other in zip(whole, pieces, strict=True):
        assert one.shape == (60, 3) and torch.allclose(one, other, atol=1e-6)


def test_a_network_with_one_head_has_one_accuracy():
    data = toy_dataset()
    said = predict(ConvNet(1, 3, widths=(4, 4, 4), depths=(1, 1, 1)), data.test, data)
    assert said.distillation_logits is None and list(accuracies(said, data.test.labels)) == ["class"]


def test_accuracy_counts_each_head_and_each_fusion():
    sure = 9.0
    said = HeadLogits(
        torch.tensor([[sure, 0, 0], [sure, 0, 0], [0, 1.0, 0]]), torch.tensor([[sure, 0, 0], [0, 1.0, 0], [0, 0, sure]])
    )
    labels = torch.tensor([0, 1, 2])
    counted = {head: score.correct for head, score in accuracies(said, labels).items()}
    assert counted == {"class": 1, "distillation": 3, "fused": 2, "fused_logits": 2}


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (7, 10), (8313, 10000), (10, 10)])
def test_the_interval_is_where_the_score_test_does_not_reject(correct, total):
    """Wilson: the shares p at distance z standard errors, of p itself, from what was found."""
    z = 1.959963984540054
    for bound in Accuracy(correct, total).interval:
        if 0 < bound < 1:
            assert abs(correct / total - bound) == pytest.approx(z * (bound * (1 - bound) / total) ** 0.5, rel=1e-6)
    low, high = Accuracy(correct, total).interval
    assert 0 <= low <= correct / total <= high <= 1 and low < high


@pytest.mark.parametrize("num_classes", [2**15, 2**15 + 1, 40_000])
def test_decisions_among_many_classes_are_stored(tmp_path, num_classes):
    logits = torch.zeros(2, num_classes)
    logits[0, -1] = logits[1, 3] = 1
    save_predictions(tmp_path / "predictions.safetensors", HeadLogits(logits, None))
    assert load_decisions(tmp_path / "predictions.safetensors")["class"].tolist() == [num_classes - 1, 3]


def test_stored_decisions_are_those_before_rounding(tmp_path):
    generator = torch.Generator().manual_seed(0)
    near_ties = HeadLogits(*(1000 + 1e-3 * torch.rand(2, 500, 4, generator=generator)))  # equal as float16
    save_predictions(tmp_path / "predictions.safetensors", near_ties)
    stored = load_decisions(tmp_path / "predictions.safetensors")
    assert set(stored) == set(decisions(near_ties))
    for name, chosen in decisions(near_ties).items():
        assert torch.equal(stored[name], chosen)
    assert not torch.equal(near_ties.class_logits.half().argmax(dim=-1), stored["class"])  # what rounding would do
