"""Fine-tune a BERT folder to tag words with PyTorch + transformers, as a plain user would: the run beside `hone train`.

    python finetune_tags.py --model DIR --train train.tsv --test test.tsv [--valid dev.tsv] [--seed 1]

Files: `word<TAB>tag`, a blank line between sentences. Labels stand on first word pieces; words that truncation cut off
are predicted O. Rates, schedule, decay and clipping as Hone's defaults with one rate for all. Needs torch, transformers
and seqeval. Prints one JSON object.
"""

import argparse, json, math, random, time

import torch
from seqeval.metrics import f1_score
from transformers import BertForTokenClassification, BertTokenizerFast, get_linear_schedule_with_warmup

p = argparse.ArgumentParser()
p.add_argument("--model", required=True)
p.add_argument("--train", required=True)
p.add_argument("--valid")
p.add_argument("--test", required=True)
p.add_argument("--epochs", type=int, default=3)
p.add_argument("--batch", type=int, default=32)
p.add_argument("--lr", type=float, default=5e-5)
p.add_argument("--seed", type=int, default=0)
a = p.parse_args()
torch.manual_seed(a.seed)
rng = random.Random(a.seed)


def read(path):
    sentences, words = [], []
    for line in open(path, encoding="utf8"):
        line = line.rstrip("\n")
        if line.strip():
            words.append(line.split("\t"))
        elif words:
            sentences, words = sentences + [words], []
    return sentences + ([words] if words else [])


train = read(a.train)
held = {name: read(path) for name, path in (("valid", a.valid), ("test", a.test)) if path}
labels = sorted({tag for s in train for _, tag in s})
tok = BertTokenizerFast.from_pretrained(a.model)
model = BertForTokenClassification.from_pretrained(a.model, num_labels=len(labels))


def batch(rows):
    enc = tok([[w for w, _ in s] for s in rows], is_split_into_words=True, truncation=True, max_length=512, padding=True, return_tensors="pt")
    y = torch.full(enc["input_ids"].shape, -100)
    for k, s in enumerate(rows):
        before = None
        for t, word in enumerate(enc.word_ids(k)):
            if word is not None and word != before:
                y[k, t] = labels.index(s[word][1]) if s[word][1] in labels else -100
            before = word
    return enc, y


def entity_f1(rows):
    model.eval()
    got = []
    with torch.no_grad():
        for s in range(0, len(rows), 64):
            part = rows[s : s + 64]
            enc, _ = batch(part)
            best = model(**enc).logits.argmax(-1)
            for k, sentence in enumerate(part):
                tags = ["O"] * len(sentence)
                before = None
                for t, word in enumerate(enc.word_ids(k)):
                    if word is not None and word != before:
                        tags[word] = labels[best[k, t]]
                    before = word
                got.append(tags)
    model.train()
    return f1_score([[tag for _, tag in s] for s in rows], got)


bare = lambda name: "bias" in name or "LayerNorm" in name
groups = [
    dict(params=[q for n, q in model.named_parameters() if not bare(n)], weight_decay=0.01),
    dict(params=[q for n, q in model.named_parameters() if bare(n)], weight_decay=0.0),
]
opt = torch.optim.AdamW(groups, lr=a.lr, fused=True)
steps = a.epochs * -(-len(train) // a.batch)
schedule = get_linear_schedule_with_warmup(opt, math.ceil(0.06 * steps), steps)
model.train()
start = time.time()
for _ in range(a.epochs):
    rng.shuffle(train)
    for s in range(0, len(train), a.batch):
        enc, y = batch(train[s : s + a.batch])
        loss = model(**enc, labels=y).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        schedule.step()
        opt.zero_grad()
out = dict(seconds=round(time.time() - start, 1), final_loss=round(loss.item(), 4))
for name, rows in held.items():
    out[name] = dict(entity_f1=round(entity_f1(rows), 4), rows=len(rows))
print(json.dumps(out))
