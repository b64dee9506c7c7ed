"""Several socket processes behind one address, and one engine that they share (docs/decisions/0021).

`parent` starts and replaces them and holds the engine; `exchange` is its end of the pipes, `link` a worker's.
"""
