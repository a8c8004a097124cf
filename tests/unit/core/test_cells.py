"""Cells that a spreadsheet reads, and log lines that a person reads."""

import csv
import io
import logging

import pytest
from hypothesis import given, strategies as st

from trivet.core.cells import FORMULA_STARTS, inert, restorable, restored
from trivet.core.signature import Input, Output, Signature
from trivet.dataplane.protocol.messages import Answer, OutputTensor, TextRowsRequest
from trivet.dataplane.protocol.text_table import encode_table
from trivet.server.logs import LONGEST, OneLine

FORMULAS = (
    "=1+1",
    '=HYPERLINK("http://127.0.0.1:9")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "--1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "-",
    "+1-1",
    "-1e",
)


@pytest.mark.parametrize("text", FORMULAS)
def test_D31_a_formula_is_a_text(text):
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("cell", ["-1", "+1.5", "-1e-7", "-.5", "a=1", "", "1", -1.5, None, 7, "2024-01-01", "'=1"])
def test_D31_numbers_and_other_texts_are_left_as_they_are(cell):
    assert inert(cell) is cell


@given(st.text() | st.sampled_from(FORMULAS) | st.text(alphabet="'=+-@1a") | st.floats().map(str))
def test_what_was_made_inert_to_come_back_says_again_what_it_said(text):
    cell = restorable(text)
    assert restored(cell) == text
    assert inert(cell) == cell


@given(st.text() | st.sampled_from(FORMULAS) | st.floats().map(str))
def test_D31_no_cell_begins_a_formula_unless_it_is_a_number(text):
    cell = inert(text)
    assert cell in (text, f"'{text}")
    if cell.startswith(FORMULA_STARTS):
        float(cell)


def test_D31_a_table_of_answers_has_no_formula_in_its_texts_and_its_header():
    classes = ("=1+1", "@x")
    signature = Signature(
        inputs=(Input(name="x", datatype="FP64", shape=(-1, 1)),),
        outputs=(
            Output(name="label", datatype="BYTES", shape=(-1,)),
            Output(name="probabilities", datatype="FP32", shape=(-1, 2), classes=classes),
            Output(name="=out", datatype="FP64", shape=(-1,)),
        ),
        task="classification",
    )
    outputs = [
        OutputTensor("label", [1], "BYTES", ["=1+1"]),
        OutputTensor("probabilities", [1, 2], "FP32", [0.5, 0.5]),
        OutputTensor("=out", [1], "FP64", [-1.5]),
    ]
    made = Answer("m", 1, "0" * 64, "an-id", "only", outputs, 1, signature)
    table = encode_table(made, TextRowsRequest(rows=[{}], outputs=["label", "probabilities", "=out"]))
    header, row = csv.reader(io.StringIO(table.decode(), newline=""))
    told = dict(zip(header, row, strict=True))
    assert told["decision"] == told["label"] == "'=1+1"
    assert told["'=out"] == "-1.5"
    assert not any(name.startswith(FORMULA_STARTS) for name in header)


NASTY = "a\r\n2026-01-01 00:00:00 ERROR root forged\x1b[31mred\x1b[0m\x00\u2028\u202e\x85\x0b" + "x" * 100_000


@pytest.mark.parametrize("template", ["path=%s", "path=%.200r", "%s"])
def test_D32_a_message_is_one_line_of_bounded_length_whatever_stands_in_it(template):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine("{asctime} {levelname} {name} {message}", style="{"))
    handler.handle(logging.LogRecord("trivet", logging.ERROR, __file__, 1, template, (NASTY,), None))
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert len(line) < LONGEST * 6
    assert "forged" in line


def test_D32_a_trace_has_its_lines_and_none_of_them_passes_for_a_message():
    try:
        raise ValueError(NASTY)
    except ValueError as error:
        record = logging.LogRecord(
            "trivet", logging.ERROR, __file__, 1, "broke", (), (ValueError, error, error.__traceback__), sinfo=NASTY
        )
    first, *others = OneLine("{message}", style="{").format(record).split("\n")
    assert first == "broke"
    assert others[0] == "  Traceback (most recent call last):"
    assert sum("forged" in line for line in others) == 2
    assert all(line.startswith("  ") and line.isprintable() and len(line) < LONGEST * 6 for line in others)
