"""The loss as a function of theta: parameters as one vector, data in microbatches, an explicit BatchNorm policy."""
