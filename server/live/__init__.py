"""A live session, from its socket to the results that go back: the way of a chunk of audio."""
