"""Train one candidate: schedule, loop, checkpoints and the choice of arithmetic."""
