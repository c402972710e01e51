"""The PyTorch side of `seq2seq.py`: the equal model, trained on the same batches, decoding with a loop over tensors.

Run in an environment with requirements-reference.txt; `seq2seq.py` calls it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PAD, UNKNOWN, START, END = 0, 1, 2, 3
DROPOUT = 0.2


class Model(nn.Module):
    """A bidirectional LSTM, and an LSTM with Luong's general attention whose embeddings are its output weights."""

    def __init__(self, sources: int, targets: int, dim: int) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(sources, dim)
        self.encoder = nn.LSTM(dim, dim // 2, batch_first=True, bidirectional=True)
        self.bridges = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        self.target_embedding = nn.Embedding(targets, dim)
        self.decoder = nn.LSTM(dim, dim, batch_first=True)
        self.keys = nn.Linear(dim, dim, bias=False)
        self.combine = nn.Linear(2 * dim, dim, bias=False)
        self.bias = nn.Parameter(torch.zeros(targets))
        self.dropout = nn.Dropout(DROPOUT)

    def load(self, weights: dict[str, np.ndarray]) -> None:
        """Takes tfft's weights; PyTorch has a second bias in each LSTM, which stays 0 and is not trained."""

        def lstm(name: str) -> list[np.ndarray]:
            kernel, recurrent, bias = (weights[f"{name}/{part}"] for part in ("kernel", "recurrent_kernel", "bias"))
            return [kernel.T, recurrent.T, bias, np.zeros_like(bias)]

        pairs: list[tuple[Any, np.ndarray]] = [
            (self.source_embedding.weight, weights["source/embeddings"]),
            (self.target_embedding.weight, weights["target/embeddings"]),
            (self.keys.weight, weights["attention/kernel"].T),
            (self.combine.weight, weights["combining_kernel"].T),
            (self.bias, weights["vocabulary/bias"]),
        ]
        for number, bridge in enumerate(self.bridges):
            pairs += [
                (bridge.weight, weights[f"bridge_{number}/kernel"].T),
                (bridge.bias, weights[f"bridge_{number}/bias"]),
            ]
        for suffix, name in (("", "forward"), ("_reverse", "backward")):
            names = [f"{part}_l0{suffix}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            pairs += [(getattr(self.encoder, own), value) for own, value in zip(names, lstm(name), strict=True)]
        names = [f"{part}_l0" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        pairs += [(getattr(self.decoder, own), value) for own, value in zip(names, lstm("decoder"), strict=True)]
        with torch.no_grad():
            for parameter, value in pairs:
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
        for module, names in ((self.encoder, ["bias_hh_l0", "bias_hh_l0_reverse"]), (self.decoder, ["bias_hh_l0"])):
            for name in names:
                getattr(module, name).requires_grad_(False)

    def encode(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Returns vectors of the source, which of them count, and the first state of the decoder."""
        mask = ids != PAD
        embedded = self.dropout(self.source_embedding(ids))
        if mask.all():
            values, _ = self.encoder(embedded)
        else:
            packed = pack_padded_sequence(embedded, mask.sum(1), batch_first=True, enforce_sorted=False)
            values, _ = pad_packed_sequence(self.encoder(packed)[0], batch_first=True, total_length=ids.shape[1])
        mean = (values * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        hidden, cell = (torch.tanh(bridge(mean))[None] for bridge in self.bridges)
        return values, mask, (hidden, cell)

    def attend(
        self, hidden: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Returns attentional vectors, `(batch, steps, dim)`."""
        scores = (hidden @ keys.transpose(1, 2)).masked_fill(~mask[:, None], -torch.inf)
        return torch.tanh(self.combine(torch.cat([torch.softmax(scores, dim=-1) @ values, hidden], dim=-1)))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        return nn.functional.linear(hidden, self.target_embedding.weight, self.bias)

    def loss(self, source: torch.Tensor, before: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        """Returns the mean over real target tokens."""
        values, mask, state = self.encode(source)
        hidden, _ = self.decoder(self.dropout(self.target_embedding(before)), state)
        hidden = self.dropout(self.attend(hidden, self.keys(values), values, mask))
        real = targets != PAD
        return nn.functional.cross_entropy(self.logits(hidden[real]), targets[real], label_smoothing=smoothing)


def most_tokens(ids: torch.Tensor) -> torch.Tensor:
    """Returns how long each text may become: twice the source and ten, without start and end."""
    return 2 * ((ids != PAD).sum(1) - 2) + 10


@torch.inference_mode()
def greedy(model: Model, ids: torch.Tensor) -> list[list[int]]:
    """Takes the likeliest token at each step, until all rows have ended."""
    values, mask, state = model.encode(ids)
    keys, limits = model.keys(values), most_tokens(ids)
    last = torch.full((len(ids), 1), START)
    ended, written = torch.zeros(len(ids), dtype=torch.bool), []
    never = torch.tensor([PAD, UNKNOWN, START])
    for place in range(int(limits.max()) + 1):
        hidden, state = model.decoder(model.target_embedding(last), state)
        logits = model.logits(model.attend(hidden, keys, values, mask)[:, 0])
        logits[:, never] = -torch.inf
        last = logits.argmax(-1)
        last = torch.where(ended, PAD, torch.where(limits <= place, END, last))
        written.append(last)
        ended |= last == END
        if ended.all():
            break
        last = last[:, None]
    rows = torch.stack(written, 1).tolist()
    return [row[: row.index(END)] for row in rows]


@torch.inference_mode()
def beam_search(model: Model, ids: torch.Tensor, beams: int, penalty: float) -> list[list[int]]:
    """Follows the likeliest texts at once; texts that have ended keep their place with no more to come."""
    batch = len(ids)
    values, mask, state = model.encode(ids)
    keys, limits = model.keys(values), most_tokens(ids).repeat_interleave(beams)
    keys, values, mask = (part.repeat_interleave(beams, 0) for part in (keys, values, mask))
    state = tuple(part.repeat_interleave(beams, 1) for part in state)
    totals = torch.full((batch, beams), -torch.inf)
    totals[:, 0] = 0.0
    last = torch.full((batch * beams,), START)
    ended = torch.zeros(batch * beams, dtype=torch.bool)
    written = torch.zeros((batch * beams, 0), dtype=torch.long)
    never = torch.tensor([PAD, UNKNOWN, START])
    base = (torch.arange(batch) * beams)[:, None]
    for place in range(int(limits.max()) + 1):
        hidden, state = model.decoder(model.target_embedding(last[:, None]), state)
        scores = torch.log_softmax(model.logits(model.attend(hidden, keys, values, mask)[:, 0]), -1)
        scores[:, never] = -torch.inf
        full = limits <= place
        if full.any():
            only_end = torch.full_like(scores[0], -torch.inf)
            only_end[END] = 0.0
            scores[full] = scores[full][:, END : END + 1] + only_end
        scores[ended] = -torch.inf
        scores[ended, PAD] = 0.0
        vocabulary = scores.shape[1]
        candidates = (totals[..., None] + scores.view(batch, beams, vocabulary)).view(batch, -1)
        totals, chosen = candidates.topk(beams)
        parents = (base + chosen // vocabulary).view(-1)
        last = (chosen % vocabulary).view(-1)
        state = tuple(part.index_select(1, parents) for part in state)
        written = torch.cat([written.index_select(0, parents), last[:, None]], 1)
        ended = ended.index_select(0, parents) | (last == END)
        if ended.all():
            break
    lengths = (written != PAD).sum(1).view(batch, beams)
    best = (totals / ((5.0 + lengths) / 6.0) ** penalty).argmax(1)
    rows = written.view(batch, beams, -1)[torch.arange(batch), best].tolist()
    return [row[: row.index(END)] for row in rows]


def train(folder: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Trains on the batches that tfft was trained on."""
    model = model_of(folder, "first")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)
    batches, rates = np.load(folder / "batches.npz"), question["rates"]
    steps = question["steps"]
    seconds, tokens, losses = [], [], []
    for step in range(question["epochs"] * steps):
        source, before, targets = (
            torch.from_numpy(batches[f"{step}/{name}"]).long() for name in ("source", "before", "targets")
        )
        begun = time.process_time()
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.zero_grad(set_to_none=True)
        loss = model.loss(source, before, targets, question["label_smoothing"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        seconds.append(time.process_time() - begun)
        tokens.append(int((targets != PAD).sum()))
    torch.save(model.state_dict(), folder / "torch.pt")
    last = slice(-steps + 1, None)
    return {
        "tokens_per_cpu_second": round(sum(tokens[last]) / sum(seconds[last])),
        "epoch_losses": [round(float(np.mean(losses[n : n + steps])), 3) for n in range(0, len(losses), steps)],
    }


def model_of(folder: Path, name: str) -> Model:
    """Returns the model with weights of tfft."""
    weights = dict(np.load(folder / f"{name}.npz"))
    sizes = len(weights["source/embeddings"]), len(weights["target/embeddings"])
    model = Model(*sizes, weights["combining_kernel"].shape[1])
    model.load(weights)
    return model


def decode(folder: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Writes texts for sources, sorted by length."""
    model = model_of(folder, "last")
    if question.get("own"):
        model.load_state_dict(torch.load(folder / "torch.pt"))
    model.eval()
    sources = [np.array(row) for row in question["sources"]]
    order = np.argsort([-len(row) for row in sources], kind="stable")
    beams, size = question["beams"], question["batch_size"]
    found: list[list[int]] = [[] for _ in sources]

    def run(rows: np.ndarray) -> None:
        ids = torch.zeros((len(rows), max(len(sources[row]) for row in rows)), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(sources[row])] = torch.from_numpy(sources[row])
        written = greedy(model, ids) if beams == 1 else beam_search(model, ids, beams, question["penalty"])
        for row, text in zip(rows, written, strict=True):
            found[row] = text

    run(order[:size])
    begun = time.process_time()
    for start in range(0, len(order), size):
        run(order[start : start + size])
    seconds = time.process_time() - begun
    return {"tokens_per_cpu_second": round(sum(len(text) + 1 for text in found) / seconds), "texts": found}


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    asked = json.loads(Path(sys.argv[1]).read_text())
    place = Path(asked["folder"])
    answer = {"train": train, "decode": decode}[asked["do"]](place, asked)
    Path(sys.argv[2]).write_text(json.dumps(answer))
