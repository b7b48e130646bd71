"""The parts of the training engine that :class:`ssr_train.train.Trainer` is put together from."""
