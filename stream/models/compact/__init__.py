"""The embedded model: `model` is the doorway, `network`, `encoder` and `features` the network, `invariance` its proof."""
