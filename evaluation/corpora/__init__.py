"""Public corpora of labeled speech as they are published (`published`), and a manifest made of them (`manifest`).

Of each it is known how its recordings tell who speaks and how (`by_name`, `by_table`), and what is allowed.
"""

from evaluation.corpora.corpus import Corpus, FoundRecording, commercial
from evaluation.corpora.manifest import CorpusCounts, write
from evaluation.corpora.published import CORPORA

__all__ = ["CORPORA", "Corpus", "CorpusCounts", "FoundRecording", "commercial", "write"]
