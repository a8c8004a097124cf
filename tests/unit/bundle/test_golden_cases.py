"""Golden cases: what each kind accepts, what it says where it fails, and what is no case."""

import numpy as np
import pytest

from trivet.core.errors import BundleError, InvalidRequest
from trivet.core.signature import Input, Output, Signature
from trivet.model.bundle.golden import Expectation, GoldenCase, check_case, decode_cases, encode_cases, failure_of

LOAN = Signature(
    inputs=(
        Input(name="income", datatype="FP64", shape=(-1, 1), nullable=True),
        Input(name="country", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(
        Output(name="label", datatype="BYTES", shape=(-1,), classes=("refused", "granted")),
        Output(name="probabilities", datatype="FP64", shape=(-1, 2), classes=("refused", "granted")),
    ),
    task="classification",
)
PRICE = Signature(
    inputs=(Input(name="X", datatype="FP64", shape=(-1, 2), columns=("rooms", "age")),),
    outputs=(Output(name="prediction", datatype="FP64", shape=(-1,)),),
    task="regression",
)
ROW = {"income": 50.0, "country": "FR"}


def lends(tensors):
    """Grant by income, with a share that is income in percent; Oslo's country is treated worse."""
    income = np.nan_to_num(tensors["income"][:, 0], nan=10.0)
    share = np.clip(income / 100 - 0.2 * (tensors["country"][:, 0] == "NO"), 0, 1)
    label = np.where(share >= 0.5, "granted", "refused").astype(object)
    return {"label": label, "probabilities": np.stack([1 - share, share], axis=1)}


def prices(tensors):
    return {"prediction": tensors["X"][:, 0] * 10 - tensors["X"][:, 1]}


def failure(inputs, signature=LOAN, run=lends, **expect):
    expect = {"class_" if name == "class" else name: value for name, value in expect.items()}
    case = GoldenCase(inputs, Expectation(**expect))
    check_case(case, signature)
    return failure_of(case, signature, run)


@pytest.mark.parametrize(
    "expect",
    [
        {"class": "granted"},
        {"between": (0.4, 0.6)},
        {"between": (0.5, 0.5)},
        {"between": (0.4, 0.6), "of": "refused"},
        {"same_as": {"country": "DE"}},
        {"not_below": 0.5},
        {"not_below": {"income": 40.0}},
        {"class": "granted", "not_below": 0.3, "same_as": {"country": "DE"}},
    ],
)
def test_a_case_that_holds_says_nothing(expect):
    assert failure(ROW, **expect) == ""


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"class": "refused"}, "country='FR', income=50: decides 'refused'; it decides 'granted'"),
        ({"between": (0.6, 0.7)}, "country='FR', income=50: between 0.6 and 0.7; it gives 0.5"),
        ({"same_as": {"country": "NO"}}, "the same with country='NO'; it decides 'granted' and 'refused'"),
        ({"not_below": 0.51}, "not below 0.51; it gives 0.5"),
        ({"not_below": {"income": 60.0}}, "not below that with income=60; it gives 0.5, below 0.6"),
        ({"not_below": 0.9, "of": "refused"}, "refused not below 0.9; it gives 0.5"),
    ],
)
def test_one_that_fails_is_shown_with_its_row_and_the_answer(expect, said):
    assert failure(ROW, **expect).endswith(said)


def test_the_same_means_the_same_numbers_and_not_only_the_same_decision():
    assert "its probabilities are [0.2, 0.8] and [0.4, 0.6]" in failure(
        {"income": 80.0, "country": "FR"}, same_as={"country": "NO"}
    )


def test_a_field_that_is_left_out_is_missing_where_that_is_allowed():
    assert failure({"country": "FR"}, between=(0.1, 0.1)) == ""


def test_a_version_that_lacks_a_field_fails_the_case_and_one_that_needs_another_too():
    case = GoldenCase({"rooms": 3.0, "age": 5.0, "garden": 1.0}, Expectation(between=(20.0, 30.0)))
    assert failure_of(case, PRICE, prices) == ""  # it reads no garden
    assert "'age' is missing" in failure_of(GoldenCase({"rooms": 3.0}, Expectation(not_below=0.0)), PRICE, prices)


def test_a_number_with_a_fraction_is_no_value_of_a_whole_input():
    outputs = (Output(name="prediction", datatype="FP64", shape=(-1,)),)
    signature = Signature(
        inputs=(Input(name="rooms", datatype="INT64", shape=(-1, 1)),), outputs=outputs, task="regression"
    )
    assert (
        failure({"rooms": 3.0}, signature, lambda t: {"prediction": t["rooms"][:, 0] * 1.0}, between=(3.0, 3.0)) == ""
    )
    with pytest.raises(InvalidRequest, match=r"rooms=1\.7: not INT64"):
        failure({"rooms": 1.7}, signature, prices, between=(1.0, 1.0))


def test_a_regression_is_asked_for_its_prediction_by_the_names_of_a_matrix():
    assert failure({"rooms": 3.0, "age": 5.0}, PRICE, prices, between=(25.0, 25.0)) == ""
    assert failure({"rooms": 3.0, "age": 5.0}, PRICE, prices, not_below={"age": 6.0}) == ""
    assert "it gives 25, below 26" in failure({"rooms": 3.0, "age": 5.0}, PRICE, prices, not_below={"age": 4.0})


def test_an_answer_that_is_no_number_is_within_no_bounds():
    def nothing(tensors):
        return {"prediction": np.array([np.nan])}

    assert "no such number" in failure({"rooms": 3.0, "age": 5.0}, PRICE, nothing, between=(0.0, 100.0))


@pytest.mark.parametrize(
    ("inputs", "expect", "said"),
    [
        (ROW, {}, "expects something"),
        ({"incom": 1.0, "country": "FR"}, {"class_": "granted"}, "Did you mean 'income'"),
        (ROW, {"same_as": {"contry": "NO"}}, "Did you mean 'country'"),
        (ROW, {"class_": "grant"}, "Did you mean 'granted'"),
        (ROW, {"between": (0.7, 0.6)}, "no number is between"),
        (ROW, {"same_as": {}}, "say which are changed"),
        (ROW, {"between": (0.1, 0.2), "of": "grant"}, "Did you mean 'granted'"),
        ({"income": "far", "country": "FR"}, {"class_": "granted"}, "income='far': not FP64"),
        ({"income": 1.0}, {"class_": "granted"}, "'country' is missing"),
    ],
)
def test_what_could_not_be_asked_is_no_case(inputs, expect, said):
    with pytest.raises(InvalidRequest, match=said):
        check_case(GoldenCase(inputs, Expectation(**expect)), LOAN)


def test_cases_come_back_from_their_file_as_they_were_written():
    cases = (
        GoldenCase({"income": None, "country": "Ö"}, Expectation(class_="granted", between=(0.0, 1.0))),
        GoldenCase(ROW, Expectation(not_below={"income": 1.0}, of="granted")),
        GoldenCase(ROW, Expectation(same_as={"country": "NO"}, not_below=0.25)),
    )
    assert decode_cases(encode_cases(cases)) == cases
    assert encode_cases(decode_cases(encode_cases(cases))) == encode_cases(cases)


@pytest.mark.parametrize(
    "line", [b"{", b"{}", b'{"inputs": {}, "expect": {"clas": 1}}', b'{"inputs": [], "expect": {}}']
)
def test_a_line_that_is_no_case_is_named(line):
    with pytest.raises(BundleError, match=r"golden\.jsonl, line 1"):
        decode_cases(line)
