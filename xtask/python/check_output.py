"""Loads a folder that `hone train` left in transformers, and compares logits and label names with `hone predict`.

    python check_output.py FOLDER TEXTS.csv --hone target/release/hone [--rows 100]

Needs torch and transformers. Prints the largest difference of probabilities and logits' softmax; exit code 1 above 1e-4.
"""

import argparse, csv, json, subprocess, sys, tempfile

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

p = argparse.ArgumentParser()
p.add_argument("folder")
p.add_argument("texts")
p.add_argument("--hone", default="target/release/hone")
p.add_argument("--rows", type=int, default=100)
a = p.parse_args()
csv.field_size_limit(1 << 30)
with open(a.texts, encoding="utf8", newline="") as f:
    rows = [(r["text"], r.get("text_b")) for r in csv.DictReader(f)][: a.rows]
with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf8", newline="") as f:
    w = csv.writer(f)
    pair = rows[0][1] is not None
    w.writerow(["text", "text_b"] if pair else ["text"])
    w.writerows(rows if pair else [(t,) for t, _ in rows])
    f.flush()
    out = subprocess.run([a.hone, "predict", "--model", a.folder, "--data", f.name], capture_output=True, text=True, check=True).stdout
ours = [json.loads(line) for line in out.splitlines()]
tok = AutoTokenizer.from_pretrained(a.folder)
model = AutoModelForSequenceClassification.from_pretrained(a.folder).eval()
names = [model.config.id2label[i] for i in range(model.config.num_labels)]
worst, wrong, longest = 0.0, 0, 0
with torch.no_grad():
    for (text, second), mine in zip(rows, ours):
        enc = tok(text, second, truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt")
        longest = max(longest, enc["input_ids"].shape[1])
        logits = model(**enc).logits[0]
        if model.config.problem_type == "regression":
            worst = max(worst, abs(float(logits[0]) - mine["value"]))
            continue
        theirs = logits.softmax(-1)
        # Differences of logits, which softmax keeps: log p_i − log p_0.
        log = torch.tensor([mine["probabilities"][n] for n in names], dtype=torch.float64).clamp_min(1e-300).log()
        worst = max(worst, float((log - log[0] - (logits - logits[0]).double()).abs().max()))
        wrong += names[int(theirs.argmax())] != mine["label"]
pipe = ""
if model.config.problem_type != "regression" and not pair:
    got = pipeline("text-classification", model=model, tokenizer=tok)(rows[0][0], truncation=True, max_length=model.config.max_position_embeddings)[0]
    pipe = f"; pipeline says {got['label']}, hone {ours[0]['label']}"
    wrong += got["label"] != ours[0]["label"]
print(f"{len(ours)} texts (longest {longest} tokens): logits differ by at most {worst:.2e}; {wrong} labels differ{pipe}")
sys.exit(worst > 1e-4 or wrong > 0)
