"""Figures that `hone report`'s measures are checked against.

    python knowledge_fixtures.py fixture
        crates/experiment/fixtures/knowledge.json: Spearman by scipy, linear CKA by its definition in numpy
    python knowledge_fixtures.py models BASE TUNED --pairs STSB.csv [--text FILE]
        the same measures of two model folders by PyTorch: Spearman of the cosine of mean-pooled states, of [CLS], and
        linear CKA of each layer over the tokens of the file's lines, at most 128 tokens a line

Needs numpy and scipy; torch and transformers for `models`.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

FIXTURE = Path(__file__).parents[2] / "crates/experiment/fixtures/knowledge.json"


def cka(x, y):
    """Kornblith et al. 2019, eq. 3, with Gram matrices and the centring matrix: HSIC(K, L) is tr(KHLH)."""
    h = np.eye(len(x)) - 1 / len(x)
    k, l = h @ x @ x.T @ h, h @ y @ y.T @ h
    return float((k * l).sum() / np.sqrt((k * k).sum() * (l * l).sum()))


def fixture():
    draw = np.random.default_rng(3)
    ranks = []
    for n, steps in [(30, 1000), (40, 6), (25, 3)]:
        gold = np.round(draw.random(n) * steps) / steps
        said = np.round((gold + draw.normal(size=n) * 0.4) * steps) / steps
        ranks.append({"gold": gold.tolist(), "said": said.tolist(), "spearman": float(spearmanr(gold, said).statistic)})
    alike = []
    for n, p, q, mean in [(11, 3, 3, 0.0), (9, 4, 2, 5.0), (6, 7, 8, -2.0)]:
        x = np.round(draw.normal(size=(n, p)) + mean, 3)
        y = np.round(x @ draw.normal(size=(p, q)) + draw.normal(size=(n, q)), 3)
        alike.append({"x": x.tolist(), "y": y.tolist(), "cka": cka(x, y)})
    FIXTURE.write_text(json.dumps({"spearman": ranks, "cka": alike}) + "\n")


def models(args):
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.set_grad_enabled(False)
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    both = [AutoModel.from_pretrained(f).eval() for f in (args.base, args.tuned)]

    def states(model, texts, length):
        """Every layer's states of every text, padding left out."""
        for at in range(0, len(texts), 32):
            batch = tokenizer(texts[at:at + 32], padding=True, truncation=True, max_length=length, return_tensors="pt")
            hidden = torch.stack(model(**batch, output_hidden_states=True).hidden_states)
            for i, mask in enumerate(batch["attention_mask"].bool()):
                yield hidden[:, i, mask].double().numpy()

    rows = list(csv.DictReader(open(args.pairs, encoding="utf-8", newline="")))
    gold = [float(r["score"]) for r in rows]
    for name, model in zip(("base", "tuned"), both):
        means, firsts = [], []
        for column in ("text", "text_b"):
            last = [s[-1] for s in states(model, [r[column] for r in rows], 512)]
            means.append(np.stack([s.mean(0) for s in last]))
            firsts.append(np.stack([s[0] for s in last]))
        for what, (a, b) in (("mean", means), ("[CLS]", firsts)):
            cosine = (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))
            print(name, what, "Spearman", spearmanr(cosine, gold).statistic)
    if args.text:
        texts = [l.strip() for l in open(args.text, encoding="utf-8") if l.strip()]
        x, y = (np.concatenate(list(states(m, texts, 128)), axis=1) for m in both)
        for layer, (x, y) in enumerate(zip(x, y)):
            x, y = x - x.mean(0), y - y.mean(0)
            found = (np.square(y.T @ x).sum() / np.sqrt(np.square(x.T @ x).sum() * np.square(y.T @ y).sum()))
            print("embeddings" if layer == 0 else f"layer {layer - 1}", "CKA", found, "tokens", len(x))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fixture")
    verb = verbs.add_parser("models")
    verb.add_argument("base")
    verb.add_argument("tuned")
    verb.add_argument("--pairs", required=True)
    verb.add_argument("--text")
    args = parser.parse_args()
    fixture() if args.verb == "fixture" else models(args)
