"""Known label errors, and what finds them.

    python noisy_labels.py make SST2/train.csv OUT [ROWS]   OUT/{clean,uniform,classes}.csv: ROWS distinct texts
                                                          (10 000), 5 % of the labels changed
    python noisy_labels.py check OOF.csv SUSPECTS.csv     are suspects and their order cleanlab's?
    python noisy_labels.py drop NOISY.csv SUSPECTS.csv OUT.csv   NOISY.csv without the suspects

`uniform` changes every label with the same chance, `classes` 8 % of the negative and 2 % of the positive ones
(so about 5 % in all). Files have the columns text, label, clean. Needs numpy; `check` needs cleanlab.
"""

import csv
import sys
from pathlib import Path

import numpy as np


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def write(path, rows):
    with open(path, "w", newline="") as file:
        out = csv.DictWriter(file, ["text", "label", "clean"])
        out.writeheader()
        out.writerows(rows)


def make(source, folder, rows=10_000):
    draw = np.random.default_rng(0)
    first, conflict = {}, set()
    for row in read(source):
        text = row["text"].strip()
        key = text.lower()
        if first.setdefault(key, (text, row["label"]))[1] != row["label"]:
            conflict.add(key)
    texts = [pair for key, pair in first.items() if key not in conflict]
    chosen = [texts[i] for i in draw.permutation(len(texts))[: int(rows)]]
    clean = np.array([int(label) for _, label in chosen])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    noises = {"clean": np.zeros(2), "uniform": np.array([0.05, 0.05]), "classes": np.array([0.08, 0.02])}
    for name, rates in noises.items():
        labels = clean.copy()
        for c in (0, 1):
            own = np.flatnonzero(clean == c)
            labels[draw.choice(own, round(rates[c] * len(own)), replace=False)] = 1 - c
        write(folder / f"{name}.csv", [
            {"text": text, "label": a, "clean": b} for (text, _), a, b in zip(chosen, labels, clean)
        ])
        print(name, len(labels), "rows,", (labels != clean).sum(), "labels changed")


def check(oof, suspects):
    from cleanlab.filter import find_label_issues

    rows = read(oof)
    names = [key[2:] for key in rows[0] if key.startswith("p_")]
    labels = np.array([names.index(row["label"]) for row in rows])
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    found = find_label_issues(
        labels, probabilities, filter_by="prune_by_noise_rate", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    want = [rows[i]["row"] for i in found]
    got = [row["row"] for row in read(suspects)]
    print("cleanlab", len(want), "Hone", len(got), "same rows in the same order:", want == got)
    if want != got:
        print("same rows:", set(want) == set(got), "only cleanlab", len(set(want) - set(got)), "only Hone", len(set(got) - set(want)))
        sys.exit(1)


def drop(noisy, suspects, out):
    # Rows of suspects.csv are lines of the file, the header being line 1.
    gone = {int(row["row"]) for row in read(suspects)}
    rows = read(noisy)
    kept = [row for line, row in enumerate(rows, 2) if line not in gone]
    write(out, kept)
    print(len(rows) - len(kept), "rows dropped,", sum(r["label"] != r["clean"] for r in kept), "wrong labels left")


if __name__ == "__main__":
    {"make": make, "check": check, "drop": drop}[sys.argv[1]](*sys.argv[2:])
