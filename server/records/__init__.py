"""What a session leaves behind, where recording is on: timelines, utterances, alerts, audio."""
