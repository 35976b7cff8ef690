"""The loader: order, hosts, drops, state, and what it says when something breaks."""

import collections
import dataclasses
import itertools
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from codepmp_jax import shards
from codepmp_jax.config import DataConfig
from codepmp_jax.data import loader
from codepmp_jax.data.loader import PairLoader
from codepmp_jax.errors import UserError
from codepmp_jax.records import PreferencePair, content_id
from codepmp_jax.shards import ShardedDataset
from codepmp_jax.tokenization import Tokenizer

CONFIG = DataConfig(max_length=24)
NUM_PAIRS = 41


def make_pair(i: int) -> PreferencePair:
    """Pair i; every 7th is too long for 24 tokens, every 11th identical."""
    chosen = f"return {i}" + " + x * y" * (12 if i % 7 == 3 else i % 3)
    rejected = chosen if i % 11 == 5 else f"return -{i}"
    texts = (f"Number {i}", chosen, rejected)
    return PreferencePair(content_id(*texts), *texts, margin=i / 8)


PAIRS = [make_pair(i) for i in range(NUM_PAIRS)]
IDS = [pair.pair_id for pair in PAIRS]


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch):
    """Groups far smaller than an epoch, so that batches and states fall inside them."""
    monkeypatch.setattr(loader, "_GROUP_RECORDS", 6)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load("embedded")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ShardedDataset:
    folder = tmp_path_factory.mktemp("pairs")
    written = shards.write_split(folder, "train", PAIRS, 3)
    shards.write_manifest(folder, PreferencePair, {"train": written}, {})
    return ShardedDataset(folder, PreferencePair, "train")


@pytest.fixture(scope="module")
def kept(tokenizer) -> dict[str, int]:
    """Brute force: tokens of each pair that is kept."""
    tokens = {}
    for pair in PAIRS:
        rows = tokenizer.encode(tokenizer.format_pair(pair, CONFIG.template))
        lengths = [len(row.tokens) for row in rows]
        if max(lengths) <= CONFIG.max_length and pair.chosen != pair.rejected:
            tokens[pair.pair_id] = sum(lengths)
    assert 25 < len(tokens) < NUM_PAIRS
    return tokens


def ids_of(pairs: PairLoader, num_batches: int) -> list[str]:
    return [name for _ in itertools.islice(pairs, num_batches) for name in pairs.last_pair_ids]


def test_shuffled_epochs_visit_each_record_exactly_once(dataset, tokenizer, kept):
    pairs = PairLoader(dataset, tokenizer, CONFIG, batch_pairs=1, seed=3)
    epochs = [ids_of(pairs, len(kept)) for _ in range(3)]
    assert all(sorted(epoch) == sorted(kept) for epoch in epochs)
    in_order = [name for name in IDS if name in kept]
    assert len({tuple(epoch) for epoch in [*epochs, in_order]}) == 4
    again = PairLoader(dataset, tokenizer, CONFIG, batch_pairs=1, seed=3)
    assert ids_of(again, len(kept)) == epochs[0]
    other = PairLoader(dataset, tokenizer, CONFIG, batch_pairs=1, seed=4)
    assert ids_of(other, len(kept)) != epochs[0]


def test_without_shuffle_pairs_come_in_file_order(dataset, tokenizer, kept):
    config = dataclasses.replace(CONFIG, shuffle=False)
    pairs = PairLoader(dataset, tokenizer, config, batch_pairs=4)
    ids = ids_of(pairs, 20)
    assert ids == list(itertools.islice(itertools.cycle(kept), 80))


def test_hosts_are_disjoint_and_complete(dataset, tokenizer, kept):
    for count in (2, 3):
        # NUM_PAIRS rounds of the hosts are `count` epochs, of which each host sees its share.
        hosts = [
            PairLoader(
                dataset, tokenizer, CONFIG, batch_pairs=1, process_index=i, process_count=count
            )
            for i in range(count)
        ]
        seen = collections.Counter()
        for host in hosts:
            while host.state()["next_record"] < NUM_PAIRS:
                next(host)
                if host.state()["next_record"] <= NUM_PAIRS:
                    seen.update(host.last_pair_ids)
        assert seen == dict.fromkeys(kept, count)


def test_hosts_take_turns_in_the_global_order(dataset, tokenizer):
    config = dataclasses.replace(CONFIG, max_length=1024, length_policy="truncate")
    whole = PairLoader(dataset, tokenizer, config, batch_pairs=1)
    order = ids_of(whole, 60)
    identical = {pair.pair_id for pair in PAIRS if pair.chosen == pair.rejected}
    for i in range(2):
        host = PairLoader(
            dataset, tokenizer, config, batch_pairs=1, process_index=i, process_count=2
        )
        ids = ids_of(host, 20)
        assert not identical & set(ids)
        places = [order.index(name) for name in ids[:10]]
        assert places == sorted(places)


def test_counts_are_those_of_brute_force(dataset, tokenizer, kept):
    config = dataclasses.replace(CONFIG, shuffle=False)
    pairs = PairLoader(dataset, tokenizer, config, batch_pairs=len(kept))
    assert pairs.counts == {"pairs": 0, "too_long": 0, "identical": 0, "tokens": 0}
    batch = next(pairs)
    identical = sum(
        pair.chosen == pair.rejected
        and len(tokenizer.encode(tokenizer.format_pair(pair, CONFIG.template))[0].tokens) <= 24
        for pair in PAIRS
    )
    dropped_after_the_last = NUM_PAIRS - 1 - IDS.index(list(kept)[-1])
    assert dropped_after_the_last == 0
    assert pairs.counts == {
        "pairs": len(kept),
        "too_long": NUM_PAIRS - len(kept) - identical,
        "identical": identical,
        "tokens": sum(kept.values()),
    }
    assert batch.token_mask.sum() == sum(kept.values())
    assert batch.pair_mask.all()
    next(pairs)
    assert pairs.counts["pairs"] == 2 * len(kept)


def test_batch_holds_the_pairs_texts(dataset, tokenizer, kept):
    pairs = PairLoader(dataset, tokenizer, CONFIG, batch_pairs=3)
    batch = next(pairs)
    by_id = dict(zip(IDS, PAIRS, strict=True))
    for i, name in enumerate(pairs.last_pair_ids):
        assert batch.margin[i] == by_id[name].margin
        for side, response in enumerate((by_id[name].chosen, by_id[name].rejected)):
            tokens = batch.tokens[i, side]
            text = tokenizer.backend.decode(tokens[batch.token_mask[i, side]].tolist())
            assert text == f"Instruction:{by_id[name].prompt}\n\nResponse:{response}"
            labels = tokens[batch.response_mask[i, side]].tolist()
            assert tokenizer.backend.decode(labels) == response
            assert (tokens[~batch.token_mask[i, side]] == tokenizer.pad_id).all()


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_restored_loader_goes_on_exactly_after_every_batch(dataset, tokenizer):
    def make() -> PairLoader:
        return PairLoader(dataset, tokenizer, CONFIG, batch_pairs=5, seed=1)

    whole = make()
    states, batches, counts = [whole.state()], [], [whole.counts]
    for _ in range(12):
        batches.append((next(whole), whole.last_pair_ids))
        states.append(whole.state())
        counts.append(whole.counts)
    for n, state in enumerate(states[:-1]):
        state = json.loads(json.dumps(state))
        restored = make()
        restored.restore(state)
        assert restored.counts == counts[n]
        for batch, ids in batches[n : n + 2]:
            assert same(next(restored), batch)
            assert restored.last_pair_ids == ids
    # Also in the same loader, back and forth.
    whole.restore(states[2])
    assert same(next(whole), batches[2][0])
    assert whole.state() == states[3]


def test_state_depends_on_neither_workers_nor_groups(dataset, tokenizer, monkeypatch):
    """Threads and processes continue one another."""

    def make(num_workers: int) -> PairLoader:
        config = dataclasses.replace(CONFIG, num_workers=num_workers)
        return PairLoader(dataset, tokenizer, config, batch_pairs=5, seed=1)

    whole = make(0)
    expected = [next(whole) for _ in range(15)]
    state, done = None, 0
    for group, num_workers in ((64, 0), (8, 2), (2, 0)):
        monkeypatch.setattr(loader, "_GROUP_RECORDS", group)
        part = make(num_workers)
        if state is not None:
            part.restore(state)
        for batch in expected[done : done + 5]:
            assert same(next(part), batch)
        state, done = part.state(), done + 5
        part.close()
    assert state == whole.state()


def test_state_of_another_kind_is_refused(dataset, tokenizer):
    pairs = PairLoader(dataset, tokenizer, CONFIG, batch_pairs=5)
    with pytest.raises(UserError, match="must hold next_record, batches, pairs"):
        pairs.restore({"next_index": 3})


def test_one_pass_is_complete_in_order_and_of_equal_length_on_all_hosts(dataset, tokenizer, kept):
    for count, batch_pairs in ((1, 8), (2, 8), (3, 4), (50, 2)):
        order = {}
        for i in range(count):
            host = PairLoader(
                dataset,
                tokenizer,
                CONFIG,
                batch_pairs=batch_pairs,
                process_index=i,
                process_count=count,
                repeat=False,
            )
            batches = list(host)
            num_batches = math.ceil(math.ceil(NUM_PAIRS / count) / batch_pairs)
            assert len(batches) == host.num_batches == num_batches
            assert host.counts["pairs"] == sum(batch.pair_mask.sum() for batch in batches)
            assert list(host) == []
            host.restore(host.state() | dict.fromkeys(host.state(), 0))
            ids = ids_of(host, len(batches))
            assert ids == [name for name in IDS[i::count] if name in kept]
            order |= dict.fromkeys(ids)
        assert order.keys() == kept.keys()


def test_one_pass_resumes(dataset, tokenizer):
    def make() -> PairLoader:
        return PairLoader(dataset, tokenizer, CONFIG, batch_pairs=8, repeat=False)

    whole = make()
    batches, states = [], []
    for batch in whole:
        batches.append(batch)
        states.append(whole.state())
    for n, state in enumerate(states):
        part = make()
        part.restore(state)
        rest = list(part)
        assert len(rest) == len(batches) - n - 1
        assert all(same(a, b) for a, b in zip(rest, batches[n + 1 :], strict=True))


def test_few_pairs_wrap_around_to_fill_a_batch(tokenizer):
    pairs = PairLoader([PAIRS[0], PAIRS[3], PAIRS[1]], tokenizer, CONFIG, batch_pairs=7)
    batch = next(pairs)
    assert batch.pair_mask.all()
    counts = collections.Counter(pairs.last_pair_ids)
    assert set(counts) == {IDS[0], IDS[1]}
    assert sorted(counts.values()) == [3, 4]
    single = PairLoader([PAIRS[0]], tokenizer, CONFIG, batch_pairs=2)
    next(single)
    assert single.last_pair_ids == [IDS[0], IDS[0]]


def test_nothing_kept_is_an_error_and_no_endless_loop(tokenizer):
    config = dataclasses.replace(CONFIG, max_length=5)
    pairs = PairLoader(PAIRS, tokenizer, config, batch_pairs=2)
    with pytest.raises(UserError, match=r"no pair was kept of 41 in a row .*raise data.max_length"):
        next(pairs)
    with pytest.raises(UserError, match="holds no pairs"):
        PairLoader([], tokenizer, config, batch_pairs=2)
    # One pass tells the truth: as many batches as said, all filler.
    one_pass = PairLoader(PAIRS, tokenizer, config, batch_pairs=8, repeat=False)
    assert [batch.pair_mask.any() for batch in one_pass] == [False] * 6
    assert one_pass.counts["too_long"] == NUM_PAIRS
    assert one_pass.counts["pairs"] == 0


def test_paper_window_and_eos_reach_the_batch(tokenizer):
    config = dataclasses.replace(
        *(CONFIG,),
        response_window="paper",
        append_eos=True,
        length_policy="truncate",
        max_length=12,
    )
    pair = PAIRS[3]
    pairs = PairLoader([pair], tokenizer, config, batch_pairs=1)
    batch = next(pairs)
    alone = len(tokenizer.backend.encode(pair.chosen).ids) + 1
    assert alone > 12
    assert batch.response_mask[0, 0].all()
    alone = len(tokenizer.backend.encode(pair.rejected).ids) + 1
    assert batch.response_mask[0, 1].sum() == min(alone, 12)
    full = PairLoader([pair], tokenizer, dataclasses.replace(config, max_length=99), batch_pairs=1)
    batch = next(full)
    last = batch.token_mask[0, 1].sum() - 1
    assert batch.tokens[0, 1, last] == tokenizer.eos_id
    assert batch.response_mask[0, 1, last]


def test_eos_that_is_pad_is_refused_at_once(dataset, tokenizer):
    clash = dataclasses.replace(tokenizer, pad_id=tokenizer.eos_id)
    config = dataclasses.replace(CONFIG, append_eos=True)
    with pytest.raises(UserError, match="pad and EOS of the tokenizer embedded are the same token"):
        PairLoader(dataset, clash, config, batch_pairs=2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_shard_is_named(dataset, tokenizer, tmp_path, num_workers):
    for path in dataset.directory.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "train.array_record-00001-of-00003":
            data[1000:1500] = bytes(500)
        (tmp_path / path.name).write_bytes(data)
    damaged = ShardedDataset(tmp_path, PreferencePair, "train", verify=False)
    config = dataclasses.replace(CONFIG, shuffle=False, num_workers=num_workers)
    pairs = PairLoader(damaged, tokenizer, config, batch_pairs=4)
    with pytest.raises(UserError, match=r"00001-of-00003: shard is damaged at record \d+"):
        ids_of(pairs, 20)
    pairs.close()


def test_dead_worker_is_one_clear_error(dataset, tokenizer):
    config = dataclasses.replace(CONFIG, num_workers=1)
    pairs = PairLoader(dataset, tokenizer, config, batch_pairs=4)
    next(pairs)
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match=r"a tokenizer process died after record \d+ of this host"):
        ids_of(pairs, 1000)
    pairs.close()


def test_unrenderable_conversation_names_the_pair(tokenizer):
    pair = PreferencePair("id7", "[]", "[]", "[]", is_conversation=True)
    silent = dataclasses.replace(tokenizer, chat_template=None)
    pairs = PairLoader([pair], silent, CONFIG, batch_pairs=1)
    with pytest.raises(UserError, match=r"pair id7: .*no chat template"):
        next(pairs)


SCRIPT = """
import sys
from codepmp_jax.config import DataConfig
from codepmp_jax.data.loader import PairLoader
from codepmp_jax.records import PreferencePair
from codepmp_jax.shards import ShardedDataset
from codepmp_jax.tokenization import Tokenizer

if __name__ == "__main__":
    dataset = ShardedDataset(sys.argv[1], PreferencePair, "train")
    config = DataConfig(max_length=24, num_workers=2)
    pairs = PairLoader(dataset, Tokenizer.load("embedded"), config, batch_pairs=4)
    next(pairs)
    print(pairs.counts["pairs"], sorted({"torch", "tensorflow", "transformers"} & set(sys.modules)))
"""


def test_plain_script_runs_and_exits_without_close(dataset, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), str(dataset.directory)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 []\n", "")
