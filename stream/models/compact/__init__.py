"""The embedded model. `model` is the doorway, the rest its network; `invariance` chooses how products are made."""
