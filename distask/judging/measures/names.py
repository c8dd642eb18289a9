"""Name the measures, and the reasons why rows are left out, for people."""

from __future__ import annotations

METRIC_NAMES = {
    "accuracy": "raw agreement",
    "pairwise_accuracy": "agreement, ties half",
    "kappa": "Cohen's kappa",
    "kappa_quadratic": "weighted kappa",
    "alpha": "Krippendorff's alpha",
    "ac1": "Gwet's AC1",
    "spearman": "Spearman's rho",
    "kendall": "Kendall's tau-b",
    "pearson": "Pearson's r",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "bias": "bias, judge - gold",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "jaccard": "mean overlap of sets",
    "top_accuracy": "same first place",
    "brier": "Brier score",
    "ece": "calibration error",
    "auroc": "AUROC",
    "flip_rate": "flips with the order",
    "first_position_rate": "wins of first position",
}
"""The measures of an agreement, as people read them."""
REASONS = {
    "gold_missing": "without gold",
    "gold_skipped": "skipped by people",
    "gold_unreadable": "gold not on the scale",
    "gold_unmatched": "labels without a judged row",
    "judge_failed": "judge failed",
    "judge_null": "judge gave null",
    "judge_unreadable": "judge not on the scale",
    "judge_unmatched": "not in the judge's file",
    "lengths_differ": "lists of different lengths",
    "different_candidates": "rankings of different candidates",
}
"""Why a row is left out of a comparison."""
