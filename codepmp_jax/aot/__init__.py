"""What the compiler says of the training step, without the chip it is for."""
