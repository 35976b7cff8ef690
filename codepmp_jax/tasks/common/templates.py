"""What a model is asked, where several tasks ask it in the same way."""

BOXED = """\
{prompt}

Solve it step by step, and put your final answer within \\boxed{}.
"""
CHOICE = """\
{prompt}

Think step by step, and end with the line "The answer is (X)", where X is the letter of the right option.
"""
