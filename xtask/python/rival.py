"""What PyTorch and transformers make of the same work, for `cargo xtask compare`. Prints one JSON object.

    rival.py step  --shape minilm|base --batch N --length N --steps N      a training step of an equal padded batch
    rival.py tune  --model FOLDER --data CSV --padding max|dynamic|grouped --steps N    real texts, as a user would
    rival.py start --model FOLDER --data CSV --out FOLDER                  a folder with a head, for both to start from
    rival.py curve --model FOLDER --data CSV --steps N                     losses without dropout, in the file's order

Needs torch and transformers. AdamW is the fused one, attention PyTorch's SDPA, gradients clipped at 1, dropout 0.1
but for `curve`; --bf16 computes under autocast; rates as in Hone's command line: `xtask/src/compare.rs` gives both the same.
"""

import argparse, csv, json, math, pathlib, random, resource, statistics, time

import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, get_linear_schedule_with_warmup

SHAPES = dict(minilm=dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536), base=dict())
SKIP = 3  # steps that do not count


def optimizer(model, lr):
    bare = lambda name: "bias" in name or "LayerNorm" in name
    groups = [
        dict(params=[p for n, p in model.named_parameters() if not bare(n)], weight_decay=0.01),
        dict(params=[p for n, p in model.named_parameters() if bare(n)], weight_decay=0.0),
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def update(model, opt, inputs):
    with torch.autocast("cpu", torch.bfloat16, enabled=a.bf16):
        loss = model(**inputs).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    return loss


def step(a):
    config = BertConfig(num_labels=2, **SHAPES[a.shape])
    model = BertForSequenceClassification._from_config(config, attn_implementation="sdpa").train()
    opt = optimizer(model, 1e-5)
    times = []
    for _ in range(2 + a.steps):
        ids = torch.randint(0, config.vocab_size, (a.batch, a.length))
        inputs = dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.randint(0, 2, (a.batch,)))
        start = time.perf_counter()
        update(model, opt, inputs)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[2:])
    return dict(ms=seconds * 1e3, tokens_per_s=a.batch * a.length / seconds)


def read(path):
    with open(path, encoding="utf8", newline="") as f:
        return [(row["text"], int(row["label"])) for row in csv.DictReader(f)]


def collate(encodings, labels, width):
    ids = torch.zeros(len(labels), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for k, e in enumerate(encodings):
        ids[k, : len(e)] = torch.tensor(e)
        mask[k, : len(e)] = 1
    return dict(input_ids=ids, attention_mask=mask, labels=torch.tensor(labels))


def tune(a):
    rows = read(a.data)
    tok = BertTokenizerFast.from_pretrained(a.model)
    model = BertForSequenceClassification.from_pretrained(a.model, num_labels=2).train()
    opt = optimizer(model, 5e-5)
    rng = random.Random(0)
    rng.shuffle(rows)
    rows = rows[: a.batch * 50 * math.ceil((SKIP + a.steps) / 50)]
    ids = [tok(t, truncation=True, max_length=128)["input_ids"] for t, _ in rows]
    order = list(range(len(rows)))
    if a.padding == "grouped":
        # transformers' length grouping: megabatches of 50 batches, each sorted; then its batches in random order,
        # so that a few of them are a fair sample of all lengths.
        big = a.batch * 50
        order = [i for s in range(0, len(order), big) for i in sorted(order[s : s + big], key=lambda i: -len(ids[i]))]
    batches = [order[s : s + a.batch] for s in range(0, len(order), a.batch)]
    rng.shuffle(batches)
    seconds = real = 0
    for k, index in enumerate(batches[: SKIP + a.steps]):
        start = time.perf_counter()
        width = 128 if a.padding == "max" else max(len(ids[i]) for i in index)
        update(model, opt, collate([ids[i] for i in index], [rows[i][1] for i in index], width))
        if k >= SKIP:
            seconds += time.perf_counter() - start
            real += sum(len(ids[i]) for i in index)
    return dict(tokens_per_s=real / seconds)


def start(a):
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(a.model, num_labels=2)
    # The names that the data's labels have: a head with other names would be none of theirs.
    names = pathlib.Path(a.data).parent / "labels.txt"
    names = [line.split("\t")[-1] for line in names.read_text(encoding="utf8").splitlines()] if names.is_file() else ["0", "1"]
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: i for i, name in enumerate(names)}
    model.save_pretrained(a.out)
    BertTokenizerFast.from_pretrained(a.model).save_pretrained(a.out)
    return {}


def curve(a):
    rows = read(a.data)
    tok = BertTokenizerFast.from_pretrained(a.model)
    model = BertForSequenceClassification.from_pretrained(
        a.model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, classifier_dropout=0.0
    ).train()
    opt = optimizer(model, 5e-5)
    schedule = get_linear_schedule_with_warmup(opt, math.ceil(0.06 * a.steps), a.steps)
    losses = []
    for s in range(0, a.steps * a.batch, a.batch):
        part = rows[s : s + a.batch]
        ids = [tok(t, truncation=True, max_length=512)["input_ids"] for t, _ in part]
        losses.append(update(model, opt, collate(ids, [y for _, y in part], max(map(len, ids)))).item())
        schedule.step()
    return dict(losses=losses)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["step", "tune", "start", "curve"])
    p.add_argument("--shape", choices=SHAPES)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--length", type=int)
    p.add_argument("--steps", type=int)
    p.add_argument("--model")
    p.add_argument("--out")
    p.add_argument("--data")
    p.add_argument("--bf16", action="store_true")
    p.add_argument("--padding", choices=["max", "dynamic", "grouped"])
    a = p.parse_args()
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    out = dict(step=step, tune=tune, start=start, curve=curve)[a.what](a)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(dict(out, torch=torch.__version__, transformers=transformers.__version__, peak_memory_bytes=peak)))
