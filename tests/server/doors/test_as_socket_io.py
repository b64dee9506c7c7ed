"""What tests of Socket.IO show holds through the plain door, too: the same tests, with clients of that door."""

from __future__ import annotations

from tests.server import test_shutdown
from tests.server.live import test_ownership, test_scores
from tests.server.live.test_ownership import forgetful as forgetful
from tests.server.live.test_scores import file_book as file_book
from tests.server.test_shutdown import mode as mode

for _test in (
    test_ownership.test_results_go_to_the_owner_alone,
    test_ownership.test_a_client_that_comes_back_goes_on_where_it_was,
    test_ownership.test_results_of_the_time_away_are_delivered_on_return,
    test_ownership.test_a_connection_that_is_still_open_can_be_taken_over_with_the_token,
    test_ownership.test_after_resume_s_the_session_is_gone_and_a_new_one_opens,
    test_ownership.test_numbered_chunks_are_taken_once_and_in_order,
    test_scores.test_streaming_equals_the_file,
    test_scores.test_one_byte_at_a_time_gives_the_same_scores,
    test_shutdown.test_five_who_are_speaking_get_everything_and_their_summaries,
):
    globals()[_test.__name__] = _test
