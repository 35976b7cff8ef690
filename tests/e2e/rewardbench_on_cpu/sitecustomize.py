"""On PYTHONPATH, lets RewardBench 0.1.4 run without a GPU: it sends its tokens to `cuda` in any case."""

from transformers import BatchEncoding

_send = BatchEncoding.to


def _send_to_cpu(self, device, **options):
    return _send(self, "cpu" if device == "cuda" else device, **options)


BatchEncoding.to = _send_to_cpu
