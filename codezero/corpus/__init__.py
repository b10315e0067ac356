"""Corpora: programs to train on, from any body of source code to one Parquet file."""

from codezero.corpus.corpus import Corpus

__all__ = ["Corpus"]
