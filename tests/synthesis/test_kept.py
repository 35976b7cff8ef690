"""Replies of a chunk that was broken off."""

import dataclasses

from codepmp_jax.records.schema import Completion
from codepmp_jax.synthesis.kept import KeptReplies, num_kept
from tests.synthesis.test_passes import requests

REPLIES = [
    Completion(f"k{i}", f"é\n{i}", finish_reason="stop", num_tokens=i, facts={"seed": i})
    for i in range(4)
]


def write(path, replies, is_done=False):
    kept = KeptReplies(path)
    for reply in replies:
        kept.add(reply)
    kept.close(is_done)


def test_replies_are_there_again_and_failures_are_not(tmp_path):
    path = tmp_path / "new" / "replies.jsonl"
    assert num_kept(path) == 0
    write(path, [*REPLIES[:2], Completion("k2", "", "error", "x")])
    assert num_kept(path) == 2
    assert KeptReplies(path).of(requests(4)) == {"k0": REPLIES[0], "k1": REPLIES[1]}
    write(path, REPLIES[2:])
    assert list(KeptReplies(path).of(requests(4)).values()) == REPLIES
    write(path, [], is_done=True)
    assert not path.exists()


def test_a_torn_line_is_asked_for_again(tmp_path):
    path = tmp_path / "replies.jsonl"
    write(path, REPLIES[:3])
    whole = path.read_bytes()
    for cut in (1, 5, len(whole) // 2):
        path.write_bytes(whole[:-cut])
        write(path, REPLIES[3:])
        found = KeptReplies(path).of(requests(4))
        assert found == {r.key: r for r in (*REPLIES[: num_kept(path) - 1], REPLIES[3])}
        assert num_kept(path) == len(found)


def test_the_seconds_of_all_starts_are_counted(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr("codepmp_jax.synthesis.kept.time.monotonic", lambda: now)
    path = tmp_path / "replies.jsonl"
    kept = KeptReplies(path)
    now = 10.0
    kept.add(REPLIES[0])
    kept.close(is_done=False)
    now = 1000.0
    kept = KeptReplies(path)
    now = 1005.0
    assert kept.seconds == 15.0


def test_texts_of_any_kind_are_kept(tmp_path):
    path = tmp_path / "replies.jsonl"
    odd = dataclasses.replace(REPLIES[0], text="\u2028 \x00 \x85 \ufffd \r\n 😀")
    write(path, [odd])
    assert KeptReplies(path).of(requests(1)) == {"k0": odd}
