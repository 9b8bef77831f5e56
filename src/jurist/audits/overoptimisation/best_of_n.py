"""Choosing the best of n answers by a proxy: how far that goes, and what it is worth to somebody else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..sheet import Array


@dataclass(frozen=True)
class Curve:
    """What becomes of each prompt when the proxy chooses among n; a column for each n."""

    n: tuple[int, ...]
    kl: Array
    """Nats an answer."""
    proxy: Array
    gold: Array


def best_of_n_kl(n: float) -> float:
    """KL(best of n | policy) where no two answers have the same score; more where some have."""
    return math.log(n) - (n - 1) / n


def tied_kl(masses: Array, n: float) -> float:
    """The same where scores repeat: the share of the policy's answers at each score, from the lowest score.
    Of equal ones any may be chosen. A judge with five marks tells answers apart only so far.
    """
    share = np.asarray(masses, dtype=float)
    share = share[share > 0] / share.sum()
    above = np.minimum(1.0, np.cumsum(share))
    chosen = np.diff(above**n, prepend=0.0)
    some = chosen > 0
    return float(chosen[some] @ np.log(chosen[some] / share[some]))


def best_of_n_curve(proxy: Array, gold: Array, ns: Sequence[int] = ()) -> Curve:
    """From scores of the same N answers to each prompt (a row each) by two judges, for every n up to N.

    What the best of n is worth is estimated from all N, without bias (Nakano et al. 2021, appendix I):
    the answer at rank i is chosen with probability C(i-1, n-1) / C(N, n). Equal scores share their ranks.
    """
    rows, among = proxy.shape
    n = tuple(ns) or tuple(2**i for i in range(among.bit_length()))
    order = np.argsort(proxy, axis=1, kind="stable")
    sorted_proxy, sorted_gold = (np.take_along_axis(one, order, axis=1) for one in (proxy, gold))
    fresh = np.ones((rows, among), dtype=bool)
    fresh[:, 1:] = np.diff(sorted_proxy, axis=1) > 0
    tie = np.cumsum(fresh).reshape(rows, among) - 1  # a number for each group of equals, in all rows
    size = np.bincount(tie.reshape(-1))
    shared = (np.bincount(tie.reshape(-1), sorted_gold.reshape(-1)) / size)[tie]
    golds, proxies, kls = [], [], []
    for one in n:
        weight = _chosen(among, one)
        golds.append(shared @ weight)
        proxies.append(sorted_proxy @ weight)
        kls.append(_kl(tie, size, one))
    return Curve(n, *(np.stack(part, axis=1) for part in (kls, proxies, golds)))


def _chosen(among: int, n: int) -> Array:
    """How probably each rank, from the lowest, is the best of n drawn from so many."""
    below = np.array([_log_choose(i, n) for i in range(among + 1)])
    return np.diff(np.exp(below - below[-1]))


def _log_choose(of: int, n: int) -> float:
    if of < n:
        return -math.inf
    return math.lgamma(of + 1) - math.lgamma(n + 1) - math.lgamma(of - n + 1)


def _kl(tie: Array, size: Array, n: int) -> Array:
    """Of each prompt. Equals are a lump of the policy; a score that nobody shares is one of a continuum."""
    rows, among = tie.shape
    first = np.searchsorted(tie.reshape(-1), np.arange(len(size)))
    low = first % among / among
    high, share = low + size / among, size / among
    chosen = high**n - low**n
    lump = chosen * np.log(np.maximum(chosen, 1e-300) / share)
    part = np.where(size > 1, lump, _continuum(high, n) - _continuum(low, n))
    found: Array = np.bincount(first // among, part, minlength=rows)
    return found


def _continuum(u: Array, n: int) -> Array:
    """The integral from 0 to u of n u^(n-1) ln(n u^(n-1))."""
    logs = np.log(np.maximum(u, 1e-300))
    found: Array = u**n * (math.log(n) + (n - 1) * (logs - 1 / n))
    return found
