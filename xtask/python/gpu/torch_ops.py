"""Holds what `hone-card ops` wrote against PyTorch: its own bf16 operations are the measure.

    torch_ops.py FILE.safetensors [--device cuda]

For each output: the largest error of Hone's and of PyTorch's bf16 operation (bf16 in, bf16 out, where Hone has f32 for
a parameter's gradient, bf16 there), both against f64 from the same numbers; Hone's may be at most twice PyTorch's.
Prints one JSON object; exit code 3 where one is further off.
"""

import argparse, json, math, struct, sys

import torch
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("file")
p.add_argument("--device", default="cuda")
a = p.parse_args()


def read(path):
    with open(path, "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(size))
        body = bytearray(f.read())
    notes = head.pop("__metadata__", {})
    out = {}
    for name, t in head.items():
        assert t["dtype"] == "F32", t
        begin, end = t["data_offsets"]
        out[name] = torch.frombuffer(body, dtype=torch.float32, count=(end - begin) // 4, offset=begin).reshape(t["shape"])
    return out, notes


T, notes = read(a.file)
T = {k: v.to(a.device) for k, v in T.items()}
heads = int(notes["heads"])
lengths = [int(n) for n in T["lengths"].tolist()]
rows = []


def judge(name, got, exact, rounded):
    """`exact` and `rounded`: PyTorch's, in f64 and in bf16."""
    exact = exact.detach().double()
    error = lambda x: (x.detach().double() - exact).abs().max().item()
    hone, torch_ = error(got), error(rounded)
    # An operation that PyTorch gets exactly right leaves half a last place of bf16.
    allowed = 2 * max(torch_, 2.0**-9 * exact.abs().max().item() * 1e-3)
    rows.append(dict(output=name, hone_error=hone, torch_bf16_error=torch_, ok=bool(hone <= allowed)))


def both(f, *names):
    """Runs `f` on the named tensors in f64 and in bf16, each with gradients where asked."""
    out = []
    for dtype in (torch.float64, torch.bfloat16):
        out.append(f(*[T[n].to(dtype).requires_grad_() for n in names]))
    return out


for name in ("qkv", "output", "up", "down"):

    def linear(x, w, b, dy):
        y = F.linear(x, w, b)
        return (y, *torch.autograd.grad(y, (x, w, b), dy.detach()))

    exact, rounded = both(linear, f"{name}.x", f"weight.{name}", f"{name}.bias", f"{name}.dy")
    for what, e, r in zip(("y", "dx", "dw", "db"), exact, rounded):
        judge(f"{name}.{what}", T[f"{name}.{what}"], e, r)


def gelu(x, w, b):
    pre = F.linear(x, w, b)
    return pre, F.gelu(pre)


exact, rounded = both(gelu, "gelu.x", "weight.up", "gelu.bias")
judge("gelu.pre", T["gelu.pre"], exact[0], rounded[0])
judge("gelu.y", T["gelu.y"], exact[1], rounded[1])


def gelu_backward(pre, w, dy):
    return (torch.autograd.grad(F.gelu(pre), pre, F.linear(dy, w.t()).detach())[0],)


exact, rounded = both(gelu_backward, "gelu.pre", "weight.down", "gelu.dy")
judge("gelu.dpre", T["gelu.dpre"], exact[0], rounded[0])


def norm(x, residual, w, b):
    total = x + residual
    return total, F.layer_norm(total, w.shape, w, b, 1e-12)


exact, rounded = both(norm, "norm.x", "norm.residual", "norm.weight", "norm.bias")
judge("norm.sum", T["norm.sum"], exact[0], rounded[0])
judge("norm.y", T["norm.y"], exact[1], rounded[1])


def norm_backward(total, w, b, dy):
    y = F.layer_norm(total, w.shape, w, b, 1e-12)
    return torch.autograd.grad(y, (total, w, b), dy.detach())


exact, rounded = both(norm_backward, "norm.sum", "norm.weight", "norm.bias", "norm.dy")
for what, e, r in zip(("dsum", "dweight", "dbias"), exact, rounded):
    judge(f"norm.{what}", T[f"norm.{what}"], e, r)


def attention(qkv, dcontext):
    hidden = dcontext.shape[1]
    parts = []
    at = 0
    for n in lengths:
        q, k, v = qkv[at : at + n].reshape(1, n, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        parts.append(F.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3).reshape(n, hidden))
        at += n
    context = torch.cat(parts)
    return context, torch.autograd.grad(context, qkv, dcontext.detach())[0]


exact, rounded = both(attention, "attention.qkv", "attention.dcontext")
judge("attention.context", T["attention.context"], exact[0], rounded[0])
judge("attention.dqkv", T["attention.dqkv"], exact[1], rounded[1])


def head(x, w, b):
    return (F.linear(x, w, b),)


exact, rounded = both(head, "head.x", "weight.head", "head.bias")
judge("head.logits", T["head.logits"], exact[0], rounded[0])


def loss(logits, targets):
    return torch.autograd.grad(F.cross_entropy(logits, targets.detach()), logits)


exact, rounded = both(loss, "head.logits", "head.targets")
judge("head.dlogits", T["head.dlogits"], exact[0], rounded[0])

wrong = [r for r in rows if not r["ok"] or math.isnan(r["hone_error"])]
print(json.dumps(dict(ok=not wrong, outputs=len(rows), wrong=[r["output"] for r in wrong], torch=torch.__version__, rows=rows)))
sys.exit(3 if wrong else 0)
