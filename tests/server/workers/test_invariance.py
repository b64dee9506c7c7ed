"""How many workers there are changes no score: tests of the live path once more, on a server that has two."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import ROOMY, Server
from tests.server.conftest import no_traceback, running
from tests.server.live.test_scores import (  # noqa: F401 - collected here, with the server below
    file_book,
    test_a_second_session_on_the_same_connection_begins_afresh,
    test_one_byte_at_a_time_gives_the_same_scores,
    test_sessions_that_share_a_connection_do_not_mix,
    test_streaming_equals_the_file,
    test_the_wav_file_itself_equals_its_samples,
    test_twenty_random_cuttings_give_the_same_scores,
    test_utterances_equal_the_files,
    test_who_else_is_being_served_changes_nothing,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    outputs = tmp_path_factory.mktemp("outputs")
    with running(server__workers=2, files__outputs=outputs, **ROOMY) as server:
        yield server
        no_traceback(server.log())
