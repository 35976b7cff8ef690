"""What a reward model has to be better than: the likelihood of a language model, and what single tokens tell.

Enters: pairs or candidates; gives scores of the same format as a reward model's.
"""
