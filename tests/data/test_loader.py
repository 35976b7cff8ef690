"""The loader: order, hosts, drops, state, and what it says when something breaks."""

import collections
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from codepmp_jax.cli.errors import UserError, WorkerLostError
from codepmp_jax.config import DataConfig
from codepmp_jax.data import loader
from codepmp_jax.data.batch import concatenate
from codepmp_jax.data.layouts import layout_of
from codepmp_jax.data.loader import Loader
from codepmp_jax.data.one_pass import one_pass, require_accepted
from codepmp_jax.records import shards
from codepmp_jax.records.schema import PreferencePair, content_id
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.text.tokenization import REMARKS, Tokenizer
from tests.processes import LIMIT_SECONDS

CONFIG = DataConfig(max_length=24)
NUM_PAIRS = 41
LAYOUTS = ("padded", "packed", "shared")


def config_of(layout, **settings) -> DataConfig:
    """Four streams; packed rows hold up to 4 pairs, of which up to 8 wait."""
    row_length = None if layout == "padded" else 128
    defaults: dict[str, Any] = {"num_streams": 4, "packing_window": 8}
    return dataclasses.replace(
        CONFIG, layout=layout, row_length=row_length, **(defaults | settings)
    )


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
    monkeypatch.setattr(loader, "GROUP_RECORDS", 6)


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


def ids_of(pairs: Loader, num_batches: int) -> list[str]:
    return [name for _ in itertools.islice(pairs, num_batches) for name in pairs.last_record_ids]


def same(a, b) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def take(pairs: Loader, num_batches: int) -> list[Any]:
    """(batch, ids) of the next batches."""
    return [(next(pairs), pairs.last_record_ids) for _ in range(num_batches)]


def all_equal(a, b) -> bool:
    return all(same(x, y) and ids == names for (x, ids), (y, names) in zip(a, b, strict=True))


def test_shuffled_epochs_visit_each_record_exactly_once(dataset, tokenizer, kept):
    pairs = Loader(dataset, tokenizer, CONFIG, batch_rows=1, seed=3)
    epochs = [ids_of(pairs, len(kept)) for _ in range(3)]
    assert all(sorted(epoch) == sorted(kept) for epoch in epochs)
    in_order = [name for name in IDS if name in kept]
    assert len({tuple(epoch) for epoch in [*epochs, in_order]}) == 4
    again = Loader(dataset, tokenizer, CONFIG, batch_rows=1, seed=3)
    assert ids_of(again, len(kept)) == epochs[0]
    other = Loader(dataset, tokenizer, CONFIG, batch_rows=1, seed=4)
    assert ids_of(other, len(kept)) != epochs[0]


def test_without_shuffle_pairs_come_in_file_order(dataset, tokenizer, kept):
    config = dataclasses.replace(CONFIG, shuffle=False)
    pairs = Loader(dataset, tokenizer, config, batch_rows=4)
    ids = ids_of(pairs, 20)
    assert ids == list(itertools.islice(itertools.cycle(kept), 80))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_record_is_dealt_once_whatever_the_layout(tokenizer, layout):
    """What a stream has put in rows and what waits are its records so far, over several epochs."""
    source = [pair for pair in PAIRS if pair.chosen != pair.rejected]
    settings: dict[str, Any] = {"length_policy": "truncate"}
    single = config_of("padded", num_streams=1, **settings)
    order = ids_of(Loader(source, tokenizer, single, batch_rows=1), 24 * len(source))
    pairs = Loader(source, tokenizer, config_of(layout, **settings), batch_rows=8)
    seen = [collections.Counter() for _ in range(4)]
    for _ in range(9):
        batch = next(pairs)
        ids = iter(pairs.last_record_ids)
        in_rows = batch.item_mask.sum(1).reshape(4, 2).sum(1)
        for v, state in enumerate(pairs.state()):
            seen[v].update(itertools.islice(ids, in_rows[v]))
            waiting = collections.Counter(order[v::4][i] for i, _ in state["waiting"])
            assert seen[v] + waiting == collections.Counter(order[v::4][: state["next_record"]])
    assert pairs.counts["records"] == pairs.counts["pairs"] > len(source)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batches_do_not_depend_on_the_number_of_hosts(dataset, tokenizer, layout):
    config = config_of(layout)
    whole = Loader(dataset, tokenizer, config, batch_rows=8, seed=1)
    expected = take(whole, 5)
    for count in (2, 4):
        hosts = [
            Loader(
                dataset,
                tokenizer,
                config,
                batch_rows=8,
                seed=1,
                process_index=i,
                process_count=count,
            )
            for i in range(count)
        ]
        for batch, ids in expected:
            parts = [take(host, 1)[0] for host in hosts]
            rows = [part for part, _ in parts]
            assert all(len(part.tokens) == 8 // count for part in rows)
            assert same(concatenate(rows), batch)
            assert [name for _, names in parts for name in names] == ids
        assert [state for host in hosts for state in host.state()] == whole.state()
        for name, total in whole.counts.items():
            assert sum(host.counts[name] for host in hosts) == total


@pytest.mark.parametrize("layout", LAYOUTS)
def test_restored_loader_goes_on_exactly_after_every_batch(dataset, tokenizer, layout):
    def make() -> Loader:
        return Loader(dataset, tokenizer, config_of(layout), batch_rows=4, seed=1)

    whole = make()
    states, batches, counts = [whole.state()], [], [whole.counts]
    for _ in range(10):
        batches += take(whole, 1)
        states.append(whole.state())
        counts.append(whole.counts)
    for n, state in enumerate(states[:-1]):
        restored = make()
        restored.restore(json.loads(json.dumps(state)))
        assert restored.counts == counts[n]
        assert all_equal(take(restored, 2), batches[n : n + 2] + take(whole, n == 9))
    # Also in the same loader, back and forth.
    whole.restore(states[2])
    assert all_equal(take(whole, 1), batches[2:3])
    assert whole.state() == states[3]


def test_state_goes_on_with_other_hosts_workers_and_groups(dataset, tokenizer, monkeypatch):
    whole = Loader(dataset, tokenizer, config_of("shared"), batch_rows=8, seed=1)
    states, done = whole.state(), 0
    expected = take(whole, 12)
    for group, num_workers, count in ((64, 0, 2), (8, 3, 1), (5, 1, 1), (2, 0, 4)):
        monkeypatch.setattr(loader, "GROUP_RECORDS", group)
        config = config_of("shared", num_workers=num_workers)
        parts, ends = [], []
        for i in range(count):
            host = Loader(
                dataset,
                tokenizer,
                config,
                batch_rows=8,
                seed=1,
                process_index=i,
                process_count=count,
            )
            host.restore(states)
            parts.append(take(host, 3))
            # Of three workers, two: as many as divide the streams.
            assert len(multiprocessing.active_children()) == min(num_workers, 2)
            ends += host.state()
            host.close()
        for n, (batch, ids) in enumerate(expected[done : done + 3]):
            rows = [part[n][0] for part in parts]
            assert same(concatenate(rows), batch)
            assert [name for part in parts for name in part[n][1]] == ids
        states, done = ends, done + 3
    assert states == whole.state()


def test_counts_are_those_of_brute_force(dataset, tokenizer, kept):
    config = dataclasses.replace(CONFIG, shuffle=False)
    pairs = Loader(dataset, tokenizer, config, batch_rows=len(kept))
    assert set(pairs.counts.values()) == {0}
    batch = next(pairs)
    identical = sum(
        pair.chosen == pair.rejected
        and len(tokenizer.encode(tokenizer.format_pair(pair, CONFIG.template))[0].tokens) <= 24
        for pair in PAIRS
    )
    dropped_after_the_last = NUM_PAIRS - 1 - IDS.index(list(kept)[-1])
    assert dropped_after_the_last == 0
    expected = {
        "pairs": len(kept),
        "too_long": NUM_PAIRS - len(kept) - identical,
        "identical": identical,
        "empty": 0,
        "tokens": sum(kept.values()),
        "padded_tokens": 48 * len(kept),
        "labels": batch.label_mask.sum(),
        "records": NUM_PAIRS,
    }
    assert {name: pairs.counts[name] for name in expected} == expected
    assert (batch.segments > 0).sum() == sum(kept.values())
    assert batch.item_mask.all()
    next(pairs)
    assert pairs.counts["pairs"] == 2 * len(kept)


def test_batch_holds_the_pairs_texts(dataset, tokenizer):
    pairs = Loader(dataset, tokenizer, CONFIG, batch_rows=3)
    batch = next(pairs)
    by_id = dict(zip(IDS, PAIRS, strict=True))
    for i, name in enumerate(pairs.last_record_ids):
        pair = by_id[name]
        assert batch.margin[i] == pair.margin
        halves = zip(np.split(batch.tokens[i], 2), np.split(batch.segments[i], 2), strict=True)
        for (tokens, segments), response in zip(halves, (pair.chosen, pair.rejected), strict=True):
            text = tokenizer.backend.decode(tokens[segments == 1].tolist())
            assert text == f"Instruction:{pair.prompt}\n\nResponse:{response}"
            assert (tokens[segments == 0] == tokenizer.pad_id).all()
        labels = batch.labels[i][batch.label_mask[i]]
        assert tokenizer.backend.decode(labels.tolist()) == pair.chosen


def test_hosts_and_rows_must_divide_over_the_streams(dataset, tokenizer):
    def make(num_streams, batch_rows, process_count):
        config = dataclasses.replace(CONFIG, num_streams=num_streams)
        Loader(
            dataset,
            tokenizer,
            config,
            batch_rows=batch_rows,
            process_index=0,
            process_count=process_count,
        )

    make(6, 12, 3)
    with pytest.raises(UserError, match=r"data.num_streams = 6: .*number of hosts \(4\)"):
        make(6, 12, 4)
    with pytest.raises(UserError, match=r"data.num_streams = 6: .*rows of a batch \(8\)"):
        make(6, 8, 2)


def test_state_of_another_kind_is_refused(dataset, tokenizer):
    pairs = Loader(dataset, tokenizer, config_of("packed"), batch_rows=4)
    (state, *_) = states = pairs.state()
    with pytest.raises(UserError, match=r"data.num_streams = 4: must be 3"):
        pairs.restore(states[1:])
    for bad in ({"next_index": 3}, state | {"waiting": [7]}, state | {"pairs": "many"}):
        with pytest.raises(UserError, match="must hold next_record, waiting, pairs"):
            pairs.restore([bad, *states[1:]])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_pass_is_complete_and_does_not_depend_on_the_number_of_hosts(tokenizer, kept, layout):
    config = config_of(layout)

    def host(index, count):
        return one_pass(
            PAIRS,
            tokenizer,
            layout_of(config),
            batch_rows=4,
            process_index=index,
            process_count=count,
        )

    whole, counts, *_ = host(0, 1)
    assert sum(batch.item_mask.sum() for batch in whole) == counts["pairs"] == len(kept)
    assert counts["too_long"] + counts["identical"] + len(kept) == counts["records"] == NUM_PAIRS
    margins = np.concatenate([batch.margin[batch.item_mask] for batch in whole])
    assert sorted(margins) == [pair.margin for pair in PAIRS if pair.pair_id in kept]
    assert layout != "padded" or sorted(margins) == list(margins)
    assert len(whole) == -(-counts["padded_tokens"] // (4 * layout_of(config).row_tokens))
    for count in (2, 4):
        hosts = [host(i, count) for i in range(count)]
        assert all(found.counts == counts for found in hosts)
        for n, batch in enumerate(whole):
            assert same(concatenate([found.batches[n] for found in hosts]), batch)


def test_few_pairs_wrap_around_to_fill_a_batch(tokenizer):
    pairs = Loader([PAIRS[0], PAIRS[3], PAIRS[1]], tokenizer, CONFIG, batch_rows=7)
    batch = next(pairs)
    assert batch.item_mask.all()
    counts = collections.Counter(pairs.last_record_ids)
    assert set(counts) == {IDS[0], IDS[1]}
    assert sorted(counts.values()) == [3, 4]
    single = Loader([PAIRS[0]], tokenizer, CONFIG, batch_rows=2)
    next(single)
    assert single.last_record_ids == [IDS[0], IDS[0]]


def test_nothing_kept_is_an_error_and_no_endless_loop(tokenizer):
    config = dataclasses.replace(CONFIG, max_length=5)
    pairs = Loader(PAIRS, tokenizer, config, batch_rows=2)
    with pytest.raises(
        UserError, match=r"no pair was kept of 41 in a row; .*raise data.max_length"
    ):
        next(pairs)
    with pytest.raises(UserError, match="holds no pairs"):
        Loader([], tokenizer, config, batch_rows=2)
    batches, counts, refused, *_ = one_pass(
        PAIRS, tokenizer, layout_of(config), batch_rows=8, process_index=0, process_count=1
    )
    assert batches == refused == []
    assert (counts["pairs"], counts["too_long"], counts["records"]) == (0, NUM_PAIRS, NUM_PAIRS)


def test_paper_window_and_eos_reach_the_batch(tokenizer):
    config = dataclasses.replace(
        CONFIG,
        response_window="paper",
        append_eos=True,
        length_policy="truncate",
        max_length=12,
    )
    pair = PAIRS[3]
    batch = next(Loader([pair], tokenizer, config, batch_rows=1))
    alone = len(tokenizer.backend.encode(pair.chosen).ids) + 1
    assert alone > 12
    # All but the first token, which has none before it.
    assert batch.label_places[0][batch.label_mask[0]].tolist() == list(range(11))
    full = dataclasses.replace(config, max_length=99)
    batch = next(Loader([pair], tokenizer, full, batch_rows=1))
    assert batch.label_mask.sum() == alone
    assert batch.tokens[0, batch.ends[0, 0]].tolist() == [tokenizer.eos_id] * 2
    assert batch.labels[0, alone - 1] == tokenizer.eos_id


def test_eos_that_is_pad_is_refused_at_once(dataset, tokenizer):
    clash = dataclasses.replace(tokenizer, pad_id=tokenizer.eos_id)
    config = dataclasses.replace(CONFIG, append_eos=True)
    with pytest.raises(UserError, match="pad and EOS of the tokenizer embedded are the same token"):
        Loader(dataset, clash, config, batch_rows=2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_damaged_shard_is_named(dataset, tokenizer, tmp_path, num_workers):
    shutil.copytree(dataset.directory, tmp_path, dirs_exist_ok=True)
    copy = ShardedDataset(tmp_path, PreferencePair, "train")
    config = dataclasses.replace(CONFIG, shuffle=False, num_workers=num_workers)
    # Damaged only now: the type checker of the tests reads a record of its choice when the loader is made.
    pairs = Loader(copy, tokenizer, config, batch_rows=4)
    with (tmp_path / "train.array_record-00001-of-00003").open("r+b") as file:
        file.seek(1000)
        file.write(bytes(500))
    with pytest.raises(UserError, match=r"00001-of-00003: shard is damaged at record \d+"):
        ids_of(pairs, 20)
    pairs.close()


def test_dead_worker_is_one_clear_error(dataset, tokenizer):
    config = dataclasses.replace(CONFIG, num_workers=1)
    pairs = Loader(dataset, tokenizer, config, batch_rows=4)
    next(pairs)
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(
        WorkerLostError, match=r"a tokenizer process was killed after record \d+ of this host"
    ):
        ids_of(pairs, 1000)
    pairs.close()


def test_sigterm_to_the_group_leaves_the_workers_at_work(dataset, tokenizer):
    """It is the trainer's to say when they end: it reads on until it has saved."""
    config = dataclasses.replace(CONFIG, num_workers=1)
    pairs = Loader(dataset, tokenizer, config, batch_rows=4)
    next(pairs)
    (worker,) = multiprocessing.active_children()
    worker.terminate()
    assert len(ids_of(pairs, 20)) == 20 * 4
    assert worker.is_alive()
    pairs.close()
    assert not worker.is_alive()


def test_conversations_without_a_chat_template_end_the_run_at_its_first_batch(tokenizer):
    pair = PreferencePair("id7", "[]", "[]", "[]", is_conversation=True)
    silent = dataclasses.replace(tokenizer, chat_template=None)
    pairs = Loader([pair], silent, CONFIG, batch_rows=1)
    with pytest.raises(UserError, match=r"1 refused .*no chat template.* e\.g\. id7"):
        next(pairs)


def refusing(tokenizer) -> tuple[list[PreferencePair], Tokenizer]:
    """PAIRS with a conversation at every 5th place, of which the chat template refuses every other one."""
    pairs = list(PAIRS)
    for i in range(0, NUM_PAIRS, 5):
        role = "system" if i % 2 else "user"
        texts = (
            json.dumps([{"role": one, "content": f"{i} {text}"}])
            for one, text in ((role, "q"), ("assistant", "yes"), ("assistant", "no"))
        )
        pairs[i] = PreferencePair(f"c{i}", *texts, is_conversation=True)
    template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + tokenizer.chat_template
    )
    return pairs, dataclasses.replace(tokenizer, chat_template=template)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_refused_pairs_are_dropped_counted_and_named_also_on_resume(tokenizer, num_workers):
    pairs, strict = refusing(tokenizer)
    refused = {f"c{i}" for i in range(5, NUM_PAIRS, 10)}
    config = config_of("padded", num_workers=num_workers, shuffle=False)

    def read(loader: Loader, num_batches: int) -> list[tuple[list[str], list[str]]]:
        return [
            (loader.last_record_ids, [one.record_id for one in loader.last_refused])
            for _ in itertools.islice(loader, num_batches)
        ]

    with contextlib.closing(Loader(pairs, strict, config, batch_rows=4)) as whole:
        first, state = read(whole, 3), whole.state()
        rest = read(whole, 9)
        named = [name for _, names in first + rest for name in names]
        kept = {name for names, _ in first + rest for name in names}
        assert set(named) == refused
        assert len(named) == whole.counts["refused"]
        assert kept & {f"c{i}" for i in range(0, NUM_PAIRS, 10)}
        assert not kept & refused
    with contextlib.closing(Loader(pairs, strict, config, batch_rows=4)) as resumed:
        resumed.restore(state)
        assert read(resumed, 9) == rest


def test_refused_pairs_stop_the_run_before_it_starts_where_they_are_to(tokenizer):
    pairs, strict = refusing(tokenizer)
    layout = layout_of(config_of("padded", refused_policy="stop"))
    with pytest.raises(UserError, match=r"pair c5: no system.*data\.refused_policy to drop"):
        require_accepted(pairs, strict, layout, 0, 1)
    # Each host looks at its share.
    require_accepted(pairs, strict, layout, 0, 2)
    with pytest.raises(UserError, match="pair c5"):
        require_accepted(pairs, strict, layout, 1, 2)
    require_accepted(PAIRS, strict, layout, 0, 1)


def test_state_of_a_checkpoint_before_these_counts_is_taken(dataset, tokenizer):
    whole = Loader(dataset, tokenizer, CONFIG, batch_rows=4)
    next(whole)
    (state,) = whole.state()
    old = {name: n for name, n in state.items() if name not in ("refused", *REMARKS)}
    resumed = Loader(dataset, tokenizer, CONFIG, batch_rows=4)
    resumed.restore([old])
    assert resumed.state() == [state]
    assert same(next(resumed), next(whole))


SCRIPT = """
import multiprocessing
import os
import signal
import sys
from codepmp_jax.config import DataConfig
from codepmp_jax.data.loader import Loader
from codepmp_jax.records.schema import PreferencePair
from codepmp_jax.records.shards import ShardedDataset
from codepmp_jax.text.tokenization import REMARKS, Tokenizer

if __name__ == "__main__":
    dataset = ShardedDataset(sys.argv[1], PreferencePair, "train")
    config = DataConfig(max_length=24, num_workers=2)
    pairs = Loader(dataset, Tokenizer.load("embedded"), config, batch_rows=4)
    next(pairs)
    print(pairs.counts["pairs"], sorted({"torch", "tensorflow", "transformers"} & set(sys.modules)))
    if "--kill" in sys.argv:
        assert multiprocessing.active_children()
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def run_script(tmp_path, *arguments: str) -> tuple[int, str, str]:
    """Status, stdout and stderr. Their ends are awaited: no process that has inherited them is left."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.returncode, done.stdout, done.stderr


def test_plain_script_runs_and_exits_without_close(dataset, tmp_path):
    assert run_script(tmp_path, str(dataset.directory)) == (0, "4 []\n", "")


def test_workers_end_with_a_trainer_that_is_killed(dataset, tmp_path):
    """Else each start after a crash would leave the last one's in memory."""
    status, said, _ = run_script(tmp_path, str(dataset.directory), "--kill")
    assert (status, said) == (-signal.SIGKILL, "4 []\n")
