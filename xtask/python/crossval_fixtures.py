"""Figures that the tests of cross-validation, suspects and comparison are checked against.

    python crossval_fixtures.py folds       deviations of scikit-learn's folds (printed)
    python crossval_fixtures.py suspects    crates/experiment/fixtures/suspects.json, by cleanlab
    python crossval_fixtures.py statistics  crates/experiment/fixtures/statistics.json, by scipy and statsmodels

Needs cleanlab 2.9, scikit-learn, scipy and statsmodels.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parents[2] / "crates/experiment/fixtures"


def folds():
    from sklearn.model_selection import StratifiedGroupKFold

    y, groups = [], []
    for group in range(60):
        for row in range(1 + group * group % 19):
            y.append((row * (1 + group % 3) + group) % 7 % 3)
            groups.append(group)
    y, groups = np.array(y), np.array(groups)
    found = []
    for seed in range(10):
        worst = 0
        for _, part in StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(y, y, groups):
            for c in range(3):
                worst = max(worst, abs((y[part] == c).sum() / (y == c).sum() - 0.2))
        found.append(worst)
    print("rows", len(y), "best", min(found), "worst", max(found))


def suspects():
    from cleanlab.count import compute_confident_joint, get_confident_thresholds
    from cleanlab.filter import find_label_issues

    cases = []
    # classes, rows, share of wrong labels, sharpness of the probabilities, classes that no row has
    for k, n, noise, sharp, absent in [
        (2, 400, 0.05, 3.0, 0), (2, 300, 0.3, 1.0, 0), (3, 300, 0.1, 2.0, 0),
        (6, 400, 0.15, 2.5, 0), (4, 200, 0.4, 0.5, 0), (5, 150, 0.1, 2.0, 1), (3, 12, 0.3, 1.0, 0),
    ]:
        draw = np.random.default_rng(100 * k + n)
        truth = draw.choice(k - absent, size=n, p=(p := draw.dirichlet(np.full(k - absent, 3.0))) / p.sum())
        labels = truth.copy()
        wrong = draw.random(n) < noise
        labels[wrong] = draw.integers(0, k - absent, wrong.sum())
        logits = draw.normal(size=(n, k))
        logits[np.arange(n), truth] += sharp
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        probs = np.round(probs, 6)
        probs[:, -1] = 1 - probs[:, :-1].sum(1)
        # As they will be read back.
        probs = np.array(json.loads(json.dumps(probs.tolist())))
        joint, off = compute_confident_joint(labels, probs, return_indices_of_off_diagonals=True)
        issues = {
            rank: find_label_issues(
                labels, probs, filter_by="prune_by_noise_rate", return_indices_ranked_by=rank, n_jobs=1
            ).tolist()
            for rank in ["self_confidence", "normalized_margin"]
        }
        cases.append({
            "labels": labels.tolist(), "probabilities": probs.tolist(),
            "thresholds": get_confident_thresholds(labels, probs).tolist(),
            "joint": joint.tolist(), "off_diagonal": off.tolist(), "issues": issues,
        })
    write("suspects.json", cases)


def statistics():
    from scipy import optimize, special, stats
    from statsmodels.stats.contingency_tables import mcnemar

    quantiles = [[p, df, stats.t.ppf(p, df)] for p in (0.9, 0.975, 0.995) for df in (1, 2, 4, 9, 49, 1000)]
    tails = [[n, k, stats.binom.cdf(k, n, 0.5)] for n, k in [(1, 0), (10, 3), (57, 20), (1000, 450), (5000, 2600)]]
    resampled = []
    for repeats, train, test, scores in [
        (1, 800, 200, [0.81, 0.84, 0.79, 0.86, 0.80]),
        (2, 90, 10, [0.7, 0.9, 0.8, 0.8, 0.6, 1.0, 0.9, 0.7, 0.8, 0.9, 0.8, 0.8, 0.7, 1.0, 0.9, 0.6, 0.8, 0.9, 0.7, 0.8]),
    ]:
        x, n = np.array(scores), len(scores)
        half = stats.t.ppf(0.975, n - 1) * math.sqrt((1 / n + test / train) * x.var(ddof=1))
        resampled.append({"train": train, "test": test, "scores": scores,
                          "mean": x.mean(), "std": x.std(ddof=1), "interval": [x.mean() - half, x.mean() + half]})

    def tango(b, c, n):
        """Limits where the score statistic is ±1.96, its nuisance parameter found by numerical maximisation."""
        z = stats.norm.ppf(0.975)

        def score(delta):
            # q is the probability of the c cell, q + delta that of the b cell.
            low, high = max(0.0, -delta), (1 - delta) / 2

            def minus(q):
                rest = max(1 - 2 * q - delta, 0.0)
                return -(special.xlogy(b, q + delta) + special.xlogy(c, q) + special.xlogy(n - b - c, rest))
            q = optimize.minimize_scalar(minus, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
            return (b - c - n * delta) / math.sqrt(n * max(2 * q + delta - delta * delta, 1e-300))
        d = (b - c) / n
        e = 1e-9
        lower = optimize.brentq(lambda x: score(x) - z, -1 + e, d - e) if d > -1 + 3 * e else -1.0
        upper = optimize.brentq(lambda x: score(x) + z, d + e, 1 - e) if d < 1 - 3 * e else 1.0
        return [lower, upper]

    pairs = []
    for both, b, c, neither in [(50, 10, 5, 35), (0, 1, 0, 9), (900, 12, 12, 76), (80, 0, 0, 20), (300, 60, 20, 120),
                                (5, 0, 6, 9), (1500, 90, 61, 170), (10, 3, 14, 3)]:
        n = both + b + c + neither
        exact = mcnemar([[both, b], [c, neither]], exact=True).pvalue if b + c else 1.0
        # Fagerland, Lydersen & Laake 2013, equation 4.
        point = stats.binom.pmf(min(b, c), b + c, 0.5)
        mid = 1.0 if b + c == 0 else (1 - point / 2 if b == c else 2 * stats.binom.cdf(min(b, c), b + c, 0.5) - point)
        pairs.append({"b": b, "c": c, "n": n, "exact": exact, "mid": mid, "interval": tango(b, c, n)})
    write("statistics.json", {"student": quantiles, "binomial": tails, "resampled": resampled, "pairs": pairs})


def write(name, value):
    (FIXTURES / name).write_text(json.dumps(value) + "\n")


if __name__ == "__main__":
    {"folds": folds, "suspects": suspects, "statistics": statistics}[sys.argv[1]]()
