"""What is served over plain HTTP beside uploads: pages, state, metrics, the description of the interface."""
