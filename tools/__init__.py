"""The toolbox: questions about a folder of results, once there are many of them.

Functions on what the server, `analyze` and recorded sessions leave on disk (`result.json`, `embedding.npy`):
trends, similar recordings, groups, labels of one's own, a report. `./run.sh tools` is a thin command line around
them. Heavy libraries (matplotlib, scikit-learn, UMAP) are imported by the functions that need them.
"""
