"""From the mean of a document's rows to the best label and the logarithm of its probability, as the library has it."""

from __future__ import annotations

import math

import numpy as np

from filters.fasttext.tables import HIERARCHICAL, SOFTMAX
from filters.text.compiled import inlined

LOG_FLOOR = 1e-5  # added to every probability before its logarithm


@inlined
def best_label(tables, hidden_D, output_L, stack, stack_score):
    """(label, log probability). `stack` and `stack_score` are room for a walk through a tree of labels."""
    output_L[:] = 0
    for d in range(len(hidden_D)):
        for label in range(len(output_L)):
            output_L[label] += hidden_D[d] * tables.output_DL[d, label]
    for label in range(len(output_L)):
        output_L[label] *= tables.output_scale_L[label]
    if tables.output == HIERARCHICAL:
        return _hierarchical(tables, output_L, stack, stack_score)
    return _flat(tables, output_L)


@inlined
def _hierarchical(tables, output_L, stack, stack_score):
    """Depth first through the tree, leaving paths that cannot win any more. `output_L` is that of inner nodes."""
    n_labels = len(output_L)
    best, best_score = -1, np.float32(0)
    lowest = np.float32(math.log(LOG_FLOOR))
    stack[0], stack_score[0] = 2 * n_labels - 2, np.float32(0)
    depth = 1
    while depth > 0:
        depth -= 1
        node, score = stack[depth], stack_score[depth]
        if score < lowest or (best >= 0 and score < best_score):
            continue
        if node < n_labels:
            best, best_score = node, score
            continue
        inner = node - n_labels
        dot = output_L[inner]
        right = np.float32(1.0 / np.float64(np.float32(1) + np.float32(math.exp(np.float32(-dot)))))
        left = np.float32(1.0 - np.float64(right))
        stack[depth], stack[depth + 1] = tables.children[inner, 1], tables.children[inner, 0]
        stack_score[depth] = np.float32(score + np.float32(math.log(np.float64(right) + LOG_FLOOR)))
        stack_score[depth + 1] = np.float32(score + np.float32(math.log(np.float64(left) + LOG_FLOOR)))
        depth += 2
    return best, best_score


@inlined
def _flat(tables, output_L):
    """Where labels have scores of their own: softmax, one-vs-all and the like."""
    if tables.output == SOFTMAX:
        _softmax(output_L)
    else:
        _logistic(tables.sigmoid, output_L)
    best, best_score = -1, np.float32(0)
    for label in range(len(output_L)):
        score = np.float32(math.log(np.float64(output_L[label]) + LOG_FLOOR))
        if best < 0 or score >= best_score:
            best, best_score = label, score
    return best, best_score


@inlined
def _softmax(output_L):
    largest = output_L[0]
    for label in range(len(output_L)):
        largest = max(largest, output_L[label])
    total = np.float32(0)
    for label in range(len(output_L)):
        output_L[label] = math.exp(np.float64(np.float32(output_L[label] - largest)))
        total += output_L[label]
    for label in range(len(output_L)):
        output_L[label] /= total


@inlined
def _logistic(table, output_L):
    for label in range(len(output_L)):
        x = output_L[label]
        if x < -8:
            output_L[label] = 0
        elif x > 8:
            output_L[label] = 1
        else:
            output_L[label] = table[np.int64(np.float32(x + np.float32(8)) * np.float32(32))]
