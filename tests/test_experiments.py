"""The grids, the claims, the statistics, the ledger's file and the report."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.stats import norm
from toy import toy_config, toy_dataset

from deit_edu.cli import main
from deit_edu.data import nested_subset
from deit_edu.data.clutter import HALVES
from deit_edu.errors import DeiTEduError
from deit_edu.evidence import cells
from deit_edu.evidence.cells import Grid, run_key, unique_runs
from deit_edu.evidence.claims import CLAIMS
from deit_edu.evidence.grids import EXPERIMENTS
from deit_edu.evidence.ledger import Ledger, ledger_for_writing
from deit_edu.evidence.regime import BASE, STOPPED_AFTER
from deit_edu.evidence.report import DECIDERS, HEADS, Results, disagreement_table, measure_of, report
from deit_edu.evidence.second_claims import SECOND_CLAIMS
from deit_edu.evidence.stopping import check_stopped, distances, stopped_after
from deit_edu.evidence.verdicts import Difference, paired_difference, verdict
from deit_edu.model import HeadLogits
from deit_edu.runs import train
from deit_edu.runs.checkpoints import packaged_path
from deit_edu.runs.evaluate import decisions, load_decisions, save_predictions
from deit_edu.teachers import Ensemble
from deit_edu.train import TrainConfig

GRID = Grid("tiny", checksum=lambda name, image_size=0: f"checksum of {name}")


def cells_of(name, seeds=None):
    return {(cell.configuration, cell.seed): cell for cell in GRID.cells(name, seeds)}


# ---- cells and keys ----


@pytest.mark.parametrize(("name", "scale"), [(n, s) for n, e in EXPERIMENTS.items() for s in BASE if s in e.scales])
def test_every_cell_is_a_run_that_can_be(name, scale):
    grid = Grid(scale, checksum=lambda name, image_size: name)
    cells = grid.cells(name)
    assert len(cells) == len(EXPERIMENTS[name].configurations) * EXPERIMENTS[name].seeds
    assert len({(cell.configuration, cell.seed) for cell in cells}) == len(cells)
    for cell in unique_runs(cells):
        assert (cell.config.teacher is None) == (cell.config.distillation == "none")
        taught_by = [*(teacher.key for teacher in cell.teachers), *cell.shipped]
        assert cell.config.teacher == ("+".join(taught_by) or None)
        assert all(packaged_path(name).exists() for name in cell.shipped)
        assert all(teacher.config.data == cell.config.data for teacher in cell.teachers)


def test_a_key_stays_what_it_is():
    config = TrainConfig(data="fashion_clutter", epochs=7, learning_rate=1e-3, seed=3)
    assert run_key(config, "checksum") == "run-b89dd3aa1d42abfb"


@pytest.mark.parametrize("field", dataclasses.fields(TrainConfig), ids=lambda field: field.name)
def test_every_setting_changes_the_key(field):
    default = getattr(TrainConfig(), field.name)
    other = {bool: not default, int: 7, float: 0.7, float | None: 0.7, dict: {"depth": 2}}.get(field.type, "other")
    config = dataclasses.replace(TrainConfig(), **{field.name: other})
    assert run_key(config, "checksum") != run_key(TrainConfig(), "checksum")


def test_the_student_that_ships_goes_on_from_the_run_before_it():
    cells = first, *later = Grid("small", "folder:/here/cifar10", GRID.checksum).cells("flagship")
    for before, cell in zip(cells, later, strict=False):
        assert cell.config.initial == cell.initial.key == before.key and cell.initial.config == before.config
        assert (first.config.mixup_alpha, cell.config.mixup_alpha) == (0, 0.8) and cell.shipped != first.shipped
    rates = [cell.config.learning_rate for cell in later]
    assert len(later) == 3 and rates == sorted(rates, reverse=True) and rates[0] > rates[-1]
    assert [cell.config.rand_augment for cell in later] == [False, False, True]


def test_other_data_under_the_same_name_are_another_run():
    assert run_key(TrainConfig(), "one") != run_key(TrainConfig(), "other")


def test_the_folder_in_which_data_lie_changes_no_key():
    here, there = TrainConfig(data="folder:/here/cifar10"), TrainConfig(data="folder:/over/there/cifar10")
    assert run_key(here, "c") == run_key(there, "c") != run_key(TrainConfig(data="folder:/here/other"), "c")


def test_experiments_share_their_cells():
    distillation, teachers = cells_of("distillation"), cells_of("teachers")
    agreement, tokens, schedule = cells_of("agreement"), cells_of("tokens"), cells_of("schedule")
    for seed in range(5):
        none, token_hard = distillation["none", seed].key, distillation["token_hard", seed].key
        assert none == teachers["none", seed].key == schedule["none_x4", seed].key == agreement["none", seed].key
        assert token_hard == teachers["by_convnet", seed].key == tokens["token_hard", seed].key
        assert distillation["convnet", seed].key == distillation["token_hard", seed].teachers[0].key
        assert teachers["by_transformer", seed].teachers[0].key == none  # the plain student teaches itself
    keys = {cell.key for cell in GRID.cells("distillation")}
    assert {cell.key for name in ("agreement", "tokens") for cell in unique_runs(GRID.cells(name))} <= keys


def test_an_experiment_is_run_only_at_the_scales_it_is_made_for():
    with pytest.raises(DeiTEduError, match="resolution cannot be run at scale small: it is made for tiny"):
        Grid("small", checksum=lambda name, image_size: name).cells("resolution")


def test_teachers_come_before_their_students_and_once():
    runs = unique_runs(GRID.cells("teachers"))
    position = {cell.key: index for index, cell in enumerate(runs)}
    assert len(position) == len(runs)
    assert all(position[teacher.key] < position[cell.key] for cell in runs for teacher in cell.teachers)


def test_a_run_that_goes_on_comes_after_the_one_it_starts_from():
    cells = cells_of("resolution")
    runs = [cell.key for cell in unique_runs(cells.values())]
    for (configuration, seed), cell in cells.items():
        if configuration != "none":
            assert cell.config.initial == cell.initial.key == cells["none", seed].key == cells_of("distillation")[
                "none", seed].key  # fmt: skip
            assert runs.index(cell.initial.key) < runs.index(cell.key)
    assert cells["tested_at_56", 0].config.epochs == 0 and cells["tuned_at_56", 0].config.crop_padding == 4


def test_transfer_starts_from_the_classes_it_does_not_see():
    cells = cells_of("transfer")
    for kind in ("plain", "distilled"):
        tuned = cells[f"from_{kind}_all", 0]
        assert tuned.initial.key == cells[f"source_{kind}", 0].key
        assert (tuned.initial.config.classes, tuned.config.classes) == ("0-4", "5-9") and not tuned.teachers
    assert cells["source_distilled", 0].teachers[0].config.classes == "0-4"  # nor has its teacher learnt them


def test_a_teacher_sees_the_students_images():
    student = cells_of("data_efficiency")["token_hard_500", 0]
    assert student.teachers[0].key == cells_of("data_efficiency")["convnet_500", 0].key
    assert student.teachers[0].config.train_images == 500


def test_an_unknown_experiment_or_scale_is_named(capsys):
    assert main(["ablate", "distilation"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown experiment 'distilation': choose one of regime, ")
    with pytest.raises(DeiTEduError, match="no experiments at scale 'paper': choose one of tiny, small"):
        Grid("paper")


# ---- claims ----


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_sign_of_a_claim_is_that_of_the_papers_numbers(claim):
    for model in list(claim.paper)[-1:]:  # the largest, where the paper gives several
        assert claim.paper_difference(model) * claim.sign > 0


@pytest.mark.parametrize("claim", CLAIMS + SECOND_CLAIMS, ids=lambda claim: claim.id)
def test_a_claim_names_what_its_experiment_measures(claim):
    assert sum(weight for weight, _, _ in claim.terms) == 0 and EXPERIMENTS[claim.experiment].seeds >= 5
    named = [(one, measure) for _, several, measure in claim.terms for one in several.split("|")]
    for configuration, measure in named:
        settings = EXPERIMENTS[claim.experiment].configurations[configuration]
        kind, *names = measure.split(":")
        if kind in (*HALVES, "kept") and settings["data"] == "fashion_clutter_left":
            (kind,), names = names, []
        if kind == "inbox":
            assert settings["tokens"] == "both" and set(names) <= {"class", "distillation"}
            continue
        if kind == "outlier":
            assert settings["tokens"] == "both"
            continue
        assert kind in (*HEADS, "similarity", "disagreement", "norm") and set(names) <= {"input", "last", *DECIDERS}
        assert kind in ("class", "disagreement") or (
            settings["tokens"] in ("both", "each") if kind != "norm" else "initial" in settings
        )


def test_claims_have_names_of_their_own():
    assert len({claim.id for claim in CLAIMS + SECOND_CLAIMS}) == len(CLAIMS + SECOND_CLAIMS)


def test_a_question_of_the_second_series_costs_no_run_that_the_first_has():
    known = {(cell.configuration, cell.seed): cell.key for cell in GRID.cells("schedule")}
    for seed in range(5):
        for name, plain, hard in [
            ("batch_and_rate", "none_batch_64_warmup_2", "hard_batch_64_warmup_2"),
            ("hard_or_soft", "none", None),
        ]:
            found = cells_of(name)
            assert found[plain, seed].key == known["none_x1", seed]
            assert hard is None or found[hard, seed].key == known["token_hard_x1", seed]
    kept = cells_of("kept_answers")
    assert all(kept["asked_anew", seed].key == known["token_hard_x2", seed] for seed in range(5))
    assert all(kept["none", seed].key == known["none_x2", seed] for seed in range(5))
    assert cells_of("registers")["hard", 2].key == known["token_hard_x2", 2]
    pooled, transfer = cells_of("pooling"), cells_of("transfer")
    assert pooled["hard_token_0.016", 4].key == known["token_hard_x1", 4]
    assert pooled["none_token_0.008", 2].key == cells_of("tuning")["learning_rate_0.008", 2].key
    assert cells_of("classes_taught")["labels", 3].key == transfer["from_distilled_all", 3].key
    assert cells_of("head_gap_long")["by_convnet_x4", 2].key == known["token_hard_x4", 2]
    assert (
        cells_of("student_beats_teacher")["by_convnet_few", 1].key == cells_of("head_gap")["by_convnet_few_x2", 1].key
    )
    taught = cells_of("resolution_taught")["taught_at_28", 0]
    assert taught.teachers[0].key == cells_of("distillation")["convnet", 0].key  # the one of 28 pixels
    assert cells_of("resolution_taught")["taught_at_42", 0].teachers[0].config.image_size == 42
    short, again = cells_of("distillation_short"), cells_of("hard_or_soft")
    assert again["hard_0.5", 0].key == short["hard_class", 0].key
    assert again["soft_0.1", 0].key == short["soft_class", 0].key


def test_a_fixed_rate_is_that_of_the_regimes_batch_and_a_scaled_one_grows_with_it():
    found = {name: cell.config for (name, seed), cell in cells_of("batch_and_rate").items() if seed == 0}
    rates = {name: config.learning_rate * config.batch_size / 512 for name, config in found.items()}
    usual = rates["none_batch_64_warmup_2"]
    assert rates["hard_batch_16_warmup_2_fixed"] == rates["none_batch_256_warmup_2_fixed"] == usual
    assert rates["none_batch_256_warmup_2"] == 4 * usual and rates["none_batch_16_warmup_2"] == usual / 4


# ---- statistics ----


def test_the_interval_of_many_normal_differences_is_students():
    values = np.random.default_rng(0).normal(1.0, 2.0, 400)
    found = paired_difference(((1, values), (-1, np.zeros(400))))
    half = 1.966 * values.std(ddof=1) / 20  # Student's t with 399 degrees of freedom
    assert found.mean == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_what_a_seed_does_to_both_sides_cancels():
    luck = np.array([0.0, 10.0, -20.0, 5.0, 7.0])
    found = paired_difference(((1, luck + 1), (-1, luck)))
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))


def test_five_seeds_give_the_quantiles_of_all_their_resamples():
    values = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    resamples = values[np.stack(np.meshgrid(*[range(5)] * 5)).reshape(5, -1)].mean(axis=0)  # all 3125
    found = paired_difference(((1, values),))
    tail = norm.sf(2.7764 * (5 / 4) ** 0.5)  # Student's t with 4 degrees of freedom, expanded
    assert (found.low, found.high) == pytest.approx(np.quantile(resamples, (tail, 1 - tail)), abs=0.21)  # steps are 0.2


def test_the_interval_of_five_seeds_covers_nine_times_in_ten():
    draws = np.random.default_rng(0).normal(1.0, 1.0, (400, 5))
    found = [paired_difference(((1, values),)) for values in draws]
    assert 0.88 < np.mean([f.low <= 1.0 <= f.high for f in found]) < 0.95  # 0.84 without the expansion


def test_a_difference_of_differences_has_four_terms():
    found = paired_difference(((1, [5, 5]), (-1, [3, 3]), (1, [1, 1]), (-1, [2, 2])))
    assert found.mean == 1.0


def test_one_seed_says_nothing_and_unequal_seeds_are_refused():
    assert paired_difference(((1, [3.0]),)) == Difference(3.0, -np.inf, np.inf, 1)
    with pytest.raises(DeiTEduError, match=r"the same seeds: got \[2, 3\]"):
        paired_difference(((1, [1, 2]), (-1, [1, 2, 3])))


@pytest.mark.parametrize(
    ("low", "high", "seeds", "sign", "expected"),
    [
        (0.1, 0.5, 5, +1, "reproduced"),
        (0.1, 0.5, 5, -1, "reversed"),
        (-0.5, -0.1, 5, -1, "reproduced"),
        (-0.5, -0.1, 5, +1, "reversed"),
        (-0.1, 0.5, 5, +1, "not resolved"),
        (-0.1, 0.5, 5, -1, "not resolved"),
        (0.0, 0.5, 5, +1, "not resolved"),  # zero itself is not excluded
        (-0.5, 0.0, 5, -1, "not resolved"),
        (0.1, 0.5, 4, +1, "not resolved"),  # too few seeds
        (-np.inf, np.inf, 1, +1, "not resolved"),
    ],
)
def test_the_verdict_follows_its_rule(low, high, seeds, sign, expected):
    assert verdict(Difference((low + high) / 2, low, high, seeds), sign) == expected


# ---- the ledger's file ----


def record_of(cell, test=None):
    return {
        "key": cell.key,
        "experiment": cell.experiment,
        "configuration": cell.configuration,
        "seed": cell.seed,
        "epochs": cell.config.epochs,
        "config": dataclasses.asdict(cell.config),
        "data": {"name": cell.config.data, "checksum": GRID.checksum(cell.config.data)},
        "seconds": 36.0,
        "machine": {"device": "cpu", "threads": 1},
        "test": {head: {"accuracy": value} for head, value in (test or {"class": 0.5}).items()},
        "validation": {head: {"accuracy": value} for head, value in (test or {"class": 0.5}).items()},
    }


def write(folder, records):
    with ledger_for_writing(folder) as ledger:
        for record in records:
            ledger.append(record)
    return Ledger(folder)


def test_records_come_back_as_they_were_written(tmp_path):
    records = [record_of(cell) for cell in GRID.cells("tokens")]
    assert list(write(tmp_path, records).records.values()) == records


def test_a_torn_last_line_is_moved_aside_and_nothing_else_changes(tmp_path, capsys):
    one, other = (record_of(cell) for cell in GRID.cells("tokens", seeds=1))
    write(tmp_path, [one])
    whole = (tmp_path / "runs.jsonl").read_bytes()
    torn = json.dumps(other).encode()[:50]
    (tmp_path / "runs.jsonl").write_bytes(whole + torn)
    assert list(Ledger(tmp_path).records) == [one["key"]]  # reading leaves it out, and leaves it alone
    assert "torn" in capsys.readouterr().err
    assert list(write(tmp_path, [other]).records) == [one["key"], other["key"]]
    assert (tmp_path / "runs.jsonl").read_bytes().startswith(whole + b'{"key"')
    assert (tmp_path / "runs.jsonl.torn").read_bytes() == torn + b"\n"


@pytest.mark.parametrize("damaged", [b'{"key"', b'{"key": "b"}', b'{"key": ["b"], "config": {}, "data": {}}', b"3"])
def test_a_damaged_line_before_the_last_is_named(damaged, tmp_path):
    whole = b'{"key": "a", "config": {}, "data": {}}'
    (tmp_path / "runs.jsonl").write_bytes(whole + b"\n" + damaged + b"\n" + whole + b"\n")
    with pytest.raises(DeiTEduError, match="runs.jsonl, line 2 is no record: restore the file with git"):
        Ledger(tmp_path)


def test_a_run_is_not_recorded_twice(tmp_path):
    record = record_of(GRID.cells("tokens")[0])
    with pytest.raises(DeiTEduError, match="already"):
        write(tmp_path, [record, record])


def test_a_default_that_changed_under_a_record_is_noticed(tmp_path):
    cell = GRID.cells("tokens")[0]
    record = record_of(cell)
    record["config"]["weight_decay"] = 0.3
    with pytest.raises(DeiTEduError, match="recorded with weight_decay 0.3, which is 0.05 now"):
        write(tmp_path, [record]).find(cell)


def test_a_setting_added_later_leaves_old_records_valid(tmp_path):
    cell = GRID.cells("tokens")[0]
    record = record_of(cell)
    del record["config"]["redraw"]
    assert write(tmp_path, [record]).find(cell) == record


# ---- the report ----


def made_up_records():
    """Table 3's rows, all five seeds: hard distillation is 2 points better, and the fusion 1 point more."""
    heads = {"none": dict(class_=0.50), "hard_class": dict(class_=0.52), "soft_class": dict(class_=0.50)}
    records = []
    for cell in unique_runs(GRID.cells("distillation")):
        accuracy = heads.get(cell.configuration, dict(class_=0.52))["class_"] + cell.seed / 1000
        test = {"class": accuracy}
        if cell.config.tokens == "both":
            test |= {"distillation": accuracy - 0.01 * (-1) ** cell.seed, "fused": accuracy + 0.01, "fused_logits": 0.5}
        record = record_of(cell, test)
        if cell.config.tokens == "both":
            record["tokens"] = record["tokens_untrained"] = {"similarity": [0.1, 0.9]}
        records.append(record)
    return records


def verdicts_in(text):
    lines = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    return {cells[1].strip(): cells[-2].strip() for cells in lines}


def test_the_report_judges_what_is_recorded_and_names_what_is_not(tmp_path):
    said = report(write(tmp_path, made_up_records()), form="markdown")
    found = verdicts_in(said)
    assert found["hard-beats-none"] == "reproduced"
    assert found["token-beats-second-class-token"] == "not resolved"  # equal, by construction
    assert found["distillation-head-beats-class-head"] == "not resolved"
    assert found["tokens-converge"] == "reproduced"
    assert found["convnet-beats-transformer"] == found["longer-helps-distilled"] == "not run"
    paper = "74.3 - 72.2 = +2.10 (Ti), 80.9 - 79.8 = +1.10 (S), 83.0 - 81.8 = +1.20 (B)"
    assert f"| {paper} | +2.00 [+2.00, +2.00] | 5 | reproduced |" in said
    assert "schedule: missing none_x1 (seed 0 1 2 3 4), token_hard_x1" in said
    (untouched,) = (line for line in said.splitlines() if line.startswith("No cell is recorded of "))
    assert {"soft_loss", "recipe", "distillation_fashion_mnist"} <= set(untouched[23:-1].split(", "))
    assert "distillation" not in untouched.split(", ")
    assert "Recorded so far: 35 runs, 0.3 hours" in said


def photographs(folder):
    """A ledger with a convnet that was trained on a folder of CIFAR-10 images, among those of scale tiny."""
    (cell,) = Grid("small", "folder:/here/cifar10", GRID.checksum).cells("cifar10_teacher")
    record = record_of(cell, {"class": 0.9})
    record["data"]["name"] = "folder:cifar10"
    return write(folder, [*made_up_records(), record])


def test_the_report_finds_a_scale_in_the_ledger_under_the_name_of_its_copy(tmp_path):
    ledger = photographs(tmp_path)
    said = report(ledger, "small", form="markdown")
    assert "| convnet | class | 90.00 |  | 1 |" in said
    assert "verdicts" not in said  # no claim is judged there
    assert "Scale tiny has 35 of them: deit-edu report --scale tiny" in said
    assert report(ledger, "small", "cifar10").count("90.00") == 0  # another copy, asked for by name
    assert "Scale small has 1 of them: deit-edu report --scale small" in report(ledger)


def test_cells_are_listed_without_the_data_where_the_ledger_knows_them(tmp_path, monkeypatch, capsys):
    photographs(tmp_path)
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    monkeypatch.setattr("deit_edu.evidence.cells.load_dataset", None)
    assert main("ablate --list cifar10_teacher --scale small".split()) == 0
    assert "1 of   1 cells recorded" in capsys.readouterr().out


def test_a_missing_seed_is_left_out_of_both_sides_of_a_difference(tmp_path):
    gone = GRID.cells("distillation")[1]
    assert (gone.configuration, gone.seed) == ("none", 0)
    records = [record for record in made_up_records() if record["key"] != gone.key]
    ledger = write(tmp_path, records)
    terms = next(claim for claim in CLAIMS if claim.id == "hard-beats-none").terms
    assert [list(values) for _, values in Results(ledger).paired("distillation", terms)] == [
        pytest.approx([52.1, 52.2, 52.3, 52.4]), pytest.approx([50.1, 50.2, 50.3, 50.4])]  # fmt: skip
    assert "distillation: missing none (seed 0)\n" in report(ledger)
    assert verdicts_in(report(ledger, form="markdown"))["hard-beats-none"] == "not resolved"  # four seeds


def test_disagreement_comes_from_the_predictions_kept(tmp_path):
    ledger = write(tmp_path, made_up_records())
    decided = {"convnet": [0, 0, 0, 0], "none": [0, 1, 1, 1]}
    for name, chosen in decided.items():
        logits = torch.eye(2)[torch.tensor(chosen)]
        save_predictions(ledger.predictions(cells_of("agreement")[name, 0].key), HeadLogits(logits, None))
    assert Results(ledger).measure("agreement", "none", 0, "disagreement:none:convnet") == 75.0
    assert Results(ledger).measure("agreement", "none", 1, "disagreement:none:convnet") is None
    table = disagreement_table(Results(ledger), "agreement")
    assert table.columns == ("", "truth", "convnet", "none")
    assert table.rows[0] == ("truth", "0.00", "48.00", "50.00")  # the records' errors, of the seed that is kept
    assert table.rows[2] == ("none", "50.00", "75.00", "0.00")
    assert "agreement: predictions of some runs are not kept" in report(ledger)


def test_csv_names_its_table_in_every_line(tmp_path):
    blocks = report(write(tmp_path, made_up_records()), form="csv").split("\n\n")
    for block in blocks:
        header, *rows = block.splitlines()
        assert header.startswith("table,") and rows
    assert any(row.startswith('distillation,none,class,50.20,"[50.') for row in "\n".join(blocks).splitlines())


def test_an_empty_ledger_is_reported_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    assert main(["report"]) == 0
    said = capsys.readouterr().out
    path = tmp_path / "runs.jsonl"
    assert said == f"{path} holds no records yet: deit-edu ablate --list names the experiments to run\n"


def test_the_list_says_what_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cells, "data_checksum", GRID.checksum)
    monkeypatch.setenv("DEIT_EDU_LEDGER", str(tmp_path))
    write(tmp_path, made_up_records())
    assert main(["ablate", "tokens", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tokens                        10 of  10 cells recorded")
    assert len(lines) == 11 and all(line.endswith("recorded") for line in lines[1:])


# ---- what the experiments asked of the library ----


def test_the_best_of_several_is_chosen_on_validation_once_all_have_run(tmp_path):
    cells = [cell for cell in GRID.cells("pooling") if cell.configuration.startswith("none_mean")]
    validation = {"none_mean_0.008": 0.5, "none_mean_0.016": 0.6, "none_mean_0.032": 0.55}
    test = {"none_mean_0.008": 0.9, "none_mean_0.016": 0.4, "none_mean_0.032": 0.8}  # which nobody looks at
    records = [
        record_of(cell, {"class": test[cell.configuration]})
        | {"validation": {"class": {"accuracy": validation[cell.configuration] + cell.seed / 1000}}}
        for cell in cells
    ]
    every = "|".join(validation)
    assert Results(write(tmp_path / "some", records[:-1])).measure("pooling", every, 0, "class") is None
    assert Results(write(tmp_path / "all", records)).measure("pooling", every, 0, "class") == 40


def test_accuracy_by_place_is_recorded_and_measured(tmp_path):
    data = dataclasses.replace(toy_dataset(), places={"left": toy_dataset().test, "right": toy_dataset().validation})
    record = train(toy_config(epochs=1), tmp_path / "run", dataset=data, progress=False)
    assert record["places"] == {"left": record["test"], "right": record["validation"]}
    for place, split in {"left": "test", "right": "validation"}.items():
        assert measure_of(record, "test", f"{place}:class") == 100 * record[split]["class"]["accuracy"]


def test_what_is_kept_is_a_share_of_the_accuracy_above_chance():
    record = {"places": {half: {"class": {"accuracy": right}} for half, right in (("left", 0.7), ("right", 0.25))}}
    assert measure_of(record, "test", "kept:class") == pytest.approx(100 * 0.15 / 0.6)


# ---- the convnet that is stopped ----


def stops(tmp_path, name, transformer, convnets, runs=None):
    """The ledger's results where the runs that the rule looks at have these validation accuracies."""
    right = {"transformer": transformer, **{f"convnet_{epochs}": found for epochs, found in convnets.items()}}
    records = [record_of(cell, {"class": right[cell.configuration]}) for cell in GRID.cells("when_to_stop")]
    return Results(write(tmp_path / name, records[:runs]), checksum=GRID.checksum)


def test_the_convnet_is_stopped_where_it_is_nearest_the_transformer_on_validation_images(tmp_path):
    rising = {1: 0.50, 2: 0.60, 3: 0.66, 4: 0.71, 5: 0.74, 6: 0.75}
    assert distances(stops(tmp_path, "one", 0.70, rising))[3] == pytest.approx(-4)
    assert stopped_after(stops(tmp_path, "four", 0.70, rising)) == 4
    assert stopped_after(stops(tmp_path, "fewer", 0.5, dict.fromkeys(rising, 0.5))) == 1  # of equals the fewest epochs
    assert stopped_after(stops(tmp_path, "some", 0.70, rising, runs=-1)) is None


def test_students_of_a_stopped_convnet_wait_for_the_rule_and_hold_to_it(tmp_path):
    rising = {1: 0.50, 2: 0.60, 3: 0.66, 4: 0.71, 5: 0.74, 6: 0.75}
    some, four = stops(tmp_path, "some", 0.66, rising, runs=3), stops(tmp_path, "four", 0.71, rising)
    with pytest.raises(DeiTEduError, match="unseen_places waits for when_to_stop"):
        check_stopped(["unseen_places"], some)
    with pytest.raises(DeiTEduError, match="after 4 epochs, not 1: write it into .*STOPPED_AFTER"):
        check_stopped(["unseen_places"], four)
    for names, results in ((["when_to_stop"], some), (["when_to_stop", "unseen_places"], some), (["registers"], four)):
        check_stopped(names, results)
    check_stopped(["unseen_places"], stops(tmp_path, "one", 0.50, rising))


def test_the_recorded_choice_is_the_one_that_teaches():
    """Holds once the runs of the rule are recorded; before, nothing is stopped."""
    assert stopped_after(Results(Ledger())) in (None, STOPPED_AFTER)
    chosen, places = cells_of("when_to_stop"), cells_of("unseen_places")
    for seed in range(5):
        (teacher,) = places["by_convnet_early", seed].teachers
        assert teacher.key == chosen[f"convnet_{STOPPED_AFTER}", seed].key == places["convnet_early", seed].key
        (teacher,) = places["by_transformer", seed].teachers
        assert teacher.key == chosen["transformer", seed].key == places["none", seed].key


def test_a_smaller_subset_is_balanced_and_lies_within_a_larger_one():
    labels = torch.randint(0, 10, (2000,), generator=torch.Generator().manual_seed(0))
    small, large = nested_subset(labels, 100), nested_subset(labels, 1000)
    assert labels[small].bincount().tolist() == [10] * 10
    assert set(small.tolist()) <= set(large.tolist()) and len(set(large.tolist())) == 1000
    with pytest.raises(DeiTEduError, match="cannot take 2001 of 2000 training images"):
        nested_subset(labels, 2001)


def test_an_ensemble_answers_with_the_mean_of_the_probabilities():
    one, other = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    ensemble = Ensemble([torch.nn.Identity(), torch.nn.Identity()])
    ensemble.models[0].forward, ensemble.models[1].forward = lambda _: one, lambda _: other
    torch.testing.assert_close(ensemble(None).softmax(-1), (one.softmax(-1) + other.softmax(-1)) / 2)


def test_predictions_keep_the_decisions_that_float16_would_change(tmp_path):
    logits = torch.tensor([[1.0, 1.0001], [0.0, 2.0]])
    assert logits.half()[0, 0] == logits.half()[0, 1]
    head_logits = HeadLogits(logits, -logits)
    save_predictions(tmp_path / "p.safetensors", head_logits)
    kept = load_decisions(tmp_path / "p.safetensors")
    assert {name: chosen.tolist() for name, chosen in kept.items()} == {
        name: chosen.tolist() for name, chosen in decisions(head_logits).items()
    }
