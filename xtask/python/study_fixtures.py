"""crates/experiment/fixtures/study.json: figures that the tests of `hone study` are checked against.

    python study_fixtures.py

Needs numpy, scipy and statsmodels.
"""

import json
from pathlib import Path

import numpy as np
from scipy import stats

FILE = Path(__file__).parents[2] / "crates/experiment/fixtures/study.json"


def spent():
    """Lan & DeMets' spending function like O'Brien & Fleming's."""
    cases = [(a, t) for a in (0.05, 0.025, 0.05 / 9) for t in (0.1, 0.25, 0.5, 0.75, 1.0)]
    return [[a, t, 2 * stats.norm.sf(stats.norm.isf(a / 2) / np.sqrt(t))] for a, t in cases]


def tails():
    cases = [(p, df) for p in (0.3, 0.025, 1e-4, 1e-9, 1e-20) for df in (1, 4, 9, 49)]
    return {
        "student": [[p, df, stats.t.isf(p, df)] for p, df in cases],
        "normal": [[p, stats.norm.isf(p)] for p in (0.5, 0.3, 0.025, 1e-4, 1e-9, 1e-20, 1e-300)],
    }


def estimates():
    draw = np.random.default_rng(7)
    cases = []
    for rows, folds, repeats, row_sd, level in [
        (20, 4, 2, 1.0, 0.05), (30, 5, 1, 0.0, 0.0056), (24, 3, 3, 0.5, 0.0444), (12, 2, 2, 0.0, 0.01),
        (40, 5, 2, 0.8, 1e-5),
    ]:
        b = row_sd * draw.normal(size=rows)
        pairs, mean = [], []
        for repeat in range(1, repeats + 1):
            order = draw.permutation(rows)
            for k in range(folds):
                held = np.sort(order[k::folds])
                y = 0.1 + 0.3 * draw.normal() + b[held] + draw.normal(size=len(held))
                pairs.append({"repeat": repeat, "rows": held.tolist(), "difference": y.tolist()})
                mean.append(y.mean())
        # A row's weight in its pair's mean, as the jackknife has it: (y − mean)/(m − 1) · sqrt((m − 1)/m).
        u = np.zeros((len(pairs), rows))
        for p, pair in enumerate(pairs):
            y = np.array(pair["difference"])
            m = len(y)
            u[p, pair["rows"]] = (y - y.mean()) / np.sqrt(m * (m - 1))
        j = len(pairs)
        crossed = sum(
            float(u[p] @ u[q])
            for p in range(j) for q in range(j) if pairs[p]["repeat"] != pairs[q]["repeat"]
        )
        student = stats.ttest_1samp(mean, 0).confidence_interval(1 - level)
        cases.append({
            "pairs": pairs, "effect": float(np.mean(mean)), "level": level, "student": [student.low, student.high],
            "within": float((u**2).sum()) / j**2, "rows": max(crossed, 0) / j**2 * j / (j - 1),
        })
    assert any(c["rows"] > 0 for c in cases)
    return cases


def holm():
    from statsmodels.stats.multitest import multipletests

    draw = np.random.default_rng(11)
    cases = []
    for arms, pairs, effect in [(1, 6, 0.5), (3, 10, 1.0), (5, 8, 1.2), (8, 10, 0.9), (8, 10, 0.0), (4, 12, 0.85)]:
        x = draw.normal(size=(arms, pairs)) + effect * draw.integers(0, 2, size=(arms, 1))
        p = [stats.ttest_1samp(row, 0).pvalue for row in x]
        cases.append({"differences": x.tolist(), "rejected": multipletests(p, 0.05, "holm")[0].tolist()})
    return cases


FILE.write_text(json.dumps({"spent": spent(), "tails": tails(), "estimates": estimates(), "holm": holm()}) + "\n")
