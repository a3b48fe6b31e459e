"""The exercises of 04_chat_and_loss: flags, the masked loss, the mask of a packed row, the streaming loss."""

import re
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np

from helptune.data.packing import Example, collate
from helptune.exercises.check import check
from helptune.exercises.mistakes import Known, Mistake, expect
from helptune.gemma.attention import distances
from helptune.gemma.chat import render
from helptune.train.loss import token_nll

_WORDS: Any = SimpleNamespace(encode=re.compile(r"\n|[^\n ]+").findall)
_MARKS: Any = SimpleNamespace(turn_start="<start_of_turn>", turn_end="<end_of_turn>")


@check
def own_tokens(answer, seed: int = 0) -> None:
    """Which tokens of a chat are the model's own.

    `answer(turns)` with turns [(role, number of text tokens), ...] gives a list of True and False, one a token.
    """
    rng = np.random.default_rng(seed)
    turns = [(role, int(n)) for role, n in zip(("user", "assistant") * 2, rng.integers(2, 7, 4), strict=True)]
    pieces, right = render([{"role": role, "content": "word " * n} for role, n in turns], _WORDS, _MARKS)
    flags = np.array(right)
    ends = np.array([piece == "<end_of_turn>" for piece in pieces])
    own_ends = ends & flags
    after_end = np.roll(own_ends, 1)
    last = np.arange(len(flags)) >= np.flatnonzero(ends)[-2]
    users = np.array(render([{"role": _other(r), "content": "word " * n} for r, n in turns], _WORDS, _MARKS)[1])
    header = np.isin(pieces, ["user", "model", "<start_of_turn>"]) | np.roll(np.isin(pieces, ["user", "model"]), 1)
    known = [
        Known("end_forgotten", flags & ~ends, "an answer's <end_of_turn> is the model's own, too: without it nothing stops"),
        Known("every_end", flags | ends, "the <end_of_turn> of a user's turn is not the model's: the user's program wrote it"),
        Known("newline_after_end", flags | after_end, "the line break after <end_of_turn> is the template's"),
        Known("header", flags | (header & _in_model_turns(flags, header)), "the model's turn is opened for it: <start_of_turn>, model and line break do not count"),
        Known("last_answer_only", flags & last, "every answer counts, not the last one alone"),
        Known("users_tokens", users, "these are the user's tokens: the assistant's are wanted"),
        Known("nothing", np.zeros_like(flags), "no token is flagged: in `turns` the role is called assistant, `model` is the template's word"),
        Known("everything", np.ones_like(flags), "all tokens count here: those of a prompt are there to be read only"),
        Known("shifted", np.roll(flags, -1), "each flag stands one token too early: flags belong to tokens; the shift comes with the loss"),
    ]  # fmt: skip
    found = answer([list(turn) for turn in turns])
    if hasattr(found, "__len__") and len(found) == len(flags) - 1:
        raise Mistake("no_bos", "one token is missing: <bos> comes first, and is not the model's own")
    if hasattr(found, "__len__") and len(found) == len(flags) - len(turns):
        raise Mistake("no_newline", "one token a turn is missing: a line break follows each <end_of_turn>")
    expect(found, flags, known, what="the list of flags")


def _other(role: str) -> str:
    return {"user": "assistant", "assistant": "user"}[role]


def _in_model_turns(flags: np.ndarray, header: np.ndarray) -> np.ndarray:
    """Header tokens that are followed by the model's text: three tokens, the last of them right before it."""
    starts = np.flatnonzero(flags & ~np.roll(flags, 1))
    inside = np.zeros_like(header)
    for start in starts:
        inside[start - 3 : start] = True
    return inside


@check
def response_loss(answer, seed: int = 0) -> None:
    """The loss of the responses, from logits: shifted, masked, token-weighted.

    `answer(logits, tokens, own)` with logits [B, T, V], tokens [B, T], own [B, T] (True: the model's) gives a number.
    """
    logits, tokens, own = _chats(seed)
    nll = _library(logits, tokens)
    targets, real = own[:, 1:], tokens[:, 1:] != 0
    here = _nll(logits, tokens)  # each position asked for the token it has just read
    behind = _nll(logits[:, 1:], tokens[:, :-1])
    across = _nll(logits[:, :-1], tokens[:, 1:], axis=1)
    right = _mean(nll, targets)
    known = [
        Known("no_shift", _mean(here, own), "position t is asked for token t, which it has just read: the target is token t + 1"),
        Known("wrong_way", _mean(behind, own[:, :-1]), "shifted the wrong way: position t predicts the token after it, not the one before"),
        Known("flags_not_shifted", _mean(nll, own[:, :-1]), "the targets are shifted and the flags are not: a flag belongs to its token, so to the target"),
        Known("prompt_counts", _mean(nll, real), "the tokens of the prompt are in the loss: only those flagged `own` count"),
        Known("padding_counts", _mean(nll, targets | ~real), "padding is in the loss: only tokens flagged `own` count"),
        Known("everything_counts", _mean(nll, np.ones_like(targets)), "every position is in the loss: only tokens flagged `own` count"),
        Known("mean_over_all", float((nll * targets).sum() / targets.size), "the sum is divided by the number of positions: divide by how many tokens count"),
        Known("mean_over_real", float((nll * targets).sum() / real.sum()), "the sum is divided by the number of all real tokens: divide by how many count"),
        Known("mean_of_means", float(np.mean([_mean(n, t) for n, t in zip(nll, targets, strict=True)])), "a mean of the rows' means: a token of a short answer weighs more. Add over all rows, divide once"),
        Known("sum", float((nll * targets).sum()), "this is the sum: divide it by how many tokens count"),
        Known("sign", -right, "the sign: a surprise is minus the logarithm of a probability"),
        Known("no_log_sum_exp", _mean(-_taken(logits[:, :-1], tokens[:, 1:]), targets), "minus the target's score alone: the log-sum-exp over the vocabulary is missing"),
        Known("probability", _mean(1 - np.exp(-nll), targets), "1 - p is no cross-entropy: take minus the logarithm of p"),
        Known("wrong_axis", _mean(across, targets), "the softmax runs over the positions: it belongs over the vocabulary, the last axis"),
        Known("log_2", right / np.log(2), "these are bits: nats have the natural logarithm"),
    ]  # fmt: skip
    expect(answer(logits, tokens, own), right, known, what="the loss", rtol=1e-5)
    found = answer(1_000 * logits, tokens, own)
    if not np.all(np.isfinite(np.asarray(found, np.float64))):
        raise Mistake("overflow", "with large logits the result is no number: take the maximum out before exp")
    expect(found, _mean(_library(1_000 * logits, tokens), targets), what="the loss of large logits")


def _library(logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """The library's surprise of tokens 1, 2, ...: logits are hidden states whose embedding is the identity."""
    return _surprise(logits[:, :-1], np.eye(logits.shape[-1], dtype=np.float32), tokens[:, 1:])


def _surprise(hidden: np.ndarray, embedding: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.asarray(token_nll(*map(jnp.asarray, (hidden, embedding, targets))))


def _chats(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(logits, tokens, own) of four chats: prompt, answer, end, line break, padding; answers of unequal length."""
    rng = np.random.default_rng(seed)
    B, T, V = 4, 14, 11
    sure = np.array([3, 8, 5, 7])[:, None, None]  # short answers are surer: their rows' means are apart
    logits = (rng.normal(0, 1, (B, T, V)) * sure).astype(np.float32)
    tokens, own = np.zeros((B, T), np.int32), np.zeros((B, T), bool)
    for row, (prompt, response) in enumerate(((3, 9), (5, 2), (4, 5), (6, 3))):
        tokens[row, : prompt + response + 1] = rng.integers(1, V, prompt + response + 1)
        own[row, prompt : prompt + response] = True
    return logits, tokens, own


def _taken(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return np.take_along_axis(logits.astype(np.float64), targets[..., None], axis=-1)[..., 0]


def _nll(logits: np.ndarray, targets: np.ndarray, axis: int = -1) -> np.ndarray:
    scores = logits.astype(np.float64)
    return _taken(scores - np.log(np.exp(scores).sum(axis=axis, keepdims=True)), targets) * -1


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / weights.sum())


@check
def packed_row(answer, seed: int = 0) -> None:
    """Positions and mask of a packed row, from its segments.

    `answer(segments)` with segments [T], 0 for padding, gives (positions [T], mask [T, T]).
    """
    rng = np.random.default_rng(seed)
    lengths = [int(n) for n in rng.integers(2, 6, 3)]
    T = sum(lengths) + 3
    batch = collate([Example((1,) * (n + 1), (True,) * (n + 1)) for n in lengths], [[0, 1, 2]], T, 1)
    segments, positions = np.asarray(batch.segments[0]), np.asarray(batch.positions[0])
    found = answer(segments)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise Mistake("wrong_structure", "two things are wanted: return positions, mask")
    place, real = np.arange(T), segments != 0
    from_the_end = np.concatenate([*(np.arange(n)[::-1] for n in lengths), np.zeros(3)])
    known = [
        Known("no_restart", place, "positions run on: each conversation starts at 0 again"),
        Known("no_restart", place * real, "positions run on: each conversation starts at 0 again"),
        Known("starts_at_one", (positions + 1) * real, "the first token of a conversation has position 0"),
        Known("starts_at_one", positions + 1 * real + _in_padding(real), "the first token of a conversation has position 0"),
        Known("padding_positions", positions + _in_padding(real), "padding is counted like a conversation: its positions are 0"),
        Known("padding_positions", np.where(real, positions, place), "padding is counted: its positions are 0"),
        Known("padding_positions", np.where(real, positions, -1), "padding is at -1: its positions are 0"),
        Known("backwards", from_the_end, "positions count down: the first token has 0"),
        Known("segments_returned", segments, "these are the segments: a position counts the tokens before, of the same one"),
    ]  # fmt: skip
    expect(np.asarray(found[0]), positions, known, what="positions")
    every = (batch.positions, batch.segments)
    right = np.asarray(distances(*every, *every))[0] >= 0
    same, causal = segments[:, None] == segments[None, :], place[:, None] >= place[None, :]
    both = real[:, None] & real[None, :]
    known = [
        Known("segments_leak", causal & both, "conversations see each other: a token sees those of its own segment only"),
        Known("segments_leak", causal, "conversations see each other: a token sees those of its own segment only"),
        Known("future_seen", same & both, "the future is seen: only tokens that are not later may be"),
        Known("future_seen", same, "the future is seen: only tokens that are not later may be"),
        Known("anti_causal", right.T, "the wrong way round: row t says whom t sees, and those are not later than t"),
        Known("anti_causal", same & causal.T, "the wrong way round: row t says whom t sees, and those are not later than t"),
        Known("padding_sees", same & causal, "padding sees padding: it is no conversation, segment 0 sees nothing"),
        Known("not_itself", right & ~np.eye(T, dtype=bool), "a token sees itself, too: not later includes the same place"),
        Known("by_position", positions[:, None] >= positions[None, :], "positions alone do not tell conversations apart: compare segments, too"),
        Known("inverted", ~right, "inverted: True where a token is seen, False where it is not"),
    ]  # fmt: skip
    expect(np.asarray(found[1]), right, known, what="the mask")


def _in_padding(real: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... along the padding, 0 elsewhere."""
    return np.where(real, 0, np.arange(len(real)) - real.sum())


@check
def streaming_nll(answer, seed: int = 0) -> None:
    """The surprise of targets, the vocabulary visited block by block.

    `answer(hidden, embedding, targets, size)` with hidden [P, D], embedding [V, D], targets [P] gives nll [P].
    """
    rng = np.random.default_rng(seed)
    P, D, V, size = 6, 4, 27, 8
    hidden, embedding = rng.normal(0, 1.2, (P, D)).astype(np.float32), rng.normal(0, 1, (V, D)).astype(np.float32)
    embedding *= np.linspace(0.5, 1.5, V, dtype=np.float32)[:, None]  # the largest scores are in no first block
    targets = rng.integers(0, V - V % size, P).astype(np.int32)
    targets[-1] = V - 1  # in the last, shorter block
    scores = hidden.astype(np.float64) @ embedding.astype(np.float64).T
    own = _taken(scores, targets)
    blocks = [scores[:, start : start + size] for start in range(0, V, size)]
    sums = [np.log(np.exp(block).sum(axis=1)) for block in blocks]
    whole = np.logaddexp.reduce(sums, axis=0)
    maxima = np.maximum.accumulate([block.max(axis=1) for block in blocks], axis=0)
    unscaled = sum(np.exp(block - m[:, None]).sum(axis=1) for block, m in zip(blocks, maxima, strict=True))
    decay = np.exp(np.diff(maxima, axis=0))
    upside_down = np.exp(blocks[0] - maxima[0][:, None]).sum(axis=1)
    for block, m, factor in zip(blocks[1:], maxima[1:], decay, strict=True):
        upside_down = upside_down * factor + np.exp(block - m[:, None]).sum(axis=1)
    known = [
        Known("no_rescale", maxima[-1] + np.log(unscaled) - own, "the old sum keeps its old maximum: multiply it by exp(old - new) before adding"),
        Known("rescale_upside_down", maxima[-1] + np.log(upside_down) - own, "the old sum is multiplied by exp(new - old): it is exp(old - new)"),
        Known("last_block_left_out", np.logaddexp.reduce(sums[:-1], axis=0) - own, "the last block is left out: V is no multiple of size, some words remain"),
        Known("last_block_only", sums[-1] - own, "only the last block is left: the sums of the blocks before were overwritten"),
        Known("mean_of_blocks", np.mean(sums, axis=0) - own, "a mean over the blocks: their sums of exponentials add up"),
        Known("sum_of_logs", np.sum(sums, axis=0) - own, "logarithms are added: add the sums of exponentials, take one logarithm at the end"),
        Known("maximum_not_put_back", whole - maxima[-1] - own, "the maximum is not put back: log-sum-exp is m + log s"),
        Known("no_log", maxima[-1] + np.exp(whole - maxima[-1]) - own, "the logarithm of the sum is missing"),
        Known("no_target", whole, "this is the log-sum-exp: take the target's score off it"),
        Known("sign", own - whole, "the sign: log-sum-exp minus the target's score"),
        Known("maximum_only", maxima[-1] - own, "the largest score is not the log-sum-exp: the other words count, too"),
        Known("averaged", np.full(P, (whole - own).mean()), "one number a position is wanted, not their mean"),
    ]  # fmt: skip
    found = answer(hidden, embedding, targets, size)
    expect(found, _surprise(hidden, embedding, targets), known, what="nll")
    _extremes(answer, embedding, targets, size)


def _extremes(answer, embedding: np.ndarray, targets: np.ndarray, size: int) -> None:
    """Scores of +-2,000 and more, where exp overflows or gives zero in float32 and in float64."""
    P, D = len(targets), embedding.shape[1]
    for offset, hint, text in (
        (2_000, "overflow", "with large scores the result is no number: take the maximum out before exp"),
        (-2_000, "starts_at_zero", "with very negative scores the result is no number: the maximum so far starts at -inf, not at 0"),
        (2_000 * (-1) ** np.arange(P), "shared_maximum", "where one position's scores are large and another's small the result is no number: each position needs its own maximum"),
    ):  # fmt: skip
        hidden = np.concatenate([np.zeros((P, D)), np.broadcast_to(offset, P)[:, None]], axis=1).astype(np.float32)
        hidden[:, :D] = np.arange(P)[:, None] / P
        wide = np.concatenate([embedding, np.ones((len(embedding), 1))], axis=1).astype(np.float32)
        found = answer(hidden, wide, targets, size)
        if not np.all(np.isfinite(np.asarray(found, np.float64))):
            raise Mistake(hint, text)
        expect(found, _surprise(hidden, wide, targets), what="nll of extreme scores", rtol=1e-3, atol=1e-2)
