"""Preference pairs into batches: import and export, transforms, the Grain loader."""
