"""PMP pretraining and RM finetuning: losses, optimizer, state, step, loop."""
