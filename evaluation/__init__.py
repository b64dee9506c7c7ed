"""How good a model is, measured through the product itself: `./run.sh evaluate`. See docs/evaluate.md."""
