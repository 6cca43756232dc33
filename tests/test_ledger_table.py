"""The ledger as a table: every record has its length, and runs of several lengths are not mixed in silence."""

import io
import json

import pandas
import pytest
from conftest import ROOT
from test_experiments import GRID, record_of, write
from test_widgets import evaluate_in_module

from deit_edu.errors import DeiTEduError
from deit_edu.evidence.cells import unique_runs
from deit_edu.evidence.ledger import Ledger
from deit_edu.evidence.report import Results
from deit_edu.evidence.table import cells_table, records_table
from deit_edu.widgets import LedgerTable

ALL = {"words": "", "experiment": "", "epochs": "", "sorted_by": "", "descending": False}


@pytest.fixture(scope="module")
def ledger():
    return Ledger(ROOT / "book" / "ledger")


@pytest.fixture(scope="module")
def table(ledger):
    return records_table("all", ledger)


def test_every_record_says_its_length_first_also_the_oldest(ledger):
    for record in ledger.records.values():
        assert list(record)[:5] == ["key", "experiment", "configuration", "seed", "epochs"]
        assert record["epochs"] == record["config"]["epochs"] == len(record["curve"])


def test_a_record_that_says_another_length_than_its_config_is_named(tmp_path):
    record = record_of(GRID.cells("tokens")[0]) | {"epochs": 7}
    (tmp_path / "runs.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(DeiTEduError, match="runs.jsonl, line 1 is no record"):
        Ledger(tmp_path)


def test_the_table_has_one_row_a_record_and_says_what_was_measured(ledger, table):
    assert list(table.key) == list(ledger.records)
    row = table.set_index("key").loc["run-4445577d429dcf1d"]
    assert (row.experiment, row.configuration, row.seed, row.epochs) == ("regime", "fixed_10_none", 0, 10)
    assert row.test_class == pytest.approx(53.68) and pandas.isna(row.test_fused)
    assert (row.processor, row.threads, row.python) == ("AMD EPYC", 1, "3.11.7") and pandas.isna(row.instructions)


def test_lengths_are_not_mixed_unless_they_are_asked_for(ledger, table):
    with pytest.raises(DeiTEduError, match=r"one name, several lengths: distillation \w+ \(10 and 40 epochs\)") as told:
        records_table(ledger=ledger)
    assert "\n" not in str(told.value) and 'epochs=40, or take all with epochs="all"' in str(told.value)
    assert set(table.epochs) > {10, 40}
    assert set(records_table(40, ledger).epochs) == {40}
    with pytest.raises(DeiTEduError, match="no run of 41 epochs is recorded: choose one of 0, "):
        records_table(41, ledger)


def test_lengths_that_agree_need_no_choice(tmp_path):
    records = [record_of(cell) for cell in unique_runs(GRID.cells("tokens"))]
    found = records_table(ledger=write(tmp_path, records))
    assert len(found) == len(records) and set(found.used_by.str.contains("tokens")) == {True}


def test_an_experiments_cells_have_one_length_each_whoever_ran_them_first(ledger):
    found = cells_table("schedule", ledger=ledger)
    assert (found.groupby("configuration").epochs.nunique() == 1).all()
    plain = found[found.configuration == "none_x4"].set_index("seed")
    assert set(plain.epochs) == {40} and len(plain) == 10
    assert plain.test_class[0] == Results(ledger).measure("schedule", "none_x4", 0, "class")
    with pytest.raises(DeiTEduError, match="unknown experiment 'timetable'"):
        cells_table("timetable", ledger=ledger)


def test_records_that_no_experiment_reads_any_more_are_told_apart(ledger, table):
    short = table[(table.experiment == "distillation") & (table.epochs == 10)]
    assert len(short) and all("distillation_short" in used.split() for used in short.used_by)
    superseded = table[table.used_by == ""]
    assert 0 < len(superseded) < len(table) / 10
    current = {cell.key for cell in Results(ledger).grid.cells("resolution")}
    assert current.isdisjoint(superseded.key)


def test_one_configuration_has_one_mark_of_its_settings(table):
    assert table[(table.experiment == "recipe") & (table.configuration == "sgd")].settings.nunique() == 2  # two rates
    assert table[(table.experiment == "recipe") & (table.configuration == "dropout")].settings.nunique() == 1


# ---- in the page ----


@pytest.fixture(scope="module")
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def rows(ledger):
    return json.loads(LedgerTable.from_ledger(ledger).rows)


def in_the_page(page, table, rows, expression, **asked):
    """What the page's own code makes of the records that are chosen: `found` in the expression."""
    named = "given.rows.map((row) => Object.fromEntries(given.columns.map((name, i) => [name, row[i]])))"
    whole = f"((found) => {expression})(chosenRows({named}, given.asked))"
    given = {"columns": list(table.columns), "rows": rows, "asked": ALL | asked}
    return evaluate_in_module(page, "ledger_table.js", whole, given)


def test_the_pages_csv_is_the_table(page, table, rows):
    csv = in_the_page(page, table, rows, "asCsv(given.columns, found)")
    found, expected = (pandas.read_csv(io.StringIO(text)) for text in (csv, table.to_csv(index=False)))
    assert len(found) == len(table)
    pandas.testing.assert_frame_equal(found, expected)


def test_the_page_finds_and_sorts_as_pandas_does(page, table, rows):
    asked = dict(words="Token_Hard avx2", epochs="40", sorted_by="test_fused", descending=True)
    keys = in_the_page(page, table, rows, "found.map((row) => row.key)", **asked)
    here = table.apply(lambda row: " ".join(map(str, row)).lower(), axis=1)
    expected = table[here.str.contains("token_hard") & here.str.contains("avx2") & (table.epochs == 40)]
    assert len(keys) == 5
    assert keys == list(expected.sort_values("test_fused", ascending=False, kind="stable").key)


def test_records_without_a_value_come_last_in_either_order(page, table, rows):
    for descending in (False, True):
        asked = dict(sorted_by="test_fused", descending=descending)
        values = in_the_page(page, table, rows, "found.map((row) => row.test_fused)", **asked)
        measured = int(table.test_fused.notna().sum())
        assert values[:measured] == sorted(values[:measured], reverse=descending)
        assert set(values[measured:]) == {None}


def test_the_page_names_the_mixed_lengths_that_python_refuses(page, table, rows, ledger):
    with pytest.raises(DeiTEduError) as told:
        records_table(ledger=ledger)
    found = in_the_page(page, table, rows, "mixedLengths(found)")
    assert found and all(name in str(told.value) for name in found)
    assert in_the_page(page, table, rows, "mixedLengths(found)", epochs="40") == []


def test_the_pages_axis_ends_at_100_per_cent(page, table, rows):
    perfect = dict(zip(table.columns, rows[0], strict=True)) | {"test_class": 100, "test_fused": None}
    words = in_the_page(page, table, [list(perfect.values())], "picture(found, found).textContent")
    assert words.endswith("99 %100 %")
