"""Vectorisers of words: split by the runtime's tokeniser, counted, then weighted in double.

Only a vocabulary of single ASCII words is compiled. What such a word is, the tokeniser and Python agree on; letters
beyond ASCII are letters to both, so that they never cut a word in two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.feature_extraction import text

from trivet.core.errors import CompileError
from trivet.model.compile.columns import Table, derived, matrix, table_of
from trivet.model.compile.graph import TOKENISER, Graph

LOCALE = "C.UTF-8"  # the default one is absent from slim images, and loading fails there
PADDING = "\ue002"  # of the private use area: no word
_WORD = r"[\p{L}\p{N}_]"
_PATTERNS = {  # Python's, and the same set of words in the tokeniser's language
    r"(?u)\b\w\w+\b": _WORD + "{2,}",
    r"\b\w\w+\b": _WORD + "{2,}",
    r"(?u)\b\w+\b": _WORD + "+",
    r"\b\w+\b": _WORD + "+",
    r"\w+": _WORD + "+",
    "[a-zA-Z0-9_]+": "[a-zA-Z0-9_]+",
    "[a-zA-Z]+": "[a-zA-Z]+",
    "[a-z]+": "[a-z]+",
}


def count_vectorizer(graph: Graph, step: Any, table: Table) -> Table:
    """How often each word of the vocabulary stands in a text. Raises `CompileError` for n-grams and words beyond ASCII."""
    return table_of(derived(_counts(graph, step, table), "FP64", len(step.vocabulary_)), is_sparse=True)


def tfidf_vectorizer(graph: Graph, step: Any, table: Table) -> Table:
    """Counts, weighted as `TfidfTransformer` weighs them."""
    weighed = _weighed(graph, step._tfidf, _counts(graph, step, table))
    return table_of(derived(weighed, "FP64", len(step.vocabulary_)), is_sparse=True)


def tfidf_transformer(graph: Graph, step: Any, table: Table) -> Table:
    """Term frequencies times inverse document frequencies, each row scaled to length one."""
    block = matrix(graph, table)
    return table_of(derived(_weighed(graph, step, block.tensor), "FP64", block.width, block.names), is_sparse=True)


def _counts(graph: Graph, step: Any, table: Table) -> str:
    _check(step, table)
    texts = graph.add("Reshape", table.blocks[0].tensor, graph.constant([-1], np.int64))
    if step.lowercase:
        texts = graph.add("StringNormalizer", texts, case_change_action="LOWER", locale=LOCALE, is_case_sensitive=1)
    words = graph.add(
        "Tokenizer",
        texts,
        domain=TOKENISER,
        mark=0,
        mincharnum=1,
        pad_value=PADDING,
        tokenexp=_PATTERNS[step.token_pattern],
    )
    vocabulary = sorted(step.vocabulary_.items(), key=lambda item: int(item[1]))
    counts = graph.add(
        "TfIdfVectorizer",
        words,
        mode="TF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=[int(place) for _, place in vocabulary],
        pool_strings=[word for word, _ in vocabulary],
    )
    found = graph.cast(counts, "FP64")
    return graph.add("Min", found, graph.constant(1.0, np.float64)) if step.binary else found


def _check(step: Any, table: Table) -> None:
    name = type(step).__name__
    if table.width != 1 or table.blocks[0].datatype != "BYTES":
        raise CompileError(f"{name} is compiled over one column of words, not over {table.width} columns.")
    if step.analyzer != "word" or tuple(step.ngram_range) != (1, 1):
        raise CompileError(f"{name} of n-grams or characters is not compiled: single words only, analyzer='word'.")
    if step.tokenizer is not None or step.preprocessor is not None or step.strip_accents is not None:
        raise CompileError(f"{name} with its own tokenizer, preprocessor or strip_accents is not compiled.")
    if step.token_pattern not in _PATTERNS:
        raise CompileError(f"{name} with token_pattern={step.token_pattern!r} is not compiled; leave the default.")
    strange = next((word for word in step.vocabulary_ if not str(word).isascii()), None)
    if strange is not None:
        raise CompileError(f"{name} knows {strange!r}: words beyond ASCII are not compiled.")


def _weighed(graph: Graph, step: Any, counts: str) -> str:
    one, nothing = graph.constant(1.0, np.float64), graph.constant(0.0, np.float64)
    if step.sublinear_tf:
        present = graph.add("Greater", counts, nothing)
        logarithm = graph.add("Add", graph.add("Log", graph.add("Where", present, counts, one)), one)
        counts = graph.add("Where", present, logarithm, nothing)
    if step.use_idf:
        counts = graph.add("Mul", counts, graph.constant(np.asarray(step.idf_, np.float64).reshape(1, -1)))
    if step.norm is None:
        return counts
    sized = graph.add("Abs", counts) if step.norm == "l1" else graph.add("Mul", counts, counts)
    size = graph.add("ReduceSum", sized, graph.constant([1], np.int64), keepdims=1)
    if step.norm == "l2":
        size = graph.add("Sqrt", size)
    return graph.add("Div", counts, graph.add("Where", graph.add("Equal", size, nothing), one, size))


TRANSFORMERS = {
    text.CountVectorizer: count_vectorizer,
    text.TfidfVectorizer: tfidf_vectorizer,
    text.TfidfTransformer: tfidf_transformer,
}
