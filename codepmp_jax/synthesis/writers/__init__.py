"""The writers of code behind one `Sampler`: vLLM, OpenAI-compatible servers, n-grams, mutants.

Enters: whatever turns a request into text.
"""
