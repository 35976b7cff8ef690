"""What the exit status of a training process says to whoever started it.

0 is done, 2 a mistake to mend before another start; after any other the same command goes on from the newest
checkpoint.
"""

# EX_TEMPFAIL: asked to stop, saved, stopped. Start it again.
RESUME = 75
# EX_SOFTWARE: no progress for watchdog.seconds; the stacks of all threads are on stderr.
STUCK = 70
# EX_UNAVAILABLE: another host of the run is gone. Start it again, as the others are.
HOST_LOST = 69
# EX_IOERR: a disk, a bucket or the Hugging Face hub could not be read or written. Start it again; if it is
# full or refuses access, change that first.
STORE = 74
# EX_OSERR: a worker process (tokenizing, synthesis, corpus) was killed, e.g. for its memory. Start it again.
WORKER_LOST = 71
# A setting, the data or the numbers are wrong; another start would end the same.
MISTAKE = 2

# What launchers end a run after instead of starting it again: a mistake, or 126 to 128 where a shell or a
# container cannot start the command.
FINAL = (MISTAKE, 126, 127, 128)
# What launchers start a run again after, besides a lost node: those above, a crash (1), and the signals that end a
# process (1 to 15, each as 128 + its number).
RESTARTED = (1, HOST_LOST, STUCK, WORKER_LOST, STORE, RESUME, *range(129, 144))
