"""The embedded model: `model` is the doorway; `network`, `encoder`, `features`; `invariance` is its proof."""
