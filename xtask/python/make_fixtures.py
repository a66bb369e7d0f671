"""Makes the fixtures that Hone's tests compare with: small BERTs run by transformers.

    python make_fixtures.py [cases] [trajectory] [regularisers] [schedules] [tfidf] [logistic] [minilm --model FOLDER]

Run in the repository's root, with torch, transformers and tokenizers installed; without a word: the first five.
Everything is seeded: the same versions write the same files.

    crates/bert/fixtures/CASE/           config.json, model.safetensors, case.safetensors
    crates/train/fixtures/trajectory/    a whole model folder, train.csv, trajectory.safetensors
    crates/train/fixtures/               regularisers.safetensors: the same run with L2-SP, averages and focal loss, and R-Drop's
                                         divergence; logistic.json: what scikit-learn says
    crates/experiment/fixtures/          tfidf.json: what scikit-learn says
    crates/optim/fixtures/schedules.json factors of transformers' schedules, step by step
    tests/minilm/expected.safetensors    a head, and the logits transformers gives the built-in reviews with it
"""

import argparse, csv, json, math, random
from pathlib import Path
from types import SimpleNamespace

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertForTokenClassification, BertModel

ROOT = Path(__file__).resolve().parents[2]


# --- cases: named activations and every gradient ------------------------------------------------------------------

SMALL = dict(
    vocab_size=43, hidden_size=20, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
    max_position_embeddings=19, type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    initializer_range=0.2, hidden_act="gelu",
)
# name: changes to SMALL, classes, kind, whether there are two texts
CASES = {
    "single": (dict(), 3, "single_label_classification", False),
    "pairs": (dict(hidden_size=15, num_attention_heads=3, num_hidden_layers=3), 2, "single_label_classification", True),
    "multilabel": (dict(hidden_size=14, num_attention_heads=2), 5, "multi_label_classification", False),
    "regression": (dict(intermediate_size=33), 1, "regression", True),
    "tagging": (dict(hidden_size=18, num_attention_heads=3), 4, "tagging", False),
    "masked": (dict(hidden_act="gelu_new"), 43, "masked", True),
    "gelu_new": (dict(hidden_act="gelu_new"), 3, "single_label_classification", False),
    "relu": (dict(hidden_act="relu"), 3, "single_label_classification", False),
    "mean": (dict(hone_pool="mean"), 3, "single_label_classification", True),
    "eps_types": (dict(layer_norm_eps=1e-5, type_vocab_size=1), 2, "single_label_classification", False),
}
# Eight texts, and sixteen labelled words: the loss's row weights, which Hone holds in f32, are then exact.
LENGTHS = [7, 1, 19, 3, 12, 2, 8, 5]


class BertForMeanPooledClassification(torch.nn.Module):
    """The mean over a text's tokens, and a linear layer: what `--pool mean` trains."""

    def __init__(self, config):
        super().__init__()
        self.bert = BertModel._from_config(config, attn_implementation="eager", add_pooling_layer=False)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids, token_type_ids, attention_mask):
        states = self.bert(input_ids=input_ids, token_type_ids=token_type_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask[..., None].to(states.dtype)
        return SimpleNamespace(logits=self.classifier((states * weight).sum(1) / weight.sum(1)))


def network(config, kind):
    torch.manual_seed(7)
    make = {"tagging": BertForTokenClassification, "masked": BertForMaskedLM}.get(kind, BertForSequenceClassification)
    if getattr(config, "hone_pool", "cls") == "mean":
        model = BertForMeanPooledClassification(config)
    else:
        model = make._from_config(config, attn_implementation="eager")
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, p in model.named_parameters():
            # transformers starts biases at 0 and LayerNorm at 1, which would hide mistakes.
            if name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape, generator=generator))
            elif "LayerNorm" in name:
                p.copy_(1 + 0.1 * torch.randn(p.shape, generator=generator))
    return model.eval()


def run(model, config, kind, texts, labels):
    """Loss, logits, activations (rows of all texts, one after another) and gradients."""
    width = max(len(ids) for ids, _ in texts)
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (i, t) in enumerate(texts):
        ids[row, : len(i)] = torch.tensor(i)
        types[row, : len(t)] = torch.tensor(t)
        mask[row, : len(i)] = 1
    keep = mask.bool()
    acts, hooks = {}, []

    def watch(name, module, what=lambda y: y):
        def hook(_, __, out):
            out = out[0] if isinstance(out, tuple) else out
            acts[name] = what(out.detach())

        hooks.append(module.register_forward_hook(hook))

    rows = lambda y: y[keep]
    bert = model.bert
    watch("embeddings", bert.embeddings, rows)
    for l, layer in enumerate(bert.encoder.layer):
        inner = layer.attention.self
        for part in ("query", "key", "value"):
            watch(f"layer.{l}.{part}", getattr(inner, part), rows)
        watch(f"layer.{l}.context", inner, rows)
        watch(f"layer.{l}.attention_output", layer.attention, rows)
        watch(f"layer.{l}.pre_activation", layer.intermediate.dense, rows)
        watch(f"layer.{l}.output", layer, rows)
    if bert.pooler is not None:
        watch("pooled", bert.pooler)
    out = model(input_ids=ids, token_type_ids=types, attention_mask=mask)
    logits = out.logits
    if kind in ("tagging", "masked"):
        logits = logits[keep]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels), ignore_index=-100)
    elif kind == "regression":
        loss = torch.nn.functional.mse_loss(logits.squeeze(-1), torch.tensor(labels, dtype=logits.dtype))
    elif kind == "multi_label_classification":
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(labels, dtype=logits.dtype))
    else:
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    model.zero_grad()
    loss.backward()
    for hook in hooks:
        hook.remove()
    for l in range(config.num_hidden_layers):
        acts[f"layer.{l}.qkv"] = torch.cat([acts.pop(f"layer.{l}.{p}") for p in ("query", "key", "value")], -1)
    grads = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in model.named_parameters()}
    return loss.detach().reshape(1), logits.detach(), acts, {n: g.clone() for n, g in grads.items()}


def hugging_face(model):
    """Tensors as transformers saves them."""
    return {n: p.detach().clone().contiguous() for n, p in model.named_parameters()}


def case(name, changes, classes, kind, pairs):
    config = BertConfig(**{**SMALL, **changes}, num_labels=classes)
    config.id2label = {i: f"label {i}" for i in range(classes)}
    config.label2id = {v: k for k, v in config.id2label.items()}
    if kind not in ("tagging", "masked"):
        config.problem_type = kind
    model = network(config, kind)
    rng = random.Random(name)
    texts = []
    for n in LENGTHS:
        # Not 0: PyTorch gives [PAD] no gradient; no text that is read holds it.
        ids = [rng.randrange(1, config.vocab_size) for _ in range(n)]
        second = rng.randrange(n) if pairs else n
        texts.append((ids, [int(i >= second) for i in range(n)]))
    if kind in ("tagging", "masked"):
        counted = set(rng.sample(range(sum(LENGTHS)), 16))
        labels = [rng.randrange(classes) if i in counted else -100 for i in range(sum(LENGTHS))]
    elif kind == "regression":
        labels = [rng.randrange(21) / 4 for _ in texts]
    elif kind == "multi_label_classification":
        labels = [[rng.randrange(2) for _ in range(classes)] for _ in texts]
    else:
        labels = [rng.randrange(classes) for _ in texts]
    folder = ROOT / "crates/bert/fixtures" / name
    folder.mkdir(parents=True, exist_ok=True)
    plain = {k: v for k, v in config.to_dict().items() if k not in ("transformers_version", "dtype", "_name_or_path")}
    plain["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
    save_file(hugging_face(model), folder / "model.safetensors", {"format": "pt"})
    loss32, logits32, _, grads32 = run(model, config, kind, texts, labels)
    loss, logits, acts, grads = run(model.double(), config, kind, texts, labels)
    flat = lambda values: torch.tensor(values, dtype=torch.float64).reshape(-1)
    out = {
        "input_ids": torch.tensor([i for ids, _ in texts for i in ids]),
        "token_type_ids": torch.tensor([t for _, ts in texts for t in ts]),
        "cu_seqlens": torch.tensor([sum(LENGTHS[:i]) for i in range(len(LENGTHS) + 1)]),
        "labels": flat(labels),
        "loss": loss, "loss32": loss32, "logits": logits, "logits32": logits32,
        **{f"act.{n}": a for n, a in acts.items()},
        **{f"grad.{n}": g for n, g in grads.items()},
        **{f"grad32.{n}": g for n, g in grads32.items()},
    }
    save_file({n: t.contiguous() for n, t in out.items()}, folder / "case.safetensors")
    print(f"{name}: loss {loss.item():.6f}, {sum(p.numel() for p in model.parameters())} parameters")


# --- trajectory: a hundred steps of AdamW -------------------------------------------------------------------------

WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] film actor plot music slow bright dull warm cold sharp long short brave weak
 honest fake calm loud rare plain clever lazy tender rough quiet rich poor the and but with a it was never always ##s ##ly""".split()
STEPS, BATCH, CLASSES = 100, 4, 3
RECIPE = dict(lr=1e-3, head_lr=5e-3, layer_decay=0.8, weight_decay=0.05, warmup=10, clip=1.0)


def tokenizer(folder):
    vocabulary = {w: i for i, w in enumerate(WORDS)}
    special = lambda w: dict(id=vocabulary[w], content=w, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    cls, sep = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    spec = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [special(w) for w in WORDS[:5]],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [cls, a, sep],
            "pair": [cls, a, sep, b, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {w: {"id": w, "ids": [vocabulary[w]], "tokens": [w]} for w in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocabulary},
    }
    (folder / "tokenizer.json").write_text(json.dumps(spec, indent=1) + "\n")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))


def rate_of(name, layers):
    """Peak rate of a parameter: Sun et al. 2019."""
    if name.startswith(("bert.pooler", "classifier")):
        return RECIPE["head_lr"]
    below = layers - 1 - int(name.split(".")[3]) if ".layer." in name else layers
    return RECIPE["lr"] * RECIPE["layer_decay"] ** below


def train(model, batches, loss_of=lambda model, batch: model(**batch).loss, weight_decay=RECIPE["weight_decay"], after=lambda model, before, rate: None):
    """Losses, norms and last weights. `after(model, weights before the step, factor of the schedule)` sees every step."""
    groups = []
    for name, p in model.named_parameters():
        plain = name.endswith("bias") or "LayerNorm" in name
        groups.append(dict(params=[p], lr=rate_of(name, model.config.num_hidden_layers), weight_decay=0.0 if plain else weight_decay))
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, RECIPE["warmup"], STEPS)
    losses, norms = [], []
    for batch in batches:
        loss = loss_of(model, batch)
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE["clip"])))
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        factor = schedule.get_last_lr()[0] / schedule.base_lrs[0]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        after(model, before, factor)
        losses.append(loss.item())
    return losses, norms, {n: p.detach().clone() for n, p in model.named_parameters()}


def trajectory():
    folder = ROOT / "crates/train/fixtures/trajectory"
    folder.mkdir(parents=True, exist_ok=True)
    tok = tokenizer(folder)
    config = BertConfig(**{**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 24, "initializer_range": 0.1}, num_labels=CLASSES)
    config.id2label = {i: n for i, n in enumerate(["bad", "fair", "good"])}
    config.label2id = {v: k for k, v in config.id2label.items()}
    make = lambda: network(config, "single_label_classification")
    plain = {k: v for k, v in config.to_dict().items() if k not in ("transformers_version", "dtype", "_name_or_path")}
    plain["architectures"] = ["BertForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(plain, indent=1, sort_keys=True) + "\n")
    save_file(hugging_face(make()), folder / "model.safetensors", {"format": "pt"})
    rng = random.Random(3)
    names = list(config.id2label.values())
    words = [w for w in WORDS[5:] if not w.startswith("##")]
    rows = [(" ".join(rng.choice(words) for _ in range(rng.randint(1, 18))), rng.choice(names)) for _ in range(STEPS * BATCH)]
    with open(folder / "train.csv", "w", newline="") as f:
        csv.writer(f, lineterminator="\n").writerows([("text", "label"), *rows])
    batches = []
    for s in range(0, len(rows), BATCH):
        texts = [tok.encode(text) for text, _ in rows[s : s + BATCH]]
        width = max(map(len, texts))
        pad = lambda f: torch.tensor([f(t) + [0] * (width - len(t)) for t in texts])
        batches.append(dict(input_ids=pad(lambda t: t), attention_mask=pad(lambda t: [1] * len(t)), token_type_ids=pad(lambda t: [0] * len(t)),
                            labels=torch.tensor([names.index(label) for _, label in rows[s : s + BATCH]])))
    losses, norms, last = train(make().double(), batches)
    losses32, _, last32 = train(make(), batches)
    out = {"loss": torch.tensor(losses, dtype=torch.float64), "norm": torch.tensor(norms, dtype=torch.float64),
           "loss32": torch.tensor(losses32, dtype=torch.float64)}
    out |= {f"w100.{n}": w for n, w in last.items()} | {f"w100f32.{n}": w for n, w in last32.items()}
    save_file({n: t.contiguous() for n, t in out.items()}, folder / "trajectory.safetensors")
    print(f"trajectory: loss {losses[0]:.6f} to {losses[-1]:.6f}")
    return make, batches


# --- regularisers: the trajectory's run under each of them ---------------------------------------------------------

L2_SP, EMA, TAIL, FOCAL, R_DROP = 0.5, 0.9, 0.25, 2.0, 0.7


def regularisers():
    make, batches = trajectory()
    out = {}
    keep = lambda name, weights: out.update({f"{name}.{n}": w.clone() for n, w in weights.items()})

    # Decay towards the start, decoupled as AdamW's: w <- w - lr*decay*(w before - w0), everything pre-trained.
    start = {n: p.detach().clone() for n, p in make().double().named_parameters()}
    def pull(model, before, factor):
        with torch.no_grad():
            for n, p in model.named_parameters():
                p -= factor * rate_of(n, model.config.num_hidden_layers) * L2_SP * (before[n] - start[n])
    keep("l2_sp", train(make().double(), batches, weight_decay=0.0, after=pull)[2])

    # torch's own averaging: the first call copies, call k + 1 (k averaged before) weighs by the rule.
    ema = lambda a, w, k: (1 - (d := min(EMA, k.item() / (k.item() + 9)))) * w + d * a
    model = make().double()
    averages = {"ema": (torch.optim.swa_utils.AveragedModel(model, avg_fn=ema), 0),
                "tail": (torch.optim.swa_utils.AveragedModel(model), STEPS - math.ceil(TAIL * STEPS))}
    done = 0
    def average(model, before, factor):
        nonlocal done
        done += 1
        for averaged, first in averages.values():
            if done > first:
                averaged.update_parameters(model)
    train(model, batches, after=average)
    for name, (averaged, _) in averages.items():
        keep(name, {n: p.detach() for n, p in averaged.module.named_parameters()})

    def focal(model, batch):
        log_p = torch.log_softmax(model(**{k: v for k, v in batch.items() if k != "labels"}).logits, -1)
        log_p = log_p.gather(1, batch["labels"][:, None])[:, 0]
        return (-((1 - log_p.exp()) ** FOCAL) * log_p).mean()
    keep("focal", train(make().double(), batches, loss_of=focal)[2])

    # R-Drop's second term: rows r and r + 3 are two draws of one text, each of weight 1/6, as kl_div gives it.
    generator = torch.Generator().manual_seed(5)
    logits = (2 * torch.randn(6, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    p, q = torch.log_softmax(logits[:3], -1), torch.log_softmax(logits[3:], -1)
    kl = lambda a, b: torch.nn.functional.kl_div(b, a, log_target=True, reduction="sum")
    loss = R_DROP * (kl(p, q) + kl(q, p)) / 2 / 3
    loss.backward()
    out |= {"kl.logits": logits.detach(), "kl.loss": loss.detach().reshape(1), "kl.dlogits": logits.grad}
    save_file({n: t.contiguous() for n, t in out.items()}, ROOT / "crates/train/fixtures/regularisers.safetensors")
    print(f"regularisers: {len(out)} tensors, divergence {loss.item():.6f}")


CONTRAST, TEMPERATURE = 0.7, 0.3


def contrast():
    """The trajectory's run with what the classifier reads drawn together by class (Gunel et al. 2021)."""
    make, batches = trajectory()

    def loss_of(model, batch):
        rest = {k: v for k, v in batch.items() if k != "labels"}
        pooled, labels = model.bert(**rest).pooler_output, batch["labels"]
        loss = torch.nn.functional.cross_entropy(model.classifier(pooled), labels)
        z = torch.nn.functional.normalize(pooled, dim=-1)
        for r in range(len(labels)):
            others = [k for k in range(len(labels)) if k != r]
            log_p = torch.log_softmax(torch.stack([z[r] @ z[k] / TEMPERATURE for k in others]), 0)
            own = [p for k, p in zip(others, log_p) if labels[k] == labels[r]]
            if own:
                loss = loss - CONTRAST * sum(own) / len(own) / len(labels)
        return loss
    losses, _, weights = train(make().double(), batches, loss_of=loss_of)
    out = {f"contrast.{n}": w.contiguous() for n, w in weights.items()}
    save_file(dict(out, loss=torch.tensor(losses, dtype=torch.float64)), ROOT / "crates/train/fixtures/contrast.safetensors")
    print(f"contrast: loss {losses[0]:.6f} to {losses[-1]:.6f}")


# --- schedules ----------------------------------------------------------------------------------------------------

def schedules():
    folder = ROOT / "crates/optim/fixtures"
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for warmup, total in [(0, 7), (3, 20), (10, 100), (20, 20)]:
        for name, make in {
            "linear": transformers.get_linear_schedule_with_warmup,
            "cosine": transformers.get_cosine_schedule_with_warmup,
            "constant": lambda o, w, n: transformers.get_constant_schedule_with_warmup(o, w),
            "polynomial": lambda o, w, n: transformers.get_polynomial_decay_schedule_with_warmup(o, w, n),
            "polynomial:2": lambda o, w, n: transformers.get_polynomial_decay_schedule_with_warmup(o, w, n, power=2.0),
        }.items():
            if name.startswith("polynomial") and warmup == total:
                continue  # transformers divides by zero
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            schedule = make(optimizer, warmup, total)
            factors = []
            for _ in range(total + 2):
                factors.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                schedule.step()
            out.append(dict(schedule=name, warmup=warmup, total=total, factors=factors))
    (folder / "schedules.json").write_text("[\n" + ",\n".join(json.dumps(row) for row in out) + "\n]\n")
    print(f"schedules: {len(out)}")


# --- TF-IDF and logistic regression -------------------------------------------------------------------------------

def tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    folder = ROOT / "crates/experiment/fixtures"
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(9)
    words = "a film so dull bright slow and the plot It's good, bad. not never GOOD music".split()
    texts = [" ".join(rng.choice(words) for _ in range(rng.randint(1, 9))) for _ in range(40)]
    labels = [rng.randrange(3) for _ in texts]
    queries = [*texts[:5], "so bright and good", "nothing known", ""]
    vectors = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(C=10, tol=1e-10, max_iter=10000).fit(vectors.fit_transform(texts), labels)
    out = dict(texts=texts, labels=labels, queries=queries, probabilities=model.predict_proba(vectors.transform(queries)).round(8).tolist())
    (folder / "tfidf.json").write_text(json.dumps(out, indent=0) + "\n")
    print("tfidf")


def logistic():
    """Logistic regression on standardised dense features, as the linear probe of `hone check` fits it."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 60)
    x = (rng.normal(size=(60, 5)) + np.eye(3, 5)[labels]).astype(np.float32)
    x[:, 4] = 0.25  # a feature that never changes
    scaler = StandardScaler().fit(x[:45].astype(np.float64))
    out = dict(hidden=5, fitted=45, labels=labels.tolist(), values=x.ravel().tolist(), probabilities={})
    for c in [0.01, 1.0]:
        model = LogisticRegression(C=c, tol=1e-12, max_iter=10000).fit(scaler.transform(x[:45]), labels[:45])
        out["probabilities"][str(c)] = model.predict_proba(scaler.transform(x)).round(8).tolist()
    (ROOT / "crates/train/fixtures/logistic.json").write_text(json.dumps(out) + "\n")
    print("logistic")


# --- the real model -----------------------------------------------------------------------------------------------

def minilm(folder):
    """Logits of 100 texts, 30 of them longer than 128 tokens, by MiniLM under a head drawn here and stored beside them.

    The texts are the built-in reviews: the first 70 as they are, then 30 of twelve reviews each, the last of which
    twenty-four; `tests/minilm` puts the same together.
    """
    from transformers import BertTokenizerFast

    with open(ROOT / "crates/experiment/demo/reviews.csv", encoding="utf8", newline="") as f:
        reviews = [row["text"] for row in csv.DictReader(f)]
    texts = reviews[:70] + [" ".join(reviews[70 + 12 * k : 82 + 12 * k]) for k in range(29)] + [" ".join(reviews[418:442])]
    tok = BertTokenizerFast.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.randn(3, model.config.hidden_size, generator=generator))
        model.classifier.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
        encoded = [tok(t, truncation=True, max_length=512, return_tensors="pt") for t in texts]
        logits = torch.cat([model(**e).logits for e in encoded])
    lengths = torch.tensor([e["input_ids"].shape[1] for e in encoded], dtype=torch.int32)
    assert (lengths[70:] > 128).all() and (lengths[:70] <= 128).all(), lengths
    out = ROOT / "tests/minilm/expected.safetensors"
    save_file({"weight": model.classifier.weight.detach(), "bias": model.classifier.bias.detach(), "logits": logits, "lengths": lengths}, out)
    print(f"minilm: {len(texts)} texts, {lengths.min()} to {lengths.max()} tokens, logits {logits.min():.3f} to {logits.max():.3f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", nargs="*", default=["cases", "trajectory", "regularisers", "contrast", "schedules", "tfidf", "logistic"])
    p.add_argument("--model", help="MiniLM's folder")
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    if "cases" in a.what:
        for name, (changes, classes, kind, pairs) in CASES.items():
            case(name, changes, classes, kind, pairs)
    if "regularisers" in a.what:
        regularisers()
    elif "trajectory" in a.what:
        trajectory()
    if "contrast" in a.what:
        contrast()
    if "schedules" in a.what:
        schedules()
    if "tfidf" in a.what:
        tfidf()
    if "logistic" in a.what:
        logistic()
    if "minilm" in a.what:
        minilm(a.model)
