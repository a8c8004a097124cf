"""The protocol's conformance list: each item has a test that carries its number, each bound one that goes beyond it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.dataplane.test_every_code import NOT_YET, PROVOKED
from trivet.dataplane.protocol.catalogue import HTTP_STATUS

TESTS = Path(__file__).parents[1]
ITEMS = set(range(1, 64))
ELSEWHERE = {
    40: "tests/unit/dataplane/refusals.py looks at every refusal of the worlds",
    60: "tests/acceptance/test_kserve.py is of nothing else",
}
PLANNED = {47}  # explanations have no path yet, so neither has their bound of rows

BOUNDS = {  # of section 18, in its order; how often a key may ask has no bound yet
    "request line": "41_a_request_line_has_its_bound",
    "fields of a head": "41_the_fields_of_the_head_have_a_bound_for_their_number",
    "one field": "41_a_field_of_the_head_has_its_bound",
    "all fields": "41_the_fields_of_the_head_have_a_bound_together",
    "time of a head": "41_a_head_that_is_not_complete_in_its_time_is_closed",
    "idle connection": "41_an_idle_http_connection_is_closed_after_its_time_and_not_before",
    "body": "41_bodies_rows_elements_inputs_and_outputs_have_their_bounds",
    "inflated body, ratio": "32_H20_H26_a_body_may_inflate_to_its_bounds_and_not_one_byte_beyond",
    "chunks": "41_H23_a_body_of_more_chunks_than_the_bound_is_413",
    "body rate and time": "41_a_body_that_does_not_come_in_its_time_is_408",
    "depth": "41_a_body_nested_too_deeply_is_a_400_wherever_it_is",
    "element or string": "17_a_text_has_up_to_one_mebibyte",
    "string of an instance": "41_a_text_of_an_instance_has_the_bound_of_every_text",
    "parameters within": "37_parameters_within_their_bounds_are_taken_and_recorded",
    "parameters beyond": "37_parameters_of_the_wrong_kind_are_a_400",
    "rank": "41_a_tensor_has_up_to_eight_dimensions",
    "elements": "41_elements_over_all_inputs_have_a_bound",
    "labels": "41_D44_bounds_of_labels_at_the_limit_and_beyond",
    "answer": "41_an_answer_over_its_bound_is_refused_before_the_model_runs_where_the_signature_tells",
    "deadline": "34_a_hang_is_a_504_at_the_deadline_and_over_within_two_seconds",
    "waiting requests": "41_a_full_queue_says_so_at_once",
    "worker memory": "41_F10_a_model_worker_that_grows_is_replaced_without_a_failed_request",
    "connections": "41_one_http_connection_more_than_there_may_be_is_told_so_and_closed",
    "gRPC message, metadata": "41_messages_and_metadata_beyond_their_bounds_are_refused_and_at_them_read",
    "streams of a connection": "41_one_call_more_than_a_connection_may_have_waits_and_others_have_their_own",
}


def names_of_tests() -> set[str]:
    found: set[str] = set()
    for path in TESTS.rglob("test_*.py"):
        found.update(re.findall(r"^(?:async )?def test_(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    return found


def test_every_item_of_the_list_has_a_test_with_its_number():
    numbered: set[int] = set()
    for name in names_of_tests():
        if leading := re.match(r"(?:\d\d_)+", name):
            numbered |= {int(number) for number in leading[0].split("_") if number}
    assert numbered | ELSEWHERE.keys() == ITEMS - PLANNED


def test_every_bound_has_a_test_that_goes_beyond_it():
    assert set(BOUNDS.values()) - names_of_tests() == set()


def test_every_code_of_the_catalogue_is_provoked():
    assert PROVOKED.keys() == HTTP_STATUS.keys() - NOT_YET
