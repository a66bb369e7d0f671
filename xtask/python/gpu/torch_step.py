"""PyTorch's training steps of BertForSequenceClassification, a stretch at a time, for `run.py`.

    torch_step.py --shape minilm|base --batch N (--length N | --lengths FILE) --steps N
                  [--device cuda --bf16] [--compile default|reduce-overhead|max-autotune|max-autotune-products]

Builds the model, warms up and prints one JSON line; then, for each line it reads, trains a stretch of --steps steps
without waiting for the device in between and prints another: milliseconds a step, useful tokens a second. SDPA, fused
AdamW, gradients clipped at 1, dropout 0.1, weights in f32 and bf16 by autocast. With --lengths, texts have those
lengths in order and every batch is padded to its longest; equal lengths get no mask at all, which is what lets SDPA
use its fastest kernel. --rate also times an 8192-cubed bf16 product. The mode max-autotune-products is max-autotune
without its last step, the search by coordinate descent for each kernel that is no product; what it found of products the
other finds again in the compiler's cache.
"""

import argparse, itertools, json, statistics, sys, time

import torch
import torch._inductor
import transformers
from transformers import BertConfig, BertForSequenceClassification

SHAPES = dict(
    tiny=dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256),
    minilm=dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    base=dict(),
)
p = argparse.ArgumentParser()
p.add_argument("--shape", choices=SHAPES, default="base")
p.add_argument("--batch", type=int, default=32)
p.add_argument("--length", type=int, default=128)
p.add_argument("--lengths")
p.add_argument("--steps", type=int, default=10)
p.add_argument("--device", default="cuda")
p.add_argument("--bf16", action="store_true")
p.add_argument("--compile")
p.add_argument("--rate", type=int, default=0, metavar="SIZE")
a = p.parse_args()
transformers.logging.set_verbosity_error()
torch.manual_seed(0)
gpu = a.device != "cpu"
sync = torch.cuda.synchronize if gpu else (lambda: None)
began = time.perf_counter()


def say(**object):
    print(json.dumps(object), flush=True)


def product_rate(size):
    x = torch.rand(size, size, device=a.device, dtype=torch.bfloat16) * 2 - 1
    y = torch.rand(size, size, device=a.device, dtype=torch.bfloat16) * 2 - 1
    times = []
    for _ in range(13):
        sync()
        start = time.perf_counter()
        x @ y
        sync()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[3:]) / 1e9


config = BertConfig(num_labels=2, **SHAPES[a.shape])
model = BertForSequenceClassification._from_config(config, attn_implementation="sdpa").to(a.device).train()
bare = lambda name: "bias" in name or "LayerNorm" in name
opt = torch.optim.AdamW(
    [
        dict(params=[q for n, q in model.named_parameters() if not bare(n)], weight_decay=0.01),
        dict(params=[q for n, q in model.named_parameters() if bare(n)], weight_decay=0.0),
    ],
    lr=1e-5,
    fused=True,
)
if a.compile == "max-autotune-products":
    options = torch._inductor.list_mode_options("max-autotune")
    run = torch.compile(model, options={k: v for k, v in options.items() if k != "coordinate_descent_tuning"})
else:
    run = torch.compile(model, mode=None if a.compile == "default" else a.compile) if a.compile else model
lengths = [a.length] * a.batch
if a.lengths:
    with open(a.lengths) as f:
        lengths = [int(line) for line in f]
texts = itertools.cycle(lengths)


def batch():
    """Useful tokens, and what the model is given."""
    part = list(itertools.islice(texts, a.batch))
    width = max(part)
    ids = torch.randint(0, config.vocab_size, (a.batch, width))
    inputs = dict(input_ids=ids, labels=torch.randint(0, 2, (a.batch,)))
    if a.lengths:
        mask = torch.arange(width)[None] < torch.tensor(part)[:, None]
        inputs = dict(inputs, input_ids=ids * mask, attention_mask=mask.long())
    return sum(part), {k: v.pin_memory() for k, v in inputs.items()} if gpu else inputs


def step(inputs):
    if a.compile:
        torch.compiler.cudagraph_mark_step_begin()
    inputs = {k: v.to(a.device, non_blocking=True) for k, v in inputs.items()}
    with torch.autocast(a.device, torch.bfloat16, enabled=a.bf16):
        loss = run(**inputs).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()


for number in range(3):
    step(batch()[1])
    sync()
    print(f"warm-up {number + 1}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
ready = dict(ready=True, start_seconds=time.perf_counter() - began, torch=torch.__version__, transformers=transformers.__version__)
if a.rate:
    ready["product_gflop_per_s"] = product_rate(a.rate)
say(**ready)
for line in sys.stdin:
    batches = [batch() for _ in range(2 + a.steps)]
    for _, inputs in batches[:2]:
        step(inputs)
    sync()
    start = time.perf_counter()
    for _, inputs in batches[2:]:
        step(inputs)
    sync()
    seconds = time.perf_counter() - start
    useful = sum(tokens for tokens, _ in batches[2:])
    padded = sum(inputs["input_ids"].numel() for _, inputs in batches[2:])
    memory = torch.cuda.max_memory_allocated() if gpu else None
    say(ms=seconds * 1e3 / a.steps, tokens_per_s=useful / seconds, fill=useful / padded, peak_memory_bytes=memory)
