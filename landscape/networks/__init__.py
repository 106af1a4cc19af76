"""Where points of the landscape come from: data sets, architectures, checkpoints, training."""
