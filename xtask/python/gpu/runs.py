"""Runs of `hone` that train: what is kept of one, and whether two end with the same bits."""

import hashlib, json, os, shutil

import rivals
from machine import hone
from options import DATA, MODEL, WORK, a, where

# SST-2's training texts.
TRAIN = os.path.join(DATA, "train.csv.gz")


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()


def weights(folder):
    """The digest of a run's weights."""
    return sha256(os.path.join(folder, "model.safetensors"))


def losses(folder):
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf8") as f:
        events = [json.loads(line) for line in f]
    return [e["loss"] for e in events if e["event"] == "step"]


def vacant(name):
    """The folder of a run that is to come."""
    out = os.path.join(WORK, "runs", name)
    shutil.rmtree(out, ignore_errors=True)
    return out


def fit(s, name, argv, limit, precision="f32", device=None):
    """A run of a verb that trains; its folder, and what is kept of its summary."""
    out = vacant(name)
    place = ["--device", device] if device else where(precision)
    found = hone([*argv, *place, "--out", out, "--json"], limit)
    keep = ("ok", "error", "steps", "peak_memory_bytes", "command", "dry")
    # No time is told of what ran beside compilers.
    keep += () if rivals.ahead else ("seconds", "tokens_per_s")
    brief = {k: found[k] for k in keep if k in found}
    for part in ("valid", "test"):
        if isinstance(found.get(part), dict):
            brief[part] = {k: found[part].get(k) for k in ("accuracy", "loss", "rows")}
    return out, s.put(name, brief)


def train(s, name, options, limit, precision="f32", device=None):
    """A run of `hone train` on SST-2."""
    return fit(s, name, ["train", "--model", MODEL, "--data", TRAIN, *options], limit, precision, device)


def twice(fitted):
    """Two runs, `fitted(1)` and `fitted(2)`: the folders of those that ended, and whether they have the same bits."""
    folders = []
    for k in (1, 2):
        out, ran = fitted(k)
        folders += [out] if ran["ok"] and not a.dry else []
    hashes = [weights(out) for out in folders]
    return folders, dict(ok=a.dry or len(hashes) == 2 and hashes[0] == hashes[1], sha256=hashes)
